# Who may do what. Input: action, tenant, token_tenant, subject, scopes, target_state, ttl_seconds, override.
# Output: data.sleep.decision = {"allow": boolean, "reasons": [why not]}.
package sleep

import rego.v1

# The scope that allows an action on the token's own tenant.
own_scope := {
	"read": "sleep:read",
	"sleep": "sleep:write",
	"cognitive_sleep": "sleep:write",
	"cognitive_sleep_policy": "sleep:policy",
	"cognitive_sleep_override": "sleep:override",
	"emit": "sleep:emit",
}

# The scope that allows an action on any tenant. `sleep:operate` allows every action on any tenant, and is the
# only one for those that stand in neither table.
any_scope := {
	"read": "sleep:read-any",
	"emit": "sleep:emit-any",
}

actions := object.keys(own_scope) | {"list"}

own_tenant if {
	is_string(input.token_tenant)
	input.tenant == input.token_tenant
}

default allow := false

allow if {
	own_tenant
	own_scope[input.action] in input.scopes
}

allow if any_scope[input.action] in input.scopes

allow if {
	input.action in actions
	"sleep:operate" in input.scopes
}

reasons contains sprintf("there is no action %v", [input.action]) if not input.action in actions

reasons contains sprintf("the scope %v is needed", [own_scope[input.action]]) if {
	own_tenant
	not own_scope[input.action] in input.scopes
}

reasons contains sprintf("%v for another tenant needs the scope %v", [input.action, any_scope[input.action]]) if {
	not own_tenant
}

reasons contains sprintf("%v for another tenant needs the scope sleep:operate", [input.action]) if {
	input.action in actions
	not own_tenant
	not any_scope[input.action]
}

reasons contains "list needs the scope sleep:operate" if {
	input.action == "list"
	own_tenant
}

default decision := {"allow": false, "reasons": ["the policy has no answer"]}

decision := {"allow": true, "reasons": []} if allow

decision := {"allow": false, "reasons": sort(reasons)} if {
	not allow
	count(reasons) > 0
}
