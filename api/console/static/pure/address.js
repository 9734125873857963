// The addresses of the screens: `#/fleet?state=freeze`. What an address names is checked here, before it is asked for.

export const STATES = ["active", "light", "deep", "freeze"];
export const ROW_KINDS = ["transition", "outcome", "refusal"];
const TENANT = /^[A-Za-z0-9._:@-]{1,128}$/;
const CAUSES = ["breaker", "operation", "cancel", "mode", "pin", "policy", "rules", "expired", "pin_ended", "hold_ended"];
export const CAUSE_KINDS = CAUSES;
const WHOLE = /^[0-9]{1,16}$/;

const oneOf = (values) => (text) => (values.includes(text) ? null : `must be one of ${values.join(", ")}`);
const tenant = (text) => (TENANT.test(text) ? null : "must be 1 to 128 letters, digits or . _ : @ -");
const short = (text) => (text.length <= 256 ? null : "must have at most 256 characters");
const whole = (text) => (WHOLE.test(text) && Number(text) <= 2 ** 53 ? null : "must be milliseconds since 1970");
const age = (text) => (WHOLE.test(text) && Number(text) <= 1e7 ? null : "must be minutes, at most 10,000,000");

/** Each screen: whether it is of one tenant, and which filters its address may have. */
export const SCREENS = {
  fleet: { filters: { state: oneOf(STATES), cause: oneOf(CAUSES), older: age, text: short } },
  tenant: { of: true, filters: { at: whole } },
  whatif: { of: true, filters: {} },
  audit: { filters: { tenant, actor: short, kind: oneOf(ROW_KINDS), from: whole, to: whole } },
  live: { filters: {} },
  health: { filters: {} },
};

/** What an address says: `{screen, tenant, filters, errors}`. A part that is wrong is named in `errors`. */
export function parseAddress(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const parts = path.split("/").filter(Boolean);
  const errors = [];
  if (parts.length === 0) return { screen: "", tenant: null, filters: {}, errors };
  const screen = parts[0];
  if (!Object.hasOwn(SCREENS, screen)) return { screen: "unknown", tenant: null, filters: {}, errors: [`there is no screen ${screen}`] };
  const known = SCREENS[screen];
  let named = null;
  if (known.of) {
    try {
      named = decodeURIComponent(parts.slice(1).join("/"));
    } catch {
      named = parts.slice(1).join("/");
    }
    if (!TENANT.test(named)) errors.push(`${JSON.stringify(named)} is no tenant: ${tenant("")}`);
  } else if (parts.length > 1) {
    errors.push(`${screen} has no part ${parts[1]}`);
  }
  const filters = {};
  for (const [name, value] of new URLSearchParams(query)) {
    if (!Object.hasOwn(known.filters, name)) {
      errors.push(`${screen} has no filter ${name}`);
      continue;
    }
    if (value === "") continue;
    const wrong = known.filters[name](value);
    if (wrong) errors.push(`the filter ${name} ${wrong}`);
    filters[name] = value;
  }
  return { screen, tenant: named, filters, errors };
}

/** The address of a screen; empty filters are left out. */
export function addressOf(screen, { tenant: named = null, filters = {} } = {}) {
  const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value !== "" && value !== null && value !== undefined));
  const text = query.toString();
  return `#/${screen}${named === null ? "" : `/${encodeURIComponent(named)}`}${text ? `?${text}` : ""}`;
}

/** Do the filters of the fleet keep a row? `older` is minutes since the last change; `text` is in lower case in a row. */
export function fits(row, filters, now) {
  if (filters.state && row.state !== filters.state) return false;
  if (filters.cause && row.cause?.kind !== filters.cause) return false;
  if (filters.older && now - row.since < Number(filters.older) * 60000) return false;
  return !filters.text || row.text.includes(filters.text.toLowerCase());
}
