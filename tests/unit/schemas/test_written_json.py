"""What the worker writes is the same byte for byte, whichever library writes it: old logs give the same outputs."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from tests.support.claims import QUICK

PARAMETERS = st.floats(0, 1e6)
INTEGERS = st.integers() | st.integers(-(10**300), 10**300)
SCALARS = st.none() | st.booleans() | INTEGERS | PARAMETERS | st.text()
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@QUICK
@given(DOCUMENTS)
def test_both_writers_give_the_same_bytes(document: object) -> None:
    """Of all that an output may hold: any text and integer, and numbers in the range of a parameter."""
    assert msgspec.json.encode(document) == to_json(document)


@QUICK
@given(PARAMETERS)
def test_a_parameter_is_read_back_as_it_was(parameter: float) -> None:
    """To the last digit, so that a record packed again is the same."""
    assert msgspec.json.decode(msgspec.json.encode(parameter)) == parameter
