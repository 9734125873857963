"""The models of documents against the tables that they repeat."""

import pytest
from pydantic import ValidationError

from schemas.domain.policy import parse_policy
from schemas.domain.schedule import BUILT_IN_SCHEDULE, Ramp
from schemas.wire.documents import DeadLetterHeaders, PolicyAnswer, RampParameters
from tests.support.times import NOW


def test_a_policy_answer_holds_a_filled_policy() -> None:
    """The tenant's own, or that of the rules with `default`."""
    answer = {"policy": parse_policy({"floor": "light"}).document, "policy_version": 3, "default": False, "notes": []}
    assert PolicyAnswer.model_validate(answer).model_dump(mode="json")["policy_version"] == 3


def test_inside_of_a_ramp_k_may_have_a_fraction() -> None:
    """Halfway from 100 to 1 it is about 50.5."""
    half = Ramp(BUILT_IN_SCHEDULE[0], BUILT_IN_SCHEDULE[3], NOW, NOW + 2).at(NOW + 1)
    read = RampParameters.model_validate(half.as_json()).as_set()
    assert read == half


def test_a_dead_letter_says_where_it_came_from() -> None:
    """The seven headers of specification.md#topics, all text; and one where headers are missing."""
    names = ("code", "message", "topic", "partition", "offset", "at", "size")
    headers = {f"sleep.error.{name}": "1" for name in names}
    assert DeadLetterHeaders.model_validate(headers).model_dump(by_alias=True, exclude_none=True) == headers
    assert DeadLetterHeaders.model_validate(headers | {"sleep.error.cut": "headers"}).cut == "headers"
    with pytest.raises(ValidationError):
        DeadLetterHeaders.model_validate(headers | {"sleep.error.colour": "blue"})
