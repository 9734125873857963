"""Starts a sleep and reads it, with the client that openapi-generator makes."""

import os

import sleepclient

configuration = sleepclient.Configuration(host=os.environ["SLEEP_URL"], access_token=os.environ["SLEEP_TOKEN"])
with sleepclient.ApiClient(configuration) as client:
    operations = sleepclient.OperationsApi(client)
    body = sleepclient.SleepBody(target_state=sleepclient.SleepingState("deep"), ttl_seconds=60.0)
    started = operations.start_sleep(body)
    operation = operations.get_sleep(started.operation_id)
    assert operation.status.value == "running", operation
    assert operation.expires_at is not None
    assert operation.expires_at - operation.created_at == 60_000, operation
    mode = sleepclient.ModeApi(client).get_sleep_mode()
    assert mode.state.value == "deep", mode
    refused = operations.get_sleep_without_preload_content("nobody")
    assert refused.status == 404, refused
print("python", operation.operation_id)
