/** Time that a test moves: the clock of a client and all timers. */

import { mock } from "node:test";

export class Time {
  now = 100;
  machine = { clock: () => this.now, jitter: () => 0 };

  constructor() {
    mock.timers.reset();
    mock.timers.enable({ apis: ["setTimeout"] });
  }

  advance(seconds) {
    this.now += seconds;
    mock.timers.tick(seconds * 1000);
  }
}
