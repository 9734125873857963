"""Pages are served at a bounded rate."""

from typing import Any

from schemas.http.pace import BURST_SECONDS, WAITING, WAITING_OF_CLIENT, Pace, Turns


def test_turns_come_at_once_after_a_rest_and_then_at_their_rate() -> None:
    """A burst, then one after the other; a rest gives back no more than the burst."""
    turns = Turns(10)
    for _ in range(2):
        waits = []
        for _ in range(10 + WAITING_OF_CLIENT):
            wait = turns.take("a", 1_000.0)
            assert wait is not None
            waits.append(round(wait, 6))
            if not wait:
                turns.begin("a")
        assert waits == [0.0] * 10 + [0.0] + [round(number / 10, 6) for number in range(1, WAITING_OF_CLIENT)]
        for _ in range(WAITING_OF_CLIENT - 1):
            turns.begin("a")
        turns = Turns(10)


def test_one_client_waits_a_few_times_and_all_together_a_few_more() -> None:
    """Whoever asks too much is refused, and another waits for few of those before it."""
    turns = Turns(1)
    for number in range(WAITING):
        assert turns.take(f"client-{number // WAITING_OF_CLIENT}", 0.0) is not None
    assert turns.take("client-0", 0.0) is None
    assert turns.take("another", 0.0) is not None, "the first of a client always waits"
    assert turns.take("another", 0.0) is None
    for _ in range(2):
        turns.begin("client-0")
    assert turns.take("another", 0.0) is not None


class Time:
    """Time that goes on where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_a_page_is_served_at_its_rate_and_probes_beside_it() -> None:
    """A minute of requests one after the other takes a minute, less the burst."""
    time, served = Time(), []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:  # noqa: ANN401 - an ASGI application
        served.append(scope["path"])

    pages, probes = Turns(50), Turns(200)
    lanes = {"/metrics": pages, "/healthz": probes}
    pace = Pace(app, lanes.get, lambda: time.now, time.sleep)
    for path, rate in (("/metrics", 50), ("/healthz", 200)):
        began = time.now
        for _ in range(60 * rate):
            await pace({"type": "http", "path": path, "client": ("192.0.2.1", 1)}, None, None)  # type: ignore[arg-type]
        assert round(time.now - began + BURST_SECONDS, 1) == 60.0
    began = time.now
    for _ in range(1_000):
        await pace({"type": "http", "path": "/api", "client": None}, None, None)  # type: ignore[arg-type]
    assert time.now == began, "what takes no turns is served at once"
    assert len(served) == 60 * 250 + 1_000
