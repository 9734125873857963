# Who may do what. The roles are data (data.json): each scope's actions, tenants and bounds.
# Input: action, tenant, token_tenant, subject, scopes, target_state, ttl_seconds, override.
# Output: data.sleep.decision = {"allow": boolean, "reasons": [why not]}.
#
# A request is allowed where one role that the caller holds allows the whole of it. Whatever is absent or of a wrong type
# allows nothing: a field of the input, a role, a bound of a role. Reasons hold names out of the data, never text out of
# the input: the embedded engine escapes no quote in what `concat` and `sprintf` make, and `sprintf` adds some of its own.
package sleep

import rego.v1

depth := {"active": 0, "light": 1, "deep": 2, "freeze": 3}

default decision := {"allow": false, "reasons": ["the policy has no answer"]}

decision := {"allow": true, "reasons": []} if allow

decision := {"allow": false, "reasons": sort(reasons)} if {
	not allow
	count(reasons) > 0
}

default allow := false

allow if {
	well_formed
	not stray_override
	some scope in fitting
	within_ttl(roles[scope])
	within_depth(roles[scope])
}

reasons contains concat("", ["the input's ", field, " is missing or of a wrong type"]) if some field in wrong

reasons contains "override needs the action cognitive_sleep_override" if {
	well_formed
	stray_override
}

reasons contains "no role allows this action" if {
	well_formed
	count(candidates) == 0
	not input.action in actions
}

reasons contains "no role allows this action for another tenant" if {
	well_formed
	count(candidates) == 0
	input.action in actions
}

reasons contains concat("", ["this needs the scope ", concat(" or ", sort(candidates))]) if {
	well_formed
	count(fitting) == 0
	count(candidates) > 0
}

reasons contains concat("", [scope, " needs ttl_seconds of at most ", sprintf("%v", [roles[scope].max_ttl_seconds])]) if {
	well_formed
	some scope in fitting
	not within_ttl(roles[scope])
}

reasons contains concat("", [scope, " allows no state deeper than ", roles[scope].deepest]) if {
	well_formed
	some scope in fitting
	not within_depth(roles[scope])
}

# The roles that are whole.
roles[scope] := role if {
	is_object(data.sleep_roles)
	some scope, role in data.sleep_roles
	is_array(role.actions)
	role.tenants in {"own", "any"}
	is_number(depth[role.deepest])
	is_bound(role.max_ttl_seconds)
}

is_bound(bound) if is_null(bound)

is_bound(bound) if is_number(bound)

actions contains action if {
	some role in roles
	some action in role.actions
}

# The scopes that stand for this action on this tenant.
candidates contains scope if {
	some scope, role in roles
	input.action in role.actions
	covers_tenant(role)
}

# Those of them that the caller holds.
fitting contains scope if {
	some scope in candidates
	scope in input.scopes
}

covers_tenant(role) if role.tenants == "any"

covers_tenant(role) if {
	role.tenants == "own"
	is_string(input.tenant)
	input.tenant == input.token_tenant
}

# What does not sleep and has no TTL needs no bound: a wake-up, a read, a cancel.
within_ttl(role) if is_null(role.max_ttl_seconds)

within_ttl(_) if {
	is_null(input.ttl_seconds)
	not sleeping
}

within_ttl(role) if {
	is_number(role.max_ttl_seconds)
	is_number(input.ttl_seconds)
	input.ttl_seconds <= role.max_ttl_seconds
}

sleeping if depth[input.target_state] > 0

within_depth(_) if is_null(input.target_state)

within_depth(role) if depth[input.target_state] <= depth[role.deepest]

stray_override if {
	input.override == true
	input.action != "cognitive_sleep_override"
}

# The fields of the input that are as the API sends them. None is found wrong by a `not`: OPA takes a reference to an
# absent field out of it, and would see nothing wrong.
right contains "action" if is_string(input.action)

right contains "tenant" if is_name(input.tenant)

right contains "token_tenant" if is_name(input.token_tenant)

right contains "subject" if is_string(input.subject)

right contains "scopes" if are_strings(input.scopes)

right contains "target_state" if is_target(input.target_state)

right contains "ttl_seconds" if is_bound(input.ttl_seconds)

right contains "override" if is_boolean(input.override)

wrong := {"action", "tenant", "token_tenant", "subject", "scopes", "target_state", "ttl_seconds", "override"} - right

well_formed if count(wrong) == 0

is_name(value) if is_null(value)

is_name(value) if is_string(value)

are_strings(values) if {
	is_array(values)
	every value in values { is_string(value) }
}

is_target(value) if is_null(value)

is_target(value) if is_number(depth[value])
