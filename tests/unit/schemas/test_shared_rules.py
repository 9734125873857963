"""Each version of a partition's rules holds all that came before it, and costs no more than what is new in it."""

from schemas.domain.policy import BUILT_IN_RULES, parse_rules
from schemas.redis.progress import pack_rules, unpack_rules


def test_lists_of_rules_share_what_they_have_in_common() -> None:
    """A process that has seen 180 versions of the rules held 28 MiB of them: most of what an API grew by in an hour."""
    documents = [{"policy": {"ceiling": "deep"}, "retire_after_seconds": 60 + number} for number in range(10)]
    rules = [BUILT_IN_RULES, *(parse_rules(number, found) for number, found in enumerate(documents, start=1))]
    all_rules = unpack_rules(pack_rules(rules))
    assert [found.document for found in all_rules] == [found.document for found in rules]
    for count in range(len(rules) + 1):
        part = unpack_rules(pack_rules(rules[:count]))
        assert all(found is same for found, same in zip(part, all_rules, strict=False))


def test_the_same_document_under_another_number_is_another_version() -> None:
    """A record names the rules that it was folded under by their number."""
    again = [BUILT_IN_RULES, *(parse_rules(number, {"retire_after_seconds": 60}) for number in (1, 2))]
    assert [found.number for found in unpack_rules(pack_rules(again))] == [0, 1, 2]
