// A run: one command to each of many tenants, by the rules of `sleepctl` (docs/decisions/0043-runs.md). Nothing
// here reads a clock, waits or sends: all of that is given.

/** How many tenants are sent to at the same time: a browser opens six connections to a server, and two are streams. */
export const AT_ONCE = 3;
export const ATTEMPTS = 6;
export const MOST_WAITS = 30;
const LONGEST_WAIT_MS = 60000;
const FIRST_WAIT_MS = 500;
const LONGEST_BACKOFF_MS = 5000;
/** A request may be repeated for so long: its age was judged when it began. */
const FRESH_MS = 240000;
/** The log remembers a command for an hour; an older one is looked up first. */
export const LOOK_UP_AFTER_MS = 55 * 60000;
const PASSES = 2;
export const MOST_SILENT = 16;
export const MOST_REFUSED = 20;
const REFUSALS = 10;

export const RUN_NAME = /^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$/;

/** The idempotency key of a run's commands. The id of each follows from it, the subject and the tenant. */
export const keyOf = (name) => `run:${name}`;

/** The run cannot go on now, and can be continued. */
class Stopped extends Error {}

/** A tenant got no answer. */
class Silent extends Error {}

export class MassRun {
  #tenants;
  #answered;
  #sentAt;
  #do;
  #next = 0;
  #todo = [];
  #failure = null;
  #silent = 0;
  #turn = 0;

  /**
   * `send(tenant)` and `lookUp(tenant)` return `{status, document, retryAfter}`, with status 0 without an answer; `lookUp`
   * asks for the outcome of the tenant's command. `now()` is milliseconds, `pause(ms)` waits, `random()` is 0 to 1.
   */
  constructor({ name, subject, title, tenants, perSecond }, { send, lookUp, now, pause, random, changed = () => {} }) {
    Object.assign(this, { name, subject, title, perSecond });
    this.#tenants = tenants;
    this.#answered = new Uint8Array(tenants.length);
    this.#sentAt = new Float64Array(tenants.length);
    this.#do = { send, lookUp, now, pause, random, changed };
    this.done = 0;
    this.refused = 0;
    this.refusals = [];
    this.running = false;
    this.problem = "";
  }

  get count() {
    return this.#tenants.length;
  }

  get left() {
    return this.count - this.done - this.refused;
  }

  /** Send to each tenant without an answer. One that gets none is sent to once more at the end. */
  async go() {
    if (this.running) return;
    Object.assign(this, { running: true, problem: "" });
    this.#failure = null;
    this.#silent = 0;
    this.begun = { done: this.done, refused: this.refused };
    for (let pass = 0; pass < PASSES && this.#failure === null; pass += 1) {
      this.#todo = [...this.#tenants.keys()].filter((index) => !this.#answered[index]);
      this.#next = 0;
      await Promise.all(Array.from({ length: AT_ONCE }, () => this.#work()));
    }
    if (this.#failure === null && this.left > 0) this.problem = `${this.left} tenants have no answer yet.`;
    this.running = false;
    this.#do.changed();
  }

  /** Send to no further tenant. Answers that are on their way still count. */
  stop() {
    this.#stop("");
  }

  #stop(problem) {
    if (this.#failure !== null) return;
    this.#failure = problem;
    this.problem = problem;
  }

  async #work() {
    while (this.#failure === null && this.#next < this.#todo.length) {
      const index = this.#todo[this.#next];
      this.#next += 1;
      try {
        this.#answer(index, await this.#sent(index));
      } catch (error) {
        if (error instanceof Silent) this.#missed(error);
        else this.#stop(error.message);
      }
      this.#do.changed();
    }
  }

  async #sent(index) {
    const tenant = this.#tenants[index];
    const before = this.#sentAt[index];
    const { now } = this.#do;
    // A command of unknown age may be forgotten by the log, so its outcome is looked up first.
    if (before !== 0 && !(now() - before >= 0 && now() - before < LOOK_UP_AFTER_MS)) {
      const { status, document } = await this.#patient(() => this.#do.lookUp(tenant));
      if (status === 200 && document.code !== "outcome_unknown") return document.status === "accepted" ? null : { done: document.status !== "refused", code: document.code };
      if (status !== 200 && status !== 404) throw new Stopped(`The outcome for ${tenant} cannot be looked up: ${document.detail ?? status}`);
    }
    this.#sentAt[index] ||= now();
    const { status, document } = await this.#patient(() => this.#do.send(tenant));
    if (status === 202) return null;
    return status < 300 ? { done: true } : { done: false, code: document.code ?? String(status), detail: document.detail ?? document.title };
  }

  /** Ask until there is an answer: waits where the API says so, and tries again where it gives none. */
  async #patient(ask) {
    const { now, pause, random } = this.#do;
    const begun = now();
    let failures = 0;
    let waits = 0;
    let reason = "none was sent yet";
    for (;;) {
      await this.#pace();
      if (this.#failure !== null) throw new Silent("the run was stopped");
      if (!(now() - begun >= 0 && now() - begun <= FRESH_MS)) throw new Silent(`it took too long: ${reason}`);
      const answer = await ask();
      const { status, document } = answer;
      if (status === 401) throw new Stopped(`The API does not accept the token: ${document.detail ?? ""}`);
      // The log has refused an id that is too late for good.
      if (document.code === "too_late" || (status !== 0 && status < 500 && status !== 429)) return answer;
      reason = document.detail ?? document.title ?? `HTTP ${status}`;
      if (status === 429 && waits < MOST_WAITS) {
        waits += 1;
        await pause(Math.min((answer.retryAfter ?? 1) * 1000, LONGEST_WAIT_MS) + random() * 1000);
        continue;
      }
      failures += 1;
      if (failures === ATTEMPTS || waits === MOST_WAITS) throw new Silent(reason);
      await pause(Math.min(LONGEST_BACKOFF_MS, FIRST_WAIT_MS * 2 ** (failures - 1)) * (0.5 + random() / 2));
    }
  }

  async #pace() {
    const now = this.#do.now();
    const at = Math.max(this.#turn, now);
    this.#turn = at + 1000 / this.perSecond;
    if (at > now) await this.#do.pause(at - now);
  }

  #answer(index, result) {
    this.#silent = 0;
    if (result === null) return;
    this.#answered[index] = 1;
    if (result.done) {
      this.done += 1;
      return;
    }
    this.refused += 1;
    const tenant = this.#tenants[index];
    if (this.refusals.length < REFUSALS) this.refusals.push({ tenant, code: result.code, detail: result.detail ?? "" });
    const refused = this.refused - this.begun.refused;
    if (this.done === this.begun.done && refused >= MOST_REFUSED) this.#stop(`The first ${refused} tenants were all refused, the last one (${tenant}) with ${result.code}: ${result.detail ?? ""}`);
  }

  #missed(error) {
    if (this.#failure !== null) return;
    this.#silent += 1;
    if (this.#silent >= MOST_SILENT) this.#stop(`The API gives no answer: ${error.message}`);
  }
}
