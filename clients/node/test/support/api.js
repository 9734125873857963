/** An API without sockets, which takes reports. */

import { until } from "./states.js";

/** Answers batches. `seen` has each request; `answer` says what comes back. */
export class Api {
  seen = [];
  /** Requests whose answer a test holds back. */
  held = null;
  answers = [];
  date = Date.UTC(2026, 10, 30);

  fetch = async (url, init) => {
    const events = JSON.parse(init.body);
    this.seen.push({ url: String(url), headers: init.headers, events });
    const answer = this.answers.shift() ?? ((batch) => this.accept(batch));
    if (this.held !== null) {
      await new Promise((resolve, reject) => {
        this.held.push(resolve);
        init.signal.addEventListener("abort", () => reject(init.signal.reason));
      });
    }
    return answer(events);
  };

  accept(events) {
    return this.problem(202, { accepted: events.length });
  }

  problem(status, document, headers = {}) {
    const dated = this.date === null ? headers : { date: new Date(this.date).toUTCString(), ...headers };
    return new Response(JSON.stringify(document), { status, headers: dated });
  }

  /** Give this answer to the next request. */
  refuse(status, document = {}, headers = {}) {
    this.answers.push(() => this.problem(status, document, headers));
  }

  fail(error) {
    this.answers.push(() => Promise.reject(error));
  }

  /** Return the next request, once it came. */
  async next() {
    await until(() => this.seen.length > 0);
    return this.seen.shift();
  }

  /** Return the states in the events of the next request. */
  async states() {
    return (await this.next()).events.map(({ data }) => data.state);
  }
}
