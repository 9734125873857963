/** The names of tenants. */

const TENANT = /^[A-Za-z0-9._:@-]{1,128}$/;

/**
 * Tell whether the server accepts a tenant's name.
 * @param {unknown} tenant
 * @returns {tenant is string}
 */
export function isTenant(tenant) {
  return typeof tenant === "string" && TENANT.test(tenant);
}

/**
 * Return the name of a tenant.
 * @param {unknown} tenant
 * @returns {string}
 * @throws {TypeError} if the server accepts no such name; the text says what is allowed.
 */
export function checkTenant(tenant) {
  if (!isTenant(tenant)) {
    throw new TypeError(`tenant ${shown(tenant)}: use 1 to 128 of A-Z a-z 0-9 . _ : @ -`);
  }
  return tenant;
}

/**
 * Return a value for people: short, on one line, whatever it is.
 * @param {unknown} value
 * @param {number} [most] characters
 * @returns {string}
 */
export function shown(value, most = 100) {
  if (typeof value === "string") return JSON.stringify(value.slice(0, most));
  if (value === null || ["undefined", "number", "boolean", "bigint"].includes(typeof value)) {
    return String(value).slice(0, most);
  }
  return `of type ${typeof value}`;
}
