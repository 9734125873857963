// What an issuer answers, in words. Its own description is added as text.

/** The issuer wants to see the reader: no fault, and the answer to each question without a word before a sign-in. */
const SILENT = ["login_required", "interaction_required", "consent_required", "account_selection_required"];

const WORDS = {
  access_denied: () => "it refused: you, or the issuer, did not allow the sign-in",
  invalid_scope: () => "it does not know a scope that the console asks for",
  unauthorized_client: (client) => `it does not let the client ${client} sign in this way; register it as a public client with the code flow and PKCE`,
  invalid_client: (client) => `it does not know the client ${client}`,
  invalid_request: () => "it calls the request wrong; is the address of this console registered there as a redirect address?",
  invalid_target: () => "it does not know the audience of the API as a resource",
  invalid_grant: () => "your session there has ended, or its answer was used before",
  server_error: () => "it has a fault of its own",
  temporarily_unavailable: () => "it is overloaded or in maintenance; try again later",
};

export function silentRefusal(error) {
  return SILENT.includes(error?.error);
}

/** The status of the answer that an error of the library is about. The library sets it only for an error in JSON of 4xx. */
const statusOf = (error) => error?.status ?? error?.cause?.status ?? null;

const lost = (error) => error instanceof TypeError || error?.name === "TimeoutError";

/** May the same request succeed later? So it is without an answer, or where the issuer is overloaded or has a fault. */
export function mayPass(error) {
  if (lost(error) || lost(error?.cause)) return true;
  const status = statusOf(error);
  return status >= 500 || status === 408 || status === 429;
}

/** Why a sign-in failed, and what the issuer says of it. */
export function issuerSentence(issuer, client, error) {
  const code = error?.error;
  if (typeof code !== "string") {
    const status = statusOf(error);
    if (mayPass(error)) return status === null ? `The issuer ${issuer} did not answer. Try again.` : `The issuer ${issuer} answered HTTP ${status}. Try again later.`;
    return `The answer of the issuer ${issuer} is not accepted: ${error?.message ?? "no reason is known"}.`;
  }
  const known = Object.hasOwn(WORDS, code) ? WORDS[code](client) : SILENT.includes(code) ? "it wants to see you first" : `it answered ${code}`;
  const said = typeof error.error_description === "string" && error.error_description ? ` It says: ${error.error_description}` : "";
  return `The issuer ${issuer} did not sign you in: ${known}.${said}`;
}
