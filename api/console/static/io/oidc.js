// Sign-in by OpenID Connect: authorization code with PKCE, and a refresh token that rotates. Loaded only where the API
// names an issuer. Tokens stay in memory. What the browser keeps for the way to the issuer and back is no token.

import * as oauth from "../vendor/oauth4webapi.js";
import { issuerSentence, mayPass, silentRefusal } from "../pure/issuer_words.js";

const KEPT = "sleep-sign-in";
const SECONDS = 10;

/** The sign-in failed. `silent` says that the issuer only needs to see the reader, which is no fault. */
export class SignInError extends Error {
  constructor(text, silent = false) {
    super(text);
    this.silent = silent;
  }
}

export class Issuer {
  /** `ways` is what the API says of the issuer. */
  constructor(ways) {
    this.name = ways.issuer;
    this.scopes = ways.scopes;
    this.resource = ways.resource;
    this.server = ways.server;
    this.client = { client_id: ways.client_id };
  }

  /** Where the issuer sends the reader back to: the console itself, without what is after `?` and `#`. */
  get #back() {
    return new URL(".", document.baseURI).href;
  }

  get #resource() {
    return this.resource === null ? {} : { resource: this.resource };
  }

  #options(more = {}) {
    return {
      // The API accepts http only from this machine.
      [oauth.allowInsecureRequests]: this.server.token_endpoint.startsWith("http:"),
      signal: AbortSignal.timeout(SECONDS * 1000),
      additionalParameters: { ...this.#resource, ...more },
    };
  }

  /** Go to the issuer. `silent` asks for an answer without a word to the reader. */
  async begin({ silent, address }) {
    const [state, nonce, verifier] = [oauth.generateRandomState(), oauth.generateRandomNonce(), oauth.generateRandomCodeVerifier()];
    const url = new URL(this.server.authorization_endpoint);
    const asked = {
      client_id: this.client.client_id,
      redirect_uri: this.#back,
      response_type: "code",
      scope: this.scopes,
      state,
      nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
      ...this.#resource,
      ...(silent ? { prompt: "none" } : {}),
    };
    for (const [name, value] of Object.entries(asked)) url.searchParams.set(name, value);
    sessionStorage.setItem(KEPT, JSON.stringify({ state, nonce, verifier, address }));
    // The page that only leads to the issuer is no step of the history.
    location.replace(url.href);
  }

  /** Take the tokens that an answer of the issuer stands for. */
  async finish(answer, { state, nonce, verifier }) {
    try {
      const { server, client } = this;
      const checked = oauth.validateAuthResponse(server, client, answer, state);
      const response = await oauth.authorizationCodeGrantRequest(server, client, oauth.None(), checked, this.#back, verifier, this.#options());
      return tokensOf(await oauth.processAuthorizationCodeResponse(server, client, response, { expectedNonce: nonce, requireIdToken: true }));
    } catch (error) {
      throw new SignInError(issuerSentence(this.name, this.client.client_id, error), silentRefusal(error));
    }
  }

  /** Take new tokens for a refresh token. Null if that may work later: the present token is still good for a while. */
  async renew(refresh) {
    try {
      const { server, client } = this;
      const response = await oauth.refreshTokenGrantRequest(server, client, oauth.None(), refresh, this.#options());
      const tokens = tokensOf(await oauth.processRefreshTokenResponse(server, client, response));
      return { ...tokens, refresh: tokens.refresh ?? refresh };
    } catch (error) {
      if (mayPass(error)) return null;
      throw new SignInError(issuerSentence(this.name, this.client.client_id, error));
    }
  }

  /** Tell the issuer that a refresh token is of no more use, where it wants to hear it. */
  async revoke(refresh) {
    if (!this.server.revocation_endpoint || !refresh) return;
    try {
      // The reader may close the page right after the sign-out.
      const options = { ...this.#options(), [oauth.customFetch]: (url, request) => fetch(url, { ...request, keepalive: true }) };
      await oauth.revocationRequest(this.server, this.client, oauth.None(), refresh, options);
    } catch {
      // It ends by itself.
    }
  }
}

function tokensOf(answer) {
  return { token: answer.access_token, refresh: answer.refresh_token ?? null, seconds: answer.expires_in ?? null };
}

/** What was kept for the way back, once. Null if this window did not go to the issuer. */
export function takeKept() {
  const text = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
