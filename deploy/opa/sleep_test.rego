package sleep_test

import rego.v1

import data.sleep

test_own_tenant_with_scope if {
	sleep.decision == {"allow": true, "reasons": []} with input as {
		"action": "sleep", "tenant": "acme", "token_tenant": "acme", "scopes": ["sleep:write"],
	}
}

test_own_tenant_without_scope if {
	sleep.decision == {"allow": false, "reasons": ["the scope sleep:write is needed"]} with input as {
		"action": "sleep", "tenant": "acme", "token_tenant": "acme", "scopes": ["sleep:read"],
	}
}

test_another_tenant if {
	sleep.decision.allow == false with input as {
		"action": "sleep", "tenant": "globex", "token_tenant": "acme", "scopes": ["sleep:write"],
	}
}

test_read_any if {
	sleep.decision.allow with input as {
		"action": "read", "tenant": "globex", "token_tenant": "acme", "scopes": ["sleep:read-any"],
	}
}

test_operate_any if {
	sleep.decision.allow with input as {
		"action": "cognitive_sleep_override", "tenant": "globex", "token_tenant": null, "scopes": ["sleep:operate"],
	}
}

test_no_tenant_owns_none if {
	sleep.decision.allow == false with input as {
		"action": "read", "tenant": null, "token_tenant": null, "scopes": ["sleep:read"],
	}
}

test_unknown_action if {
	sleep.decision == {"allow": false, "reasons": ["there is no action dance"]} with input as {
		"action": "dance", "tenant": "acme", "token_tenant": "acme", "scopes": ["sleep:operate"],
	}
}

test_empty_input if {
	sleep.decision.allow == false with input as {}
}
