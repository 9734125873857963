// The same command for a terminal. Each word is quoted for a POSIX shell, so that a tenant's text stays text.

/** A word as a POSIX shell takes it. */
export function quoted(text) {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

/** A request as a command of curl. The token is read from the environment and never shown. */
export function asCurl({ method, path, body, headers = {} }, origin) {
  const words = ["curl", "-X", method, quoted(origin + path), "-H", `"Authorization: Bearer $SLEEP_TOKEN"`];
  for (const [name, value] of Object.entries(headers)) words.push("-H", quoted(`${name}: ${value}`));
  if (body !== undefined) words.push("-H", quoted("Content-Type: application/json"), "-d", quoted(JSON.stringify(body)));
  return words.join(" ");
}

/** An action on a tenant: the request, and the same as a command of sleepctl. */
export function action(kind, tenant, { state, ttl, reason, id }) {
  const headers = { "X-Tenant-Id": tenant };
  const said = reason ? { reason } : {};
  const more = ["--tenant", quoted(tenant), ...(reason ? ["--reason", quoted(reason)] : [])].join(" ");
  if (kind === "sleep") {
    return {
      request: { method: "POST", path: "/api/util/sleep", headers, body: { target_state: state, ttl_seconds: ttl, ...said } },
      sleepctl: `sleepctl send sleep ${state} --ttl ${ttl} ${more}`,
    };
  }
  if (kind === "mode" || kind === "pin") {
    const override = kind === "pin";
    const bounded = ttl === null ? {} : { ttl_seconds: ttl };
    return {
      request: {
        method: "POST",
        path: "/api/brain/sleep_mode",
        headers,
        body: { target_state: state, ...bounded, ...(override ? { override } : {}), ...said },
      },
      sleepctl: `sleepctl send mode ${state}${ttl === null ? "" : ` --ttl ${ttl}`}${override ? " --override" : ""} ${more}`,
    };
  }
  return {
    request: { method: "DELETE", path: `/api/util/sleep/${encodeURIComponent(id)}`, headers },
    sleepctl: `sleepctl send cancel ${quoted(id)} --tenant ${quoted(tenant)}`,
  };
}
