/** The partition of a tenant: Kafka's default partitioner. */

const M = 0x5bd1e995;
const SEED = 0x9747b28c;
const MOST_KEPT = 65_536;
/** @type {Map<string, number>} */
const kept = new Map();

/**
 * Return the partition of a tenant's key: Kafka's murmur2 of its bytes, without the sign, modulo `partitions`.
 * @param {string} tenant a valid name, and so ASCII
 * @param {number} partitions
 * @returns {number}
 */
export function partitionOf(tenant, partitions) {
  let hash = kept.get(tenant);
  if (hash === undefined) {
    if (kept.size >= MOST_KEPT) kept.clear();
    hash = murmur2(Buffer.from(tenant)) & 0x7fffffff;
    kept.set(tenant, hash);
  }
  return hash % partitions;
}

/** @param {Uint8Array} data */
function murmur2(data) {
  const { length } = data;
  const whole = length - (length % 4);
  const at = (/** @type {number} */ index) => Number(data[index]);
  let mixed = SEED ^ length;
  for (let start = 0; start < whole; start += 4) {
    let block = at(start) | (at(start + 1) << 8) | (at(start + 2) << 16) | (at(start + 3) << 24);
    block = Math.imul(block, M);
    block = Math.imul(block ^ (block >>> 24), M);
    mixed = Math.imul(mixed, M) ^ block;
  }
  if (whole < length) {
    for (let index = length - 1; index >= whole; index -= 1) mixed ^= at(index) << (8 * (index - whole));
    mixed = Math.imul(mixed, M);
  }
  mixed = Math.imul(mixed ^ (mixed >>> 13), M);
  return mixed ^ (mixed >>> 15);
}
