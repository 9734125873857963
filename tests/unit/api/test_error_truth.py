"""An error says what is true of this request: whether it reads or writes, and what is wrong with the dependency."""

from typing import Final

import httpx
import pytest
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError, RedisError

from api.adapters.dependency import UnavailableError
from api.adapters.redis_store import answering
from api.errors.catalog import KINDS
from api.errors.problems import only_reads
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.endpoints import ENDPOINTS, Endpoint

READS: Final = [endpoint for endpoint in ENDPOINTS if endpoint.reads]
WRITES: Final = [endpoint for endpoint in ENDPOINTS if not endpoint.reads]
AWAY: Final = {
    "redis": "Redis does not answer",
    "opa": "the authorisation policy gives no decision",
    "jwks": "the keys of the token's issuer cannot be read",
    "kafka": "Kafka is unavailable",
}


async def ask(api: ApiOverFakes, endpoint: Endpoint) -> httpx.Response:
    """Send a good request."""
    return await api.client.request(endpoint.method, endpoint.path, json=endpoint.body, headers={"If-Match": "*"})


def fail(api: ApiOverFakes, dependency: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a dependency away, whatever asks it first."""

    async def away(*_: object) -> None:
        raise UnavailableError(dependency, "connection to 10.0.0.1 refused")

    if dependency == "jwks":
        monkeypatch.setattr(api.services.verifier, "verify", away)
    elif dependency == "opa":
        monkeypatch.setattr(api.authoriser, "decide", away)
    else:
        api.limiter.failure = UnavailableError(dependency, "connection to 10.0.0.1 refused")


def test_only_a_preview_is_a_post_that_reads() -> None:
    """Its endpoint says so, whatever its path is."""
    assert [each.operation_id for each in READS if each.method != "GET"] == ["previewSleepPolicy"]
    assert not only_reads("POST", None)


@pytest.mark.parametrize("dependency", ["redis", "opa", "jwks"])
@pytest.mark.parametrize("endpoint", READS, ids=str)
async def test_a_read_is_not_told_of_publishing(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint, dependency: str
) -> None:
    """It was to publish nothing."""
    fail(api, dependency, monkeypatch)
    answer = await ask(api, endpoint)
    assert (answer.status_code, answer.json()["detail"]) == (503, f"{AWAY[dependency]}; try again")


@pytest.mark.parametrize("dependency", ["redis", "opa", "jwks", "kafka"])
@pytest.mark.parametrize("endpoint", WRITES, ids=str)
async def test_a_write_is_told_that_nothing_was_published(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint, dependency: str
) -> None:
    """So it may be sent again."""
    fail(api, dependency, monkeypatch)
    answer = await ask(api, endpoint)
    detail = answer.json()["detail"]
    assert (answer.status_code, detail) == (503, f"{AWAY[dependency]}; nothing was published, try again")
    assert api.log.published == []


@pytest.mark.parametrize("error", [ReadOnlyError("replica"), OutOfMemoryError("full"), BusyLoadingError("loading")])
def test_a_redis_that_answers_with_an_error_is_not_called_silent(error: RedisError) -> None:
    """A replica, a full server and one that loads its data do answer."""
    with pytest.raises(UnavailableError) as raised, answering():
        raise error
    assert raised.value.detail == "Redis answers with an error"
    with pytest.raises(UnavailableError) as raised, answering():
        raise TimeoutError
    assert raised.value.detail is None


def test_what_redis_holds_and_cannot_be_read_is_not_called_away() -> None:
    """It answers; the finding is for the log."""
    with pytest.raises(UnavailableError) as raised, answering():
        raise ValueError("layout")
    assert raised.value.detail == "Redis holds data that cannot be read"


def test_no_title_says_more_than_its_code_knows() -> None:
    """A title is the same for every request; that something does not answer is one of several causes."""
    assert not [kind.title for kind in KINDS.values() if "does not answer" in kind.title]


async def test_every_problem_is_counted_by_its_code(api: ApiOverFakes) -> None:
    """From zero on, so that the first one is an increase."""
    assert 'sleep_api_problems_total{code="invalid_request"} 0.0' in api.services.metrics.render().decode()
    await api.client.post("/api/util/sleep", json={})
    await api.client.get("/nowhere")
    api.limiter.amount = 0
    await api.client.post("/api/util/sleep", json={"target_state": "deep", "ttl_seconds": 60})
    rendered = api.services.metrics.render().decode()
    for code in ("invalid_request", "not_found", "quota_exceeded"):
        assert f'sleep_api_problems_total{{code="{code}"}} 1.0' in rendered
