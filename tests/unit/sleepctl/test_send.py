"""`sleepctl send` and `sleepctl state` over HTTP, and breaker events over Kafka."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from schemas.kafka.partitioner import partition_of
from schemas.wire.cloudevents import decode
from schemas.wire.events import BreakerEvent
from tests.unit.sleepctl.conftest import Run
from tests.unit.sleepctl.fakes import FakeApi, FakeLog, claim, present

Api = Callable[..., FakeApi]
DOOR = {"SLEEP_URL": "http://api:8080/base", "SLEEP_TOKEN": "s3cret"}
OPERATION = {
    "operation_id": "op-1",
    "status": "running",
    "created_at": 1_795_334_837_992,
    "finished_at": None,
    "state": "deep",
}
PROBLEM = {
    "title": "The TTL is out of range",
    "detail": "at most 3600 s",
    "code": "ttl_out_of_range",
    "errors": [{"field": "ttl_seconds", "reason": "too long"}],
    "operation_id": "op-2",
}


def test_sleep_asks_the_api_with_the_token_and_prints_the_operation(run: Run, api: Api) -> None:
    """Times are shown as times, absent values not at all."""
    fake = api(200, OPERATION)
    outcome = run("send", "sleep", "deep", "--ttl", "1.5", "--reason", "drill", "--tenant", "acme", **DOOR)
    request = fake.requests[0]
    assert (request.method, str(request.url)) == ("POST", "http://api:8080/base/api/util/sleep")
    assert (request.headers["authorization"], request.headers["x-tenant-id"]) == ("Bearer s3cret", "acme")
    assert fake.body == {"target_state": "deep", "ttl_seconds": 1.5, "reason": "drill"}
    assert outcome.code == 0
    assert "operation_id  op-1\n" in outcome.out
    assert "created_at    2026-11-22T08:07:17.992Z\n" in outcome.out
    assert "finished_at" not in outcome.out


def test_json_prints_the_document_as_it_came(run: Run, api: Api) -> None:
    """For machines."""
    api(200, OPERATION)
    assert json.loads(run("send", "sleep", "deep", "--ttl", "1", "--json", **DOOR).out) == OPERATION


def test_without_a_tenant_the_token_speaks_for_its_own(run: Run, api: Api) -> None:
    """No header is sent."""
    fake = api(200, OPERATION)
    run("send", "mode", "light", **DOOR)
    assert "x-tenant-id" not in fake.requests[0].headers


def test_async_does_not_wait_and_says_where_the_outcome_will_be(run: Run, api: Api) -> None:
    """202 is a success whose outcome is not known yet."""
    fake = api(202, OPERATION | {"status": "accepted"}, location="/api/operations/op-1")
    outcome = run("send", "sleep", "light", "--ttl", "9", "--async", **DOOR)
    assert fake.body["async_mode"] is True
    assert outcome.code == 0
    assert outcome.err == "the outcome is not known yet; see /api/operations/op-1\n"


def test_a_pin_is_sent_with_its_ttl_and_the_wait_that_is_preferred(run: Run, api: Api) -> None:
    """The wait is a preference of the request."""
    fake = api(200, OPERATION)
    run("send", "mode", "active", "--override", "--ttl", "60", "--wait", "30", **DOOR)
    assert fake.body == {"target_state": "active", "override": True, "ttl_seconds": 60.0}
    assert fake.requests[0].headers["prefer"] == "wait=30"


def test_cancel_names_the_operation_in_the_path(run: Run, api: Api) -> None:
    """An id from outside is quoted, so that it stays one segment."""
    fake = api(200, OPERATION)
    run("send", "cancel", "op/1?x", "--async", "--wait", "0", **DOOR)
    assert fake.requests[0].method == "DELETE"
    assert fake.requests[0].url.raw_path == b"/base/api/util/sleep/op%2F1%3Fx"
    assert fake.requests[0].headers["prefer"] == "respond-async, wait=0"


def test_policy_replaces_whatever_version_is_there_unless_one_is_named(run: Run, api: Api, tmp_path: Path) -> None:
    """`If-Match` is what the API needs to write."""
    fake = api(200, {"policy": {"floor": "light"}, "policy_version": 3, "default": False})
    file = tmp_path / "policy.json"
    file.write_text('{"floor": "light"}')
    first = run("send", "policy", str(file), **DOOR)
    run("send", "policy", str(file), "--if-version", "2", **DOOR)
    assert [request.headers["if-match"] for request in fake.requests] == ["*", '"2"']
    assert [request.method for request in fake.requests] == ["PUT", "PUT"]
    assert fake.body == {"floor": "light"}
    assert "default         no\n" in first.out


def test_policy_default_deletes(run: Run, api: Api) -> None:
    """The tenant returns to the rules' policy."""
    fake = api(200, {"policy_version": 4})
    assert run("send", "policy", "--default", **DOOR).code == 0
    assert fake.requests[0].method == "DELETE"


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ("[1]", "does not hold a JSON object"), ('{"a": NaN}', "is not JSON")],
)
def test_a_policy_file_without_an_object_is_never_sent(
    run: Run, api: Api, tmp_path: Path, content: str, message: str
) -> None:
    """What the object means is the API's to judge."""
    fake = api(200, {})
    file = tmp_path / "policy.json"
    file.write_text(content)
    outcome = run("send", "policy", str(file), **DOOR)
    assert (outcome.code, fake.requests) == (2, [])
    assert message in outcome.err


@pytest.mark.parametrize("arguments", [(), ("policy.json", "--default")])
def test_policy_wants_a_file_or_the_default(run: Run, arguments: tuple[str, ...]) -> None:
    """Both, or neither, is a mistake."""
    outcome = run("send", "policy", *arguments, **DOOR)
    assert outcome.code == 2
    assert "either a FILE or --default" in outcome.err


def test_state_shows_the_tenant(run: Run, api: Api) -> None:
    """One claim a line, the deepest first, with what it means now; those that mean nothing are counted."""
    operation = {"source": "operation", "breaker_state": None, "expires_at": None, "actor": "ops", "reason": "drill"}
    claims = [claim("db@a", "light"), claim("db@b", "active"), claim("op-1", "freeze", **operation)]
    forecast = [{"at": 1_795_334_897_992, "state": "light"}]
    fake = api(200, present("freeze", moving=True) | {"claims": claims, "forecast": forecast})
    outcome = run("state", "acme", **DOOR)
    assert fake.requests[0].headers["x-tenant-id"] == "acme"
    assert outcome.out.splitlines() == [
        "tenant:          acme",
        "state:           freeze since 2026-11-22T08:07:17.992Z",
        "decided by:      the breaker payments@pod-1; without it active",
        "last change:     breaker",
        "claims now:      freeze  operation op-1, since 2026-11-22T08:07:17.992Z, without an end, by ops: drill",
        "                 light   breaker db@a is open, since 2026-11-22T08:07:17.992Z, until 2026-11-22T08:08:17.992Z",
        "                 1 breaker that asks for no sleep",
        "parameters:      K 50→100  t 1  tau 1.0e-06→0.1  eta 0.01  lambda 0.5  B 1",
        "will be:         light at 2026-11-22T08:08:17.992Z, if nothing else happens",
        "policy version:  0",
        "now:             2026-11-22T08:07:20.000Z",
        "position:        0:1",
    ]


def test_state_shows_a_tenant_that_nothing_keeps_asleep(run: Run, api: Api) -> None:
    """And says where its policy only watches."""
    awake: dict[str, object] = {"claims": [], "cause": None, "enforced": False, "position": None, "seen": False}
    api(200, present() | awake)
    outcome = run("state", "acme", **DOOR)
    assert "never seen: no event of the tenant was applied, or its record has retired\n" in outcome.out
    assert "dry run:         decided active, state active: the policy has `enforce: false`\n" in outcome.out
    assert "decided by:      nothing: no claim asks for sleep\n" in outcome.out
    assert "claims now:      none\n" in outcome.out
    api(200, present() | awake | {"decided": "deep", "claims": [claim("a@b", "active"), claim("a@c", "active")]})
    outcome = run("state", "acme", **DOOR)
    assert "dry run:         decided deep, state active: the policy has `enforce: false`\n" in outcome.out
    assert "claims now:      2 breakers that ask for no sleep\n" in outcome.out


def test_what_is_alone_of_its_kind_is_named_once(run: Run, api: Api) -> None:
    """A tenant has one pin, one mode and one policy, whose keys are their kinds."""
    pin = claim("pin", "light") | {"source": "pin", "breaker_state": None}
    api(200, present("light") | {"claims": [pin], "cause": {"kind": "policy", "key": "policy"}})
    lines = run("state", "acme", **DOOR).out.splitlines()
    assert "last change:     policy" in lines
    assert any(line.startswith("claims now:      light   pin, since ") for line in lines)


def test_state_is_json_where_json_is_wanted(run: Run, api: Api) -> None:
    """The document as it came."""
    api(200, present())
    assert json.loads(run("state", "acme", "--json", **DOOR).out) == present()


@pytest.mark.parametrize("tenant", ["a b", "ä", "x" * 129, "acme\n"])
def test_what_is_no_tenant_id_is_never_sent(run: Run, api: Api, tenant: str) -> None:
    """A header could not even hold some of them."""
    fake = api(200, present())
    outcome = run("state", tenant, **DOOR)
    assert (outcome.code, fake.requests) == (2, [])
    assert outcome.err == "sleepctl: the tenant must be 1 to 128 of A-Z a-z 0-9 . _ : @ -\n"


def test_a_problem_does_not_say_its_reason_twice(run: Run, api: Api) -> None:
    """The detail holds the reason of each wrong field."""
    reason = "the TTL must be from 0.001 to 3600 seconds"
    api(422, PROBLEM | {"detail": reason, "errors": [{"field": "a", "reason": reason}]})
    outcome = run("send", "sleep", "deep", "--ttl", "99999", **DOOR)
    assert outcome.err == f"sleepctl: The TTL is out of range: {reason} (422 ttl_out_of_range)\n  operation op-2\n"


def test_a_problem_is_told_on_stderr_with_each_wrong_field(run: Run, api: Api) -> None:
    """Exit status 1, nothing on stdout, no secret."""
    api(422, PROBLEM)
    outcome = run("send", "sleep", "deep", "--ttl", "99999", **DOOR)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (
        "sleepctl: The TTL is out of range: at most 3600 s (422 ttl_out_of_range)\n"
        "  ttl_seconds: too long\n"
        "  operation op-2\n"
    )


def test_a_problem_is_json_where_json_is_wanted(run: Run, api: Api) -> None:
    """On stderr too, since it is a failure."""
    api(422, PROBLEM)
    outcome = run("send", "sleep", "deep", "--ttl", "1", "--json", **DOOR)
    assert json.loads(outcome.err.removeprefix("sleepctl: ")) == PROBLEM


def test_a_bare_problem_is_told_by_its_status(run: Run, api: Api) -> None:
    """A gateway's JSON may have no title."""
    api(502, {})
    assert run("state", "acme", **DOOR).err == "sleepctl: HTTP 502\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.ConnectError("refused"), "does not answer: ConnectError: refused; is SLEEP_URL right?\n"),
        (httpx.LocalProtocolError("Illegal header value b'Bearer s3cret'"), "does not answer: LocalProtocolError\n"),
        (b"<html>", "answered 200 without a JSON object"),
        ([], "answered 200 without a JSON object"),
    ],
)
def test_what_is_no_answer_is_told_without_any_secret(run: Run, api: Api, answer: object, message: str) -> None:
    """The token is not shown."""
    api(200, answer)
    outcome = run("state", "acme", SLEEP_URL="http://api:8080", SLEEP_TOKEN="s3cret")
    assert outcome.code == 1
    assert message in outcome.err
    assert "http://api:8080" in outcome.err
    assert "s3cret" not in outcome.err


@pytest.mark.parametrize(
    ("url", "token", "message"),
    [
        ("http://api", "", "--token or SLEEP_TOKEN"),
        ("http://api", "s3\ncret", "--token or SLEEP_TOKEN: it holds a control character"),
        ("http://api", "s3cret\n", "--token or SLEEP_TOKEN: it ends with a line break"),
        ("http://api", "'s3cret'", "--token or SLEEP_TOKEN: it is in quotation marks"),
        ("http://api", "Bearer s3cret", "--token or SLEEP_TOKEN: give the token alone, without `Bearer`"),
        ("http://api", "s3 cret", "--token or SLEEP_TOKEN: it has characters that no token has"),
        ("http://api", "s3crét", "--token or SLEEP_TOKEN: it has characters that no token has"),
        ("ftp://api", "s3cret", "--url or SLEEP_URL: it must start with http:// or https://"),
        ("api:8080", "s3cret", "--url or SLEEP_URL: it must start with http:// or https://"),
        ("tcp://10.96.0.17:8080", "s3cret", "--url or SLEEP_URL: it must start with http:// or https://"),
        ("http://[::", "s3cret", "--url or SLEEP_URL: it has no valid host and port"),
        ("http:///path", "s3cret", "--url or SLEEP_URL: it has no valid host and port"),
        ("http://api:99999", "s3cret", "--url or SLEEP_URL: it has no valid host and port"),
        ("http://api:0", "s3cret", "--url or SLEEP_URL: it has no valid host and port"),
        ("http://api ", "s3cret", "--url or SLEEP_URL: it ends with white space"),
        ("'http://api'", "s3cret", "--url or SLEEP_URL: it is in quotation marks"),
        ("http://api?x=1", "s3cret", "--url or SLEEP_URL: it must have nothing after ? or #"),
        ("http://me:s3cret@api", "x", "--url or SLEEP_URL: it must have no user and password"),
    ],
)
def test_a_door_that_cannot_be_entered_is_refused_before_anything_is_sent(
    run: Run, api: Api, url: str, token: str, message: str
) -> None:
    """The reason names the option and never its value where that is secret."""
    fake = api(200, {})
    given = run("state", "acme", SLEEP_URL=url, SLEEP_TOKEN=token)
    for outcome in (given, run("state", "acme", "--url", url, "--token", token)):
        assert outcome.code == 2
        assert fake.requests == []
        assert message in outcome.err
        assert "s3cret" not in outcome.err
        assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_wrong_authorities_matter_to_https_alone(run: Run, api: Api, name: str) -> None:
    """And are named."""
    api(200, present())
    plain = run("state", "acme", SLEEP_URL="http://api", SLEEP_TOKEN="x", **{name: "/nonexistent"})
    assert (plain.code, plain.err) == (0, "")
    secured = run("state", "acme", SLEEP_URL="https://api", SLEEP_TOKEN="x", **{name: "/nonexistent"})
    assert secured.code == 2
    assert secured.err.startswith(f"sleepctl: {name}: ")
    assert secured.err.count("\n") == 1


def test_a_breaker_event_goes_to_the_breakers_topic_in_its_tenants_partition(run: Run, log: FakeLog) -> None:
    """As an emitter with Kafka's default partitioner would send it."""
    outcome = run("send", "breaker", "half_open", "--tenant", "acme", "--name", "db", "--cause", "drill", "--json")
    ((topic, partition, key, value),) = log.records
    event = decode(key, value, ())
    assert isinstance(event, BreakerEvent)
    assert (topic, partition) == ("sleep.breakers", partition_of("acme", 8))
    assert (event.data.breaker, event.data.state, event.data.cause) == ("db", "half_open", "drill")
    assert json.loads(outcome.out) == {
        "event_id": event.id,
        "topic": topic,
        "partition": partition,
        "offset": 0,
    }


def test_a_direct_breaker_event_goes_past_ingress(run: Run, log: FakeLog) -> None:
    """Onto the events topic."""
    run("send", "breaker", "open", "--tenant", "acme", "--name", "db", "--direct", "--occurred-at", "5")
    assert log.records[0][0] == "sleep.events"


@pytest.mark.parametrize("state", ["half-open", "HALF_OPEN", "halfOpen", "Half Open"])
def test_a_breakers_state_may_be_typed_in_any_spelling(run: Run, log: FakeLog, state: str) -> None:
    """What is written has ours, so that workers of any version read it."""
    assert run("send", "breaker", state, "--tenant", "acme", "--name", "db", "--direct").code == 0
    assert json.loads(log.records[0][3])["data"]["state"] == "half_open"


def test_a_state_that_is_none_is_refused_with_those_that_there_are(run: Run, log: FakeLog) -> None:
    """In the words of the command line; exit status 2."""
    outcome = run("send", "breaker", "ajar", "--tenant", "acme", "--name", "db")
    assert (outcome.code, log.records) == (2, [])
    assert outcome.err.startswith("sleepctl: the state must be one of closed, open, half_open")


def test_a_wrong_breaker_event_is_never_written(run: Run, log: FakeLog) -> None:
    """The field is named; exit status 2."""
    outcome = run("send", "breaker", "open", "--tenant", "acme", "--name", "a@b")
    assert (outcome.code, log.records) == (2, [])
    assert outcome.err == "sleepctl: --name must be free of @ and control characters\n"


def test_wrong_settings_exit_with_2_and_name_each_variable(run: Run) -> None:
    """And say which command lists them."""
    outcome = run("send", "breaker", "open", "--tenant", "acme", "--name", "db", SLEEP_PARTITIONS="0")
    assert outcome.code == 2
    for name in ("SLEEP_KAFKA_BOOTSTRAP", "SLEEP_REDIS_URL", "SLEEP_PARTITIONS"):
        assert name in outcome.err
    assert outcome.err.count("\n") == 1
