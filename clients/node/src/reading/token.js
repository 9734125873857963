/** When a token ends, as far as its bearer can tell. */

/**
 * Return the `exp` of a JWT in milliseconds since the epoch; null if it has none, or is another kind of token.
 * Nothing is verified: the server does that.
 * @param {string} token
 * @returns {number | null}
 */
export function endsAt(token) {
  const parts = token.split(".");
  if (parts.length !== 3) return null;
  try {
    const { exp } = JSON.parse(Buffer.from(parts[1] ?? "", "base64url").toString());
    const milliseconds = Math.trunc(exp * 1000);
    return typeof exp === "number" && Number.isSafeInteger(milliseconds) ? milliseconds : null;
  } catch {
    return null;
  }
}
