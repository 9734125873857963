"""Starts a sleep and reads it, with the client that openapi-python-client makes."""

import os

from somabrain_sleep_client import AuthenticatedClient
from somabrain_sleep_client.api.mode import get_sleep_mode
from somabrain_sleep_client.api.operations import get_sleep, start_sleep
from somabrain_sleep_client.models import OperationDocument, Problem, SleepBody, SleepingState, SleepModeDocument

client = AuthenticatedClient(base_url=os.environ["SLEEP_URL"], token=os.environ["SLEEP_TOKEN"])
started = start_sleep.sync(client=client, body=SleepBody(target_state=SleepingState("deep"), ttl_seconds=60))
assert isinstance(started, OperationDocument), started
found = get_sleep.sync(started.operation_id, client=client)
assert isinstance(found, OperationDocument), found
assert found.status.value == "running", found
assert found.expires_at is not None
assert found.expires_at - found.created_at == 60_000, found
mode = get_sleep_mode.sync(client=client)
assert isinstance(mode, SleepModeDocument), mode
assert mode.state.value == "deep", mode
refused = get_sleep.sync("nobody", client=client)
assert isinstance(refused, Problem), refused
assert refused.code.value == "unknown_operation", refused
print("openapi-python-client", found.operation_id)
