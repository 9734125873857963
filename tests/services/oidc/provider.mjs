// A certified OpenID provider (oidc-provider) for the console's tests. One argument: JSON with `port`, `audience`,
// `redirects`, `ttl` (seconds of an access token) and `scopes`. It prints one line once it serves.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { Provider } from "oidc-provider";

const { port, audience, redirects, ttl, scopes } = JSON.parse(process.argv[2]);
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const key = { ...privateKey.export({ format: "jwk" }), kid: "test", use: "sig", alg: "RS256" };
let closed = false;
process.on("SIGUSR2", () => (closed = true)); // nobody has an account any more
const origins = redirects.map((address) => new URL(address).origin);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "sleep-console",
      redirect_uris: redirects,
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    },
  ],
  jwks: { keys: [key] },
  cookies: { keys: [randomBytes(32).toString("hex")] },
  scopes: ["openid", "offline_access", ...scopes],
  clientBasedCORS: (_, origin) => origins.includes(origin),
  findAccount: (_, sub) => (closed ? undefined : { accountId: sub, claims: () => ({ sub }) }),
  extraTokenClaims: () => ({ tenant_id: "acme" }),
  // For a browser without a session of its own, as issuers do for pages.
  issueRefreshToken: (_, client) => client.grantTypeAllowed("refresh_token"),
  ttl: { AccessToken: ttl, AuthorizationCode: 60, Grant: 3600, IdToken: 600, Interaction: 600, RefreshToken: 3600, Session: 3600 },
  features: {
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({ scope: scopes.join(" "), audience: resource, accessTokenFormat: "jwt", accessTokenTTL: ttl }),
    },
  },
});

let renewals = 0;
provider.on("grant.success", (context) => {
  if (context.oidc.params.grant_type === "refresh_token") console.log(JSON.stringify({ renewals: (renewals += 1), audience }));
});
provider.listen(port, "127.0.0.1", () => console.log(JSON.stringify({ serves: port })));
