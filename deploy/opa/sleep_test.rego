# Tests each rule of sleep.rego, with a permission and a refusal. Run with `opa test deploy/opa`.
package sleep_test

import data.sleep
import rego.v1

base := {
	"action": "sleep",
	"tenant": "acme",
	"token_tenant": "acme",
	"subject": "ops@acme",
	"scopes": ["sleep:write"],
	"target_state": "deep",
	"ttl_seconds": 600,
	"override": false,
}

# On-call may put its tenant into `light` for ten minutes; the lead into `deep` for an hour.
bounded := {
	"on-call": {"actions": ["sleep", "cognitive_sleep"], "tenants": "own", "deepest": "light", "max_ttl_seconds": 600},
	"lead": {"actions": ["sleep"], "tenants": "own", "deepest": "deep", "max_ttl_seconds": 3600},
}

asked(changes) := decision if {
	decision := sleep.decision with input as object.union(base, changes)
}

of_bounded(changes) := decision if {
	decision := sleep.decision with data.sleep_roles as bounded
		with input as object.union(object.union(base, {"scopes": ["on-call"]}), changes)
}

of_role(role) := decision if {
	decision := sleep.decision with data.sleep_roles as {"own": role}
		with input as object.union(base, {"scopes": ["own"]})
}

allowed(decision) if decision == {"allow": true, "reasons": []}

refused(decision, reason) if decision == {"allow": false, "reasons": [reason]}

test_each_role_allows_its_actions_and_no_other if {
	every scope, role in data.sleep_roles {
		does := {action | some action in sleep.actions; asked({"scopes": [scope], "action": action}).allow}
		does == {action | some action in role.actions}
	}
}

test_for_another_tenant_only_roles_for_any_tenant_count if {
	every scope, role in data.sleep_roles {
		every action in role.actions {
			decision := asked({"scopes": [scope], "action": action, "tenant": "globex"})
			decision.allow == {"own": false, "any": true}[role.tenants]
		}
	}
}

test_the_scopes_that_would_do_are_named if {
	refused(asked({"scopes": []}), "this needs the scope sleep:operate or sleep:write")
	refused(asked({"scopes": [], "tenant": "globex"}), "this needs the scope sleep:operate")
}

test_a_scope_that_only_looks_alike_is_none if {
	every scope in ["sleep:writex", "sleep:writ", "SLEEP:WRITE", " sleep:write", "sleep:*", ""] {
		not asked({"scopes": [scope]}).allow
	}
}

test_nobody_owns_the_absent_tenant if {
	not asked({"tenant": null, "token_tenant": null}).allow
	allowed(asked({"tenant": null, "token_tenant": null, "action": "list", "scopes": ["sleep:operate"]}))
}

test_all_tenants_are_watched_by_readers_of_any_and_by_operators if {
	watchers := {scope | some scope, _ in data.sleep_roles; asked({"tenant": null, "action": "watch", "scopes": [scope]}).allow}
	watchers == {"sleep:read-any", "sleep:operate"}
}

test_an_unknown_action_is_refused_to_the_operator_too if {
	refused(asked({"action": "format", "scopes": ["sleep:operate"]}), "no role allows this action")
}

test_an_action_that_is_granted_to_owners_only_says_so if {
	refused(of_bounded({"tenant": "globex"}), "no role allows this action for another tenant")
}

test_an_override_needs_its_own_action if {
	reason := "override needs the action cognitive_sleep_override"
	refused(asked({"override": true}), reason)
	refused(asked({"override": true, "action": "cognitive_sleep", "scopes": ["sleep:operate"]}), reason)
	every override in [true, false] {
		allowed(asked({"override": override, "action": "cognitive_sleep_override", "scopes": ["sleep:override"]}))
	}
}

test_a_ttl_within_the_bound_is_allowed if {
	allowed(of_bounded({"target_state": "light"}))
	refused(of_bounded({"target_state": "light", "ttl_seconds": 600.001}), "on-call needs ttl_seconds of at most 600")
}

test_a_sleep_without_end_is_out_of_every_bound if {
	refused(of_bounded({"target_state": "light", "ttl_seconds": null}), "on-call needs ttl_seconds of at most 600")
	allowed(asked({"ttl_seconds": null}))
}

test_what_does_not_sleep_needs_no_ttl if {
	every state in ["active", null] {
		allowed(of_bounded({"action": "cognitive_sleep", "target_state": state, "ttl_seconds": null}))
	}
}

test_a_pin_awake_keeps_to_the_bound if {
	not of_bounded({"target_state": "active", "ttl_seconds": 601}).allow
}

test_a_state_within_the_depth_is_allowed if {
	allowed(of_bounded({"scopes": ["lead"]}))
	refused(of_bounded({"scopes": ["lead"], "target_state": "freeze"}), "lead allows no state deeper than deep")
	refused(of_bounded({}), "on-call allows no state deeper than light")
}

test_one_role_must_allow_the_whole if {
	both := {"scopes": ["lead", "on-call"], "ttl_seconds": 3600}
	allowed(of_bounded(both))

	# One role allows the depth, the other one the action.
	refused(
		of_bounded(object.union(both, {"action": "cognitive_sleep", "ttl_seconds": 60})),
		"on-call allows no state deeper than light",
	)
}

test_each_bound_that_is_missed_is_told if {
	of_bounded({"ttl_seconds": 3601, "scopes": ["on-call", "lead"]}).reasons == [
		"lead needs ttl_seconds of at most 3600",
		"on-call allows no state deeper than light",
		"on-call needs ttl_seconds of at most 600",
	]
}

test_a_role_that_is_not_whole_allows_nothing if {
	role := {"actions": ["sleep"], "tenants": "own", "deepest": "deep", "max_ttl_seconds": null}
	allowed(of_role(role))
	every key, _ in role {
		not of_role(object.remove(role, [key])).allow
	}
	every wrong in [
		{"actions": "sleep"},
		{"actions": {"sleep": true}},
		{"actions": null},
		{"tenants": "all"},
		{"tenants": true},
		{"deepest": "coma"},
		{"deepest": 3},
		{"max_ttl_seconds": "600"},
		{"max_ttl_seconds": true},
	] {
		not of_role(object.union(role, wrong)).allow
	}
	every other in [null, [], "sleep", 7] {
		not of_role(other).allow
	}
}

test_data_without_roles_allow_nothing if {
	every roles in [null, [], "all", {}] {
		decision := sleep.decision with data.sleep_roles as roles with input as base
		refused(decision, "no role allows this action")
	}
}

test_an_input_without_a_field_is_refused if {
	every key, _ in base {
		decision := sleep.decision with input as object.remove(base, [key])
		refused(decision, sprintf("the input's %s is missing or of a wrong type", [key]))
	}
	every other in [null, [], "read", 7, {}] {
		decision := sleep.decision with input as other
		decision.allow == false
		count(decision.reasons) == 8
	}
}

test_a_field_of_a_wrong_type_is_refused if {
	every key, values in {
		"action": [null, 7, ["sleep"]],
		"tenant": [7, true, ["acme"], {}],
		"token_tenant": [7, true, ["acme"], {}],
		"subject": [null, 7],
		"scopes": [null, "sleep:write", {"sleep:write": true}, ["sleep:write", 7]],
		"target_state": ["coma", 2, ["deep"], true],
		"ttl_seconds": ["600", true, [600]],
		"override": [null, 0, 1, "false"],
	} {
		every value in values {
			decision := sleep.decision with input as json.patch(base, [{"op": "replace", "path": key, "value": value}])
			refused(decision, sprintf("the input's %s is missing or of a wrong type", [key]))
		}
	}
}

test_a_policy_without_an_answer_says_no if {
	decision := sleep.decision with sleep.reasons as set() with input as {}
	refused(decision, "the policy has no answer")
}

test_a_nonce_is_echoed_and_decides_nothing if {
	without := sleep.decision with input as base
	with_nonce := sleep.decision with input as object.union(base, {"nonce": "5f"})
	with_nonce == object.union(without, {"nonce": "5f"})
	every other in [null, 7, ["5f"], {}] {
		decision := sleep.decision with input as object.union(base, {"nonce": other})
		decision == without
	}
}
