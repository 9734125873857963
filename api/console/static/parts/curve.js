// Curves as SVG: small, sharp at any width, and described in words.

import { html } from "./ui.js";

/** A line through `[x, y]` in a box of 300 by `height`. A `mark` is an x that a vertical line shows. */
export function Curve({ points, label, height = 60, mark = null, steps = false, low = null, high = null }) {
  const known = points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  if (known.length < 2) return html`<p class="empty">too few samples for a curve</p>`;
  const xs = known.map(([x]) => x);
  const ys = known.map(([, y]) => y);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [bottom, top] = [low ?? Math.min(...ys), high ?? Math.max(...ys)];
  const x = (value) => (right === left ? 0 : ((value - left) / (right - left)) * 300);
  const y = (value) => height - 4 - (top === bottom ? 0.5 : (value - bottom) / (top - bottom)) * (height - 8);
  const path = known.map(([a, b], i) => (i === 0 ? `M${x(a)} ${y(b)}` : steps ? `H${x(a)}V${y(b)}` : `L${x(a)} ${y(b)}`)).join("");
  return html`<svg class="curve" viewBox=${`0 0 300 ${height}`} preserveAspectRatio="none" role="img" aria-label=${label}>
    <path d=${path} fill="none" vector-effect="non-scaling-stroke" />
    ${mark !== null && mark >= left && mark <= right && html`<line class="mark" x1=${x(mark)} x2=${x(mark)} y1="0" y2=${height} vector-effect="non-scaling-stroke" />`}
  </svg>`;
}
