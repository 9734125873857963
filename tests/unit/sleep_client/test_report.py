"""What a report may say: the names and states that the server accepts."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.wire.cloudevents import parse_all
from sleep_client.emission.events import CONTENT_TYPE, Event, encode
from sleep_client.emission.report import Key, Report, read, read_state, text


@pytest.mark.parametrize("spelling", ["half_open", "HALF_OPEN", "half-open", "halfOpen", "Half Open"])
def test_a_state_is_read_in_the_spellings_of_libraries(spelling: str) -> None:
    """As the server does."""
    assert read_state(spelling) == "half_open"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("tenant", ("", "payments", "open", "")),
        ("tenant", ("t" * 129, "payments", "open", "")),
        ("tenant", ("ac me", "payments", "open", "")),
        ("tenant", (None, "payments", "open", "")),
        ("breaker", ("acme", "", "open", "")),
        ("breaker", ("acme", "b" * 201, "open", "")),
        ("breaker", ("acme", "a@b", "open", "")),
        ("breaker", ("acme", "\ud800", "open", "")),
        ("state", ("acme", "payments", "ajar", "")),
        ("state", ("acme", "payments", 3, "")),
        ("instance", ("acme", "payments", "open", "x" * 201)),
    ],
)
def test_an_error_names_the_wrong_field(name: str, fields: tuple[object, object, object, object]) -> None:
    """It is counted and logged, and never reaches the caller of `Emitter.report`."""
    with pytest.raises(ValueError, match=f"^{name} "):
        read(*fields, None, 0.0)


def test_a_cause_is_cut_and_cleaned() -> None:
    """It often is the text of an exception, and no reason to drop a report."""
    assert text("a\x00\n\udcffb" + "c" * 300) == "a b" + "c" * 251
    assert text("") is None
    assert text(ValueError("x")) == "x"


_ANY = st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9._:@-]{1,130}", fullmatch=True)


@given(tenant=_ANY, breaker=_ANY, instance=_ANY, cause=st.none() | _ANY, stamp=st.none() | st.integers(0, 2**41))
@example(tenant="a\n", breaker="b\n", instance="\x85", cause="\ud800", stamp=0)
@example(tenant="acme", breaker="\U0001f4a5" * 200, instance='"\\' * 100, cause="\u2028" * 256, stamp=None)
def test_what_is_accepted_here_is_accepted_by_the_server(
    tenant: str, breaker: str, instance: str, cause: str | None, stamp: int | None
) -> None:
    """Otherwise one wrong report would hold up a batch."""
    try:
        report = read(tenant, breaker, "open", instance, cause, 0.0)
    except ValueError:
        return
    body, count = encode([Event("id-1", stamp, report)], "urn:sleep-client:pod-1")
    (event,) = parse_all(body, [("content-type", CONTENT_TYPE.encode())])
    assert count == 1
    assert event.subject == tenant
    assert report == Report(Key(tenant, breaker, instance), "open", text(cause), 0.0)
