"""The provider for OpenFeature, with the official SDK: values, errors, and the events of each status."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ProviderNotReadyError
from openfeature.provider import ProviderStatus

from sleep_client import SleepReader, TenantState
from sleep_client.flags import KEYS
from sleep_client.openfeature import SleepProvider
from tests.support.states_server import LIMIT_SECONDS, StatesServer, event, ready, rules, snapshot, state

ACME, OTHER = EvaluationContext("acme"), EvaluationContext("other")


def until(condition: Callable[[], bool]) -> None:
    """Wait until a thread of OpenFeature has made a condition true: it sets no event of ours."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def server() -> StatesServer:
    """A server that streams states."""
    return StatesServer()


@pytest.fixture
def make(server: StatesServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SleepProvider]]:
    """Make providers of this server. OpenFeature's handlers run in one thread that ends, so in the order of events."""
    readers: list[SleepReader] = []

    class Reader(SleepReader):
        _transport = staticmethod(server.transport)

        def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - the reader's own
            super().__init__(*arguments)
            readers.append(self)

    class Provider(SleepProvider):
        _reader_class = Reader

    def make(**arguments: Any) -> SleepProvider:  # noqa: ANN401 - the provider's own
        return Provider("https://sleep.example", "token", **{"wait_seconds": LIMIT_SECONDS, **arguments})

    with ThreadPoolExecutor(max_workers=1) as executor:
        monkeypatch.setattr("openfeature._event_support._event_executor", executor)
        yield make
        api.clear_providers()
        # The registry closes those that were replaced in threads of its own.
        assert all(reader.close(LIMIT_SECONDS) for reader in readers)
        for thread in threading.enumerate():
            if "_shutdown_provider" in thread.name:
                thread.join(LIMIT_SECONDS)


class Seen(list[str]):
    """The names of events, in the order in which handlers got them."""

    def __init__(self) -> None:
        super().__init__()
        self._more = threading.Condition()

    def add(self, name: str) -> None:
        """Add one, from a handler's thread."""
        with self._more:
            self.append(name)
            self._more.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, which an event makes true."""
        with self._more:
            assert self._more.wait_for(condition, LIMIT_SECONDS), self


@pytest.fixture
def events(make: Callable[..., SleepProvider]) -> Seen:
    """The names of the provider's events, as they come to handlers."""
    seen = Seen()

    def listen(event: ProviderEvent) -> None:
        def handler(details: EventDetails) -> None:
            if details.provider_name == "Somabrain Sleep":
                seen.add(event.value.removeprefix("PROVIDER_"))

        api.add_handler(event, handler)

    for each in ProviderEvent:
        listen(each)
    del make
    return seen


def start(server: StatesServer, provider: SleepProvider, *tenants: str) -> tuple[OpenFeatureClient, Any]:
    """Set the provider while the server sends a snapshot."""
    setting = threading.Thread(target=api.set_provider_and_wait, args=(provider,))
    setting.start()
    stream = server.next()
    stream.send(snapshot(*tenants))
    setting.join(LIMIT_SECONDS)
    return api.get_client(), stream


def test_values_are_those_of_the_tenant(server: StatesServer, make: Callable[..., SleepProvider]) -> None:
    """By the targeting key, each of its own type, with the state as variant."""
    client, _ = start(server, make(), "acme")
    details = client.get_string_details("sleep.state", "?", ACME)
    assert (details.value, details.variant, details.reason, details.error_code) == (
        "freeze", "freeze", "TARGETING_MATCH", None,
    )  # fmt: skip
    assert details.flag_metadata["state"] == "freeze"
    assert details.flag_metadata["stale"] is False
    assert isinstance(details.flag_metadata["ends_at"], int)
    assert client.get_string_value("sleep.state", "?", OTHER) == "active"
    whole = client.get_integer_details("sleep.K", -1, OTHER)
    assert (whole.error_code, whole.value > 0) == (None, True)
    for key in KEYS[2:]:
        number = client.get_float_details(key, -1.0, OTHER)
        assert (number.error_code, type(number.value), number.value >= 0) == (None, float, True)


async def test_values_for_asyncio(server: StatesServer, make: Callable[..., SleepProvider]) -> None:
    """From memory, too."""
    client, _ = start(server, make(), "acme")
    assert await client.get_string_value_async("sleep.state", "?", ACME) == "freeze"


def test_errors(server: StatesServer, make: Callable[..., SleepProvider]) -> None:
    """Each gives the default and a code."""
    client, _ = start(server, make(tenants=["acme"]), "acme")
    cases = [
        (client.get_string_details("sleep.state", "?", EvaluationContext()), "TARGETING_KEY_MISSING"),
        (client.get_string_details("sleep.state", "?"), "TARGETING_KEY_MISSING"),
        (client.get_string_details("sleep.other", "?", ACME), "FLAG_NOT_FOUND"),
        (client.get_string_details("sleep.K", "?", ACME), "TYPE_MISMATCH"),
        (client.get_integer_details("sleep.tau", -1, ACME), "TYPE_MISMATCH"),
        (client.get_float_details("sleep.K", -1.0, ACME), "TYPE_MISMATCH"),
        (client.get_boolean_details("sleep.state", default_value=False, evaluation_context=ACME), "TYPE_MISMATCH"),
        (client.get_object_details("sleep.state", {}, ACME), "TYPE_MISMATCH"),
        (client.get_string_details("sleep.state", "?", OTHER), "INVALID_CONTEXT"),
        (client.get_string_details("sleep.state", "?", EvaluationContext("no name")), "INVALID_CONTEXT"),
    ]
    assert [details.error_code for details, _ in cases] == [code for _, code in cases]
    assert all(details.value in ("?", -1, -1.0, False, {}) for details, _ in cases)


def test_events_follow_the_status(
    server: StatesServer,
    make: Callable[..., SleepProvider],
    events: Seen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """READY once, changes, STALE as soon as the stream is lost, READY again."""
    monkeypatch.setattr("sleep_client.protocol.waits.after_failure", lambda *_: 0.0)
    client, stream = start(server, make())
    events.until(lambda: events == ["READY"])
    assert client.get_provider_status() is ProviderStatus.READY
    stream.send(state("acme"))
    events.until(lambda: len(events) > 1)
    assert client.get_string_value("sleep.state", "?", ACME) == "freeze"
    stream.send(httpx.ReadError("reset"))
    events.until(lambda: "STALE" in events)
    details = client.get_string_details("sleep.state", "?", ACME)
    assert (details.value, details.reason) == ("freeze", "STALE")
    again = server.next()
    again.send(rules() + event("gone", {"tenant": "acme", "position": "0:90"}) + ready(id_="8"))
    events.until(lambda: events.count("CONFIGURATION_CHANGED") == 3)
    assert events == [
        "READY", "CONFIGURATION_CHANGED", "STALE", "CONFIGURATION_CHANGED", "READY", "CONFIGURATION_CHANGED",
    ]  # fmt: skip
    assert client.get_provider_status() is ProviderStatus.READY
    assert client.get_string_value("sleep.state", "?", ACME) == "active"


def test_a_stream_that_is_lost_for_too_long_is_an_error(
    server: StatesServer, make: Callable[..., SleepProvider], events: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forecasts still answer."""
    monkeypatch.setattr("sleep_client.protocol.waits.after_failure", lambda *_: 600.0)
    client, stream = start(server, make(max_stale_seconds=0), "acme")
    stream.send(httpx.ReadError("reset"))
    events.until(lambda: "ERROR" in events)
    assert client.get_provider_status() is ProviderStatus.ERROR
    assert client.get_string_value("sleep.state", "?", ACME) == "freeze"


def test_a_refusal_is_an_error_at_the_start(
    server: StatesServer, make: Callable[..., SleepProvider], events: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do; the provider gets ready once the server accepts it."""
    monkeypatch.setattr("sleep_client.protocol.waits.after_refusal", lambda *_: 0.0)
    server.refuse(401, {"code": "unauthenticated"}, {"content-type": "application/problem+json"})
    provider = make()
    with pytest.raises(ProviderNotReadyError, match="check the token"):
        api.set_provider_and_wait(provider)
    client = api.get_client()
    server.next().send(snapshot("acme"))
    events.until(lambda: "READY" in events)
    assert events[0] == "ERROR"
    assert client.get_string_value("sleep.state", "?", ACME) == "freeze"


def test_a_provider_that_is_not_ready(make: Callable[..., SleepProvider]) -> None:
    """It says so; `initial` answers in its place."""
    with pytest.raises(ProviderNotReadyError):
        api.set_provider_and_wait(make(wait_seconds=0.0))
    details = api.get_client().get_string_details("sleep.state", "?", ACME)
    assert (details.value, details.error_code) == ("?", "PROVIDER_NOT_READY")
    with pytest.raises(ProviderNotReadyError):
        api.set_provider_and_wait(make(wait_seconds=0.0, initial=TenantState("active", {"K": 5})))
    assert api.get_client().get_integer_value("sleep.K", -1, ACME) == 5
    assert api.get_client().get_float_details("sleep.B", -1.0, ACME).error_code == "FLAG_NOT_FOUND"


def test_a_provider_that_was_shut_down(server: StatesServer, make: Callable[..., SleepProvider]) -> None:
    """Its reader is closed, and it says so."""
    provider = make()
    _, stream = start(server, provider, "acme")
    assert provider.get_metadata().name == "Somabrain Sleep"
    provider.shutdown()
    provider.shutdown()
    assert stream.closed.wait(LIMIT_SECONDS)
    with pytest.raises(ProviderNotReadyError, match="shut down"):
        provider.resolve_string_details("sleep.state", "?", ACME)
