"""The tenants of a run: a file with wrong lines, and the list of the API."""

import asyncio
from pathlib import Path

import pytest

from sleepctl.mass.targets import SHOWN, Target, known, listed, targets_in
from sleepctl.ui.errors import CommandError
from tests.unit.sleepctl.mass.fakes import Tenants, once, problem


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of tenants."""
    return tmp_path / "tenants.txt"


def test_a_line_is_a_tenant(file: Path) -> None:
    """Empty lines and comments are passed over; the mark that some editors write at the beginning too."""
    file.write_bytes(b"\xef\xbb\xbfacme\n\n# those of the east\n  globex \r\ninitech")
    assert targets_in(file) == [(1, Target("acme")), (4, Target("globex")), (5, Target("initech"))]


def test_with_an_operation_a_tenant_may_come_twice(file: Path) -> None:
    """Once for each operation."""
    file.write_text("acme op-1\nacme op-2\nglobex\n")
    targets = [Target("acme", "op-1"), Target("acme", "op-2"), Target("globex")]
    assert [target for _, target in targets_in(file, with_operation=True)] == targets


def test_all_wrong_lines_are_named_in_one_error(file: Path) -> None:
    """With what is wrong, and that nothing was sent."""
    file.write_text("acme\nno/slash\nacme\nacme globex\n")
    with pytest.raises(CommandError) as error:
        targets_in(file)
    assert error.value.exit_code == 2
    lines = str(error.value).splitlines()
    assert lines[0] == f"{file}: 3 wrong lines, and nothing was sent. Mend these lines and give the file again."
    assert lines[1].startswith("  line 2: 'no/slash' is no tenant id: it must be ")
    assert lines[2:] == ["  line 3: tenant acme is on line 1 already", "  line 4: more than one tenant"]


def test_wrong_operations_are_named_too(file: Path) -> None:
    """A third word, and an id that no operation has."""
    file.write_text("acme op-1 op-2\nacme é\nacme op-1\nacme op-1\n")
    with pytest.raises(CommandError) as error:
        targets_in(file, with_operation=True)
    assert [line.partition(": ")[0] for line in str(error.value).splitlines()[1:]] == [
        "  line 1",
        "  line 2",
        "  line 4",
    ]


def test_of_many_wrong_lines_the_first_are_named(file: Path) -> None:
    """The others are counted."""
    file.write_text("/\n" * (SHOWN + 3))
    with pytest.raises(CommandError, match=r"13 wrong lines[\s\S]*line 10: [\s\S]*and 3 more$"):
        targets_in(file)


@pytest.mark.parametrize(
    ("content", "message"), [(b"# none\n", "has no tenant"), (b"acme\n\xff", "not UTF-8 text: byte 5 is wrong")]
)
def test_a_file_without_tenants_or_text_is_refused(file: Path, content: bytes, message: str) -> None:
    """By its name."""
    file.write_bytes(content)
    with pytest.raises(CommandError, match=message):
        targets_in(file)


def test_all_pages_are_listed_and_a_tenant_counts_once() -> None:
    """One that changes meanwhile comes twice."""
    tenants = Tenants("a", "b", "c")
    first = tenants.answer("GET", "/api/tenants", None, None, {})
    tenants.instead = [once(first._replace(document={**first.document, "cursor": "0"}))]
    selection = asyncio.run(listed(tenants, None, json=False))
    assert selection.targets == [Target("a"), Target("b"), Target("c")]
    assert selection.states == {"freeze": 3}


def test_those_of_a_state_are_listed() -> None:
    """The API filters."""
    tenants = Tenants("a", "b", "c")
    tenants.states["b"] = "light"
    assert asyncio.run(listed(tenants, "light", json=False)).targets == [Target("b")]


def test_a_problem_of_the_list_is_an_error() -> None:
    """Such as a scope that is missing."""
    tenants = Tenants("a")
    tenants.instead = [once(problem(403, "forbidden", "this needs the scope sleep:operate"))]
    with pytest.raises(CommandError, match="needs the scope sleep:operate"):
        asyncio.run(listed(tenants, None, json=False))


def test_unknown_tenants_of_a_file_are_named_with_their_lines(file: Path) -> None:
    """Before anything is sent, with both ways on."""
    targets = [(3, Target("a")), (4, Target("typo")), (9, Target("other"))]
    with pytest.raises(CommandError) as error:
        asyncio.run(known(Tenants("a", "b"), targets, file, unknown=False, json=False))
    text = str(error.value)
    assert "2 wrong lines, and nothing was sent. Mend these lines, or give --unknown" in text
    assert "line 4: tenant typo is unknown: it has no record\n  line 9: tenant other is unknown" in text


def test_unknown_tenants_are_allowed_if_asked_for(file: Path) -> None:
    """A tenant without a record is awake, and may get a policy."""
    targets = [(1, Target("a")), (2, Target("new"))]
    selection = asyncio.run(known(Tenants("a", "b"), targets, file, unknown=True, json=False))
    assert (selection.targets, selection.states) == ([Target("a"), Target("new")], {"freeze": 1})


def test_the_list_is_read_no_further_than_needed(file: Path) -> None:
    """Three tenants of a million."""
    tenants = Tenants(*map(str, range(10)))
    asyncio.run(known(tenants, [(1, Target("1"))], file, unknown=False, json=False))
    assert len(tenants.calls) == 1
