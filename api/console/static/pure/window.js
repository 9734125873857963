// Which rows of a long list are drawn.

/** The first and the number of rows to draw, and the heights above and below them, in pixels. */
export function windowOf({ count, rowHeight, top, height, spare = 8 }) {
  const first = Math.max(0, Math.min(count, Math.floor(Math.max(0, top) / rowHeight) - spare));
  const last = Math.min(count, Math.ceil((Math.max(0, top) + Math.max(0, height)) / rowHeight) + spare);
  const drawn = Math.max(0, last - first);
  return { first, drawn, above: first * rowHeight, below: Math.max(0, count - first - drawn) * rowHeight };
}
