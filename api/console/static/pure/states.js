// What a reader of `GET /api/states/events` knows of all tenants: docs/reference/streams.md, "What a client does".

const offsetOf = (position) => (position === null || position === undefined ? -1 : Number(position.split(":")[1]));

/** The state of a record at a time: the last entry of the forecast whose time has passed, else the record. */
export function present(record, now) {
  let found = record;
  for (const entry of record.forecast) if (entry.at <= now) found = entry;
  return found;
}

/** The parameters of a ramp at a time; `K` is rounded half up. */
export function parametersAt(ramp, now) {
  const length = ramp.ends_at - ramp.starts_at;
  const share = now >= ramp.ends_at ? 1 : Math.max(0, (now - ramp.starts_at) / length);
  const values = {};
  for (const [name, from] of Object.entries(ramp.from)) values[name] = share === 1 ? ramp.to[name] : from + (ramp.to[name] - from) * share;
  return { ...values, K: Math.floor(values.K + 0.5) };
}

export class States {
  constructor() {
    this.records = new Map();
    this.rules = new Map();
    this.ready = false;
    this.serverNow = null;
    /** Tenants whose records have changed since whoever draws them last emptied this. */
    this.changed = new Set();
    this.snapshot = null;
  }

  /** A connection begins; `resumes` says whether it goes on after an id. */
  connect(resumes) {
    this.ready = false;
    this.snapshot = resumes ? null : new Set();
  }

  lose() {
    this.ready = false;
  }

  /** Take an event; true if it is one that changes what is known. */
  take(name, data) {
    switch (name) {
      case "rules":
        this.rules.set(data.partition, data);
        return false;
      case "reset":
        this.snapshot = new Set();
        return false;
      case "state": {
        this.snapshot?.add(data.tenant);
        const known = this.records.get(data.tenant);
        if (known && offsetOf(data.position) < offsetOf(known.position)) return false;
        this.records.set(data.tenant, data);
        this.changed.add(data.tenant);
        return true;
      }
      case "gone": {
        const known = this.records.get(data.tenant);
        if (!known || offsetOf(data.position) < offsetOf(known.position)) return false;
        this.records.delete(data.tenant);
        this.changed.add(data.tenant);
        return true;
      }
      case "time":
        this.serverNow = data.now;
        return false;
      case "ready":
        this.serverNow = data.now;
        this.ready = true;
        this.#finishSnapshot();
        return true;
      default:
        return false;
    }
  }

  /** After a snapshot, what it lacks is gone, unless it is newer than the snapshot of its partition. */
  #finishSnapshot() {
    if (this.snapshot === null) return;
    for (const [tenant, record] of this.records) {
      if (this.snapshot.has(tenant)) continue;
      const rules = this.rules.get(Number(record.position.split(":")[0]));
      if (rules && offsetOf(record.position) > offsetOf(rules.position)) continue;
      this.records.delete(tenant);
      this.changed.add(tenant);
    }
    this.snapshot = null;
  }
}

/** A listed tenant as a row of the fleet; null if it is awake, and would be without a dry run too. */
export function rowOf(record, now, openEnded) {
  const at = present(record, now);
  if (at.state === "active" && record.decided === "active") return null;
  const cause = at === record ? record.cause : { kind: "expired", key: "its lease" };
  return {
    tenant: record.tenant,
    state: at.state,
    decided: record.decided,
    since: at === record ? record.since : at.at,
    cause,
    text: `${record.tenant}\n${cause ? `${cause.kind} ${cause.key ?? ""}` : ""}`.toLowerCase(),
    next: record.forecast.find((entry) => entry.at > now) ?? null,
    open: openEnded(record),
  };
}
