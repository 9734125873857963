"""Commands to many tenants: a run sends one command to each tenant, and can be continued after an interruption."""
