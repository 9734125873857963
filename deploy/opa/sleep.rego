# Decides who may do what. The roles are data (data.json): actions, tenants and bounds of each scope.
# Input: action, tenant, token_tenant, subject, scopes, target_state, ttl_seconds, override.
# Output: data.sleep.decision = {"allow": boolean, "reasons": [reasons of a refusal]}.
# The API also sends a nonce if the policy echoes one. The echo proves which query an answer belongs to, so that the API
# can reuse a connection. A policy without an echo works too, with one connection for each query.
#
# A request is allowed if one role of the caller allows all of it. A missing or wrong field of the input, role, or bound
# of a role allows nothing. Reasons have names from the data, never text from the input: the embedded engine does not
# escape quotes in the results of `concat` and `sprintf`, and `sprintf` adds quotes of its own.
package sleep

import rego.v1

depth := {"active": 0, "light": 1, "deep": 2, "freeze": 3}

decision := object.union(verdict, echo)

default verdict := {"allow": false, "reasons": ["the policy has no answer"]}

verdict := {"allow": true, "reasons": []} if allow

verdict := {"allow": false, "reasons": sort(reasons)} if {
	not allow
	count(reasons) > 0
}

default echo := {}

echo := {"nonce": input.nonce} if is_string(input.nonce)

default allow := false

allow if {
	well_formed
	not stray_override
	some scope in input.scopes
	role := role_of(scope)
	covers(role)
	within_ttl(role)
	within_depth(role)
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

# A permission needs only the caller's own roles, and OPA takes half a millisecond for all of them.
roles[scope] := role_of(scope) if some scope, _ in data.sleep_roles

# The role of a scope, if it is complete.
role_of(scope) := role if {
	is_object(data.sleep_roles)
	role := data.sleep_roles[scope]
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

# The scopes whose role allows this action on this tenant.
candidates contains scope if {
	some scope, role in roles
	covers(role)
}

# The candidates among the caller's scopes.
fitting contains scope if {
	some scope in candidates
	scope in input.scopes
}

covers(role) if {
	input.action in role.actions
	covers_tenant(role)
}

covers_tenant(role) if role.tenants == "any"

covers_tenant(role) if {
	role.tenants == "own"
	is_string(input.tenant)
	input.tenant == input.token_tenant
}

# A request without sleep and without TTL is within every bound: a wake-up, a read, a cancel.
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

# The valid fields of the input. Wrong fields are not found with `not`: OPA evaluates a reference to an absent field
# outside the `not`, so the rule would be undefined.
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

# What the decision can tell apart in the fields that callers fill freely. The API remembers the embedded engine's
# decisions by this, so change it together with the rules above. Of these fields they read only
# - `subject`, `tenant` and `token_tenant`: the type, and whether the two tenants are equal;
# - `scopes`: which scopes of a role are among them;
# - `ttl_seconds`: whether it is null, and which bounds of a role it exceeds.
visible := {"scopes": role_scopes, "ttl_bounds": ttl_bounds}

role_scopes contains scope if some scope, _ in roles

ttl_bounds contains role.max_ttl_seconds if {
	some role in roles
	is_number(role.max_ttl_seconds)
}
