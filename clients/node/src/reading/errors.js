/** What is wrong for a caller, or with a stream. */

/** The base of what a reader throws about a tenant that it cannot answer for. */
export class ReaderError extends Error {
  /** @override */
  get name() {
    return this.constructor.name;
  }
}

/** The reader knows no states: not yet, or not any more. The text says why. */
export class NotReady extends ReaderError {}

/** The tenant is not one of those that the reader was opened for. */
export class NotWatched extends ReaderError {}

/** A stream sent what is no stream of states. The text says what. */
export class BadStreamError extends Error {}
