// What the sign-in screen offers.

/**
 * `busy`, `paste` (a token), `issuer` (go there) or `again` (nothing can be done before the page has asked once more).
 * `ways` is what the API says of signing in, null before it has; `ready` says whether the page can go to the issuer.
 */
export function entrance({ ways, busy, ready }) {
  if (busy) return "busy";
  if (ways?.issuer === null) return "paste";
  return ways !== null && ready ? "issuer" : "again";
}
