"""gobreaker: the shared state in the store of a distributed breaker."""

from typing import Final

import pytest

from tests.support.emitted import emitted, event_of, states_of, wrong_field

FORMAT: Final = "gobreaker"
KEY: Final = b"gobreaker:state:payments"


def test_one_is_half_open_and_two_is_open() -> None:
    """The breaker trips at its second failure, is tried, and closes."""
    assert states_of(FORMAT) == ["closed", "closed", "open", "half_open", "closed"]


def test_the_name_is_in_the_key_of_the_store() -> None:
    """Without the store's prefix; the state is shared by all processes, so there is no instance and no time."""
    event = event_of(FORMAT, emitted(FORMAT)[0].value, KEY)
    assert (event.data.breaker, event.data.instance, event.data.occurred_at) == ("payments", "", None)
    assert event_of(FORMAT, emitted(FORMAT)[0].value, b"orders").data.breaker == "orders"


@pytest.mark.parametrize("state", [3, -1, 1.0, 2.5, True, "open", "2", None])
def test_another_state_is_refused(state: object) -> None:
    """`true` is no 1."""
    document = emitted(FORMAT)[0].document
    assert wrong_field(FORMAT, document | {"state": state}, KEY) == "state"


@pytest.mark.parametrize("name", ["state", "generation", "counts", "expiry"])
def test_a_document_that_lacks_a_field_is_refused(name: str) -> None:
    """A number called `state` alone is not a shared state."""
    document = {key: value for key, value in emitted(FORMAT)[0].document.items() if key != name}
    assert wrong_field(FORMAT, document, KEY) == name


def test_a_record_without_a_key_is_refused() -> None:
    """The document does not say which breaker it is of."""
    for key in (None, b"", b"gobreaker:state:"):
        assert wrong_field(FORMAT, emitted(FORMAT)[0].value, key) == "key"
