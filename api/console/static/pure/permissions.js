// What a token may do, as `GET /api/permissions` says. The API decides each request; this only decides what is offered.

export class Permissions {
  constructor(answer) {
    this.subject = answer.subject;
    this.tenant = answer.tenant_id;
    this.actions = new Map(answer.permissions.map((one) => [one.action, one]));
  }

  /** Is the action allowed for this tenant, or for the platform as a whole (null)? */
  may(action, tenant) {
    const found = this.actions.get(action);
    if (!found) return false;
    if (tenant === null) return found.platform === true;
    return tenant === this.tenant ? found.own_tenant === true : found.any_tenant === true;
  }

  /** The screens that have something to show to this token. */
  screens() {
    const shown = [];
    if (this.may("watch", null)) shown.push("fleet");
    if (this.may("audit", null) || (this.tenant && this.may("audit", this.tenant))) shown.push("audit");
    if (this.may("list", null) || (this.tenant && this.may("read", this.tenant))) shown.push("live");
    if (this.may("inspect", null)) shown.push("health");
    return shown;
  }
}
