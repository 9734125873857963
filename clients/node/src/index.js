/** A client of Somabrain Sleep: reports circuit breakers, and knows how every tenant sleeps. */

export { Emitter } from "./emitter.js";
export { Status } from "./emission/session.js";
export { NotReady, NotWatched, ReaderError } from "./reading/errors.js";
export { ReaderStatus } from "./reading/session.js";
export { SleepReader } from "./reader.js";
