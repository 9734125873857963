// The rows of the live screen: the newest first, bounded, and kept while the reader has paused.

export const MOST_SHOWN = 200;
export const MOST_WAITING = 2000;

export class LiveRows {
  constructor() {
    this.shown = [];
    this.waiting = [];
    this.paused = false;
    this.dropped = 0;
    this.gap = "";
    this.seen = new Set();
  }

  add(row) {
    if (this.seen.has(row.id)) return;
    this.seen.add(row.id);
    if (this.paused) {
      this.waiting.unshift(row);
      if (this.waiting.length > MOST_WAITING) this.#forget(this.waiting.pop()), (this.dropped += 1);
    } else {
      this.#show([row]);
    }
  }

  /** Rows are missing: the stream began again. */
  reset(data) {
    this.gap = String(data.detail ?? data.reason ?? "the stream began again");
  }

  pause(paused) {
    this.paused = paused;
    if (paused) {
      this.dropped = 0;
      return;
    }
    this.#show(this.waiting);
    this.waiting = [];
  }

  #show(rows) {
    this.shown = [...rows, ...this.shown];
    for (const row of this.shown.splice(MOST_SHOWN)) this.#forget(row);
  }

  #forget(row) {
    this.seen.delete(row.id);
  }
}
