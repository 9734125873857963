/**
 * A snapshot that is being received. It counts once it is complete, and all at once.
 */

/**
 * The rules of a partition.
 * @typedef {object} PartitionRules
 * @property {number} partition its number
 * @property {number} partitions how many there are
 * @property {number} offset of the position up to which the stream has all states of the partition; -1 for none
 * @property {import("./parameters.js").ParameterSet} fallback the default active set
 */

/** What a snapshot has brought so far. */
export class Snapshot {
  /** @type {Map<string, import("./listed.js").Listed>} */
  records = new Map();
  /** @type {Map<number, PartitionRules>} */
  rules = new Map();
}
