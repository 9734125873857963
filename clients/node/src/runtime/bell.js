/** A wait that somebody may end. */

export class Bell {
  #rung = false;
  /** @type {(() => void) | null} */
  #wake = null;

  /** End the wait, or the next one if nobody waits. */
  ring() {
    this.#rung = true;
    this.#wake?.();
  }

  /** Forget that somebody rang. */
  clear() {
    this.#rung = false;
  }

  /**
   * Wait for so many seconds, or until somebody rings. It does not keep the process alive.
   * @param {number} seconds
   * @returns {Promise<void>}
   */
  async wait(seconds) {
    if (this.#rung) return;
    await new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
      const timer = setTimeout(resolve, Math.max(0, seconds) * 1000);
      timer.unref?.();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
  }
}
