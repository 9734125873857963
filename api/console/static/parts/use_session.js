// The reader's session: none, or an `Api` with a token in memory. By issuer, by a link that signs in once, or pasted.

import { useCallback, useEffect, useRef, useState } from "../vendor/hooks.js";
import { Api } from "../io/api.js";
import { redeem, takeAnswer, takeCode, ways as askWays } from "../io/sign_in.js";

/** A token is renewed when this share of its time has passed. */
const RENEW_AT = 0.75;
const RENEW_AGAIN_MS = 3000;
/** A page that is still here after so long was not left for the issuer: the reader chose to stay. */
const STAYED_MS = 3000;
const NOT_BEGUN = "This sign-in was not begun in this window, or it is over. Sign in again.";
const NO_CRYPTO = "The browser can sign in only over https, or on this machine. Put a proxy with TLS before the API.";

// They leave the address before anything else is done.
const code = takeCode();
const answer = takeAnswer();

/**
 * `{api, ways, ended, busy, ready, paste, toIssuer, signOut, again}`; `ways` is null until the API has said how to sign
 * in, and `ready` says whether the page can go to the issuer.
 */
export function useSession() {
  const [api, setApi] = useState(null);
  const [ways, setWays] = useState(null);
  const [ended, setEnded] = useState("");
  const [busy, setBusy] = useState(true);
  const [round, setRound] = useState(0);
  const issuer = useRef(null);
  const stop = useRef(() => {});

  const out = useCallback((why) => {
    stop.current();
    stop.current = () => {};
    setApi(null);
    setBusy(false);
    setEnded(why);
  }, []);

  const begin = useCallback((token, tokens = null) => {
    stop.current();
    const made = new Api(token, (why) => out(why || "The token is not accepted any more."), tokens === null ? null : source(issuer.current, tokens));
    if (tokens !== null) stop.current = keepRenewed(made, tokens, issuer.current);
    setEnded("");
    setBusy(false);
    setApi(made);
  }, []);

  const leave = useCallback(async (silent) => {
    await issuer.current.begin({ silent, address: location.hash });
    setTimeout(() => setBusy(false), STAYED_MS);
  }, []);

  useEffect(() => {
    enter(round === 0, { issuer, begin, out, leave, setWays }).catch((error) => out(error.message));
  }, [round]);

  const toIssuer = useCallback(() => {
    setBusy(true);
    leave(false).catch((error) => out(error.message));
  }, []);
  const signOut = useCallback(() => {
    stop.current.revoke?.();
    out("");
  }, []);
  const again = useCallback(() => {
    setBusy(true);
    setEnded("");
    setRound((n) => n + 1);
  }, []);
  return { api, ways, ended, busy, ready: issuer.current !== null, paste: begin, toIssuer, signOut, again };
}

async function enter(first, { issuer, begin, out, leave, setWays }) {
  const found = await askWays();
  setWays(found);
  if (first && code !== null) return begin(await redeem(code));
  if (found.issuer === null) return out("");
  if (found.server === null) return out(`The issuer ${found.issuer} cannot be used: ${found.problem}.`);
  if (!globalThis.crypto?.subtle) return out(NO_CRYPTO);
  const { Issuer, takeKept } = await import("../io/oidc.js");
  issuer.current = new Issuer(found);
  if (!first || answer === null) return leave(true);
  const kept = takeKept();
  if (kept === null) return out(NOT_BEGUN);
  history.replaceState(null, "", location.pathname + kept.address);
  try {
    const tokens = await issuer.current.finish(answer, kept);
    return begin(tokens.token, tokens);
  } catch (error) {
    return out(error.silent ? "" : error.message);
  }
}

/** Where an `Api` gets its next token: the refresh token rotates, so each is used once. */
function source(issuer, tokens) {
  return async () => {
    if (tokens.refresh === null) return null;
    const next = await issuer.renew(tokens.refresh);
    if (next === null) return null;
    Object.assign(tokens, next);
    return next.token;
  };
}

/** Renew before the token ends, again and again. Returns a function that ends it, with `revoke()`. */
function keepRenewed(api, tokens, issuer) {
  let timer = null;
  let over = false;
  const due = () => (tokens.seconds ?? 60) * 1000 * RENEW_AT;
  const turn = async () => {
    const done = await api.renew();
    if (!over) timer = setTimeout(turn, done ? due() : RENEW_AGAIN_MS);
  };
  if (tokens.refresh !== null) timer = setTimeout(turn, due());
  const end = () => {
    over = true;
    clearTimeout(timer);
  };
  end.revoke = () => issuer.revoke(tokens.refresh);
  return end;
}
