"""The output of `sleepctl replay` for people: what was replayed, a table of both sides, and the tenants that differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console

from sleepctl.ui.output import clock, console, kind_and_key
from worker.recovery.what_if.report import Report

_SHOWN: Final = 20
_DEPTHS: Final = ("light", "deep", "freeze")
_SIDES: Final = ("recorded", "replayed")


def print_report(report: Report) -> None:
    """Print the result of a replay."""
    out, document = console(), report.as_json()
    for line in _ranges(document):
        out.print(line)
    _print_table(out, _totals(document, both=report.alternative))
    if report.alternative:
        _print_different(out, document)
    for line in _findings(document):
        out.print(line)


def _ranges(document: Mapping[str, Any]) -> Iterator[str]:
    partitions = document["partitions"]
    if not partitions:
        return
    begin, end = (pick(each[name] for each in partitions) for pick, name in ((min, "from_at"), (max, "to_at")))
    where = f"{len(partitions)} partitions"
    if len(partitions) == 1:
        where = f"partition {partitions[0]['partition']}, {partitions[0]['from']} to {partitions[0]['to']}"
    yield f"{document['events']} events of {document['tenants']['replayed']} tenants on {where}"
    yield f"from {clock(begin)} to {clock(end)}"


def _totals(document: Mapping[str, Any], *, both: bool) -> list[list[str]]:
    """Return the rows of the sums over all tenants, one column a side; one column without an alternative."""
    sides = _SIDES if both else _SIDES[1:]
    rows = [["", *sides]]
    rows += ([name, *(str(document[name][side]) for side in sides)] for name in ("transitions", "refusals"))
    asleep = document["seconds_asleep"]
    rows += ([f"seconds {depth}", *(_seconds(asleep[side][depth]) for side in sides)] for depth in _DEPTHS)
    return rows


def _print_different(out: Console, document: Mapping[str, Any]) -> None:
    """Print the tenants whose sides differ, and the first of their changes that only one side has."""
    different, changes = document["different"], document["changes"]
    if not different:
        out.print("no tenant would have been different")
        return
    out.print(f"{len(different)} tenants would have been different, recorded → replayed:")
    head = ["tenant", "transitions", *(f"seconds {depth}" for depth in _DEPTHS), "refusals", "state at the end"]
    _print_table(out, [head, *([entry["tenant"], *_cells(entry)] for entry in different[:_SHOWN])])
    _print_more(out, len(different))
    if changes:
        out.print("changes of one side only:")
    for change in changes[:_SHOWN]:
        cause = kind_and_key(change["cause"]["kind"], change["cause"]["key"])
        dry = "" if change["enforced"] else ", dry run"
        where = "" if change["position"] is None else f", at {change['position']}"
        out.print(
            f"  {change['side']}  {clock(change['at'])}  {change['tenant']}  {change['from']} to {change['to']}: "
            f"{cause}{dry}{where}"
        )
    _print_more(out, len(changes))


def _print_table(out: Console, rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as their longest cell; a pipe gets whole names."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True))
        out.print("  ".join([f"{first:<{widths[0]}}", *cells]))


def _cells(entry: Mapping[str, Any]) -> Iterator[str]:
    yield _arrow(*(entry["transitions"][side] for side in _SIDES))
    for depth in _DEPTHS:
        yield _arrow(*(_seconds(entry["seconds_asleep"][side][depth]) for side in _SIDES))
    yield _arrow(*(entry["refusals"][side] for side in _SIDES))
    yield _arrow(*(entry["state"][side] for side in _SIDES))


def _arrow(recorded: object, replayed: object) -> str:
    return f"{recorded}" if recorded == replayed else f"{recorded} → {replayed}"


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _print_more(out: Console, count: int) -> None:
    if count > _SHOWN:
        out.print(f"… and {count - _SHOWN} more; `--json` lists them")


def _findings(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what limits the result: inexact tenants, failures of our own code, and differences from the audit."""
    inexact, audit = document["inexact"], document["audit"]
    if inexact:
        yield f"inexact: {len(inexact)} tenants, since `sleep.states` no longer has their record from before the range:"
    for entry in inexact[:_SHOWN]:
        begins = "without a record" if entry["begins"] is None else f"at {entry['begins']}"
        yield f"  {entry['tenant']} begins {begins}"
    if len(inexact) > _SHOWN:
        yield f"… and {len(inexact) - _SHOWN} more; `--json` lists them"
    for each in document["partitions"]:
        if not each["warms_up"]:
            yield (
                f"the log of partition {each['partition']} begins at {each['folded_from']}, less than two hours before "
                "the range: renewals and ended commands from before that may be unknown"
            )
    if document["failed"]:
        yield f"our own code failed on {document['failed']} events, which changed nothing"
    if not audit["different"]:
        yield f"the audit agrees: it has the same {audit['matched']} rows"
        return
    yield (
        f"the audit differs in {audit['different']} rows of {len(audit['tenants'])} tenants, and agrees in "
        f"{audit['matched']}:"
    )
    for example in audit["examples"][:_SHOWN]:
        which = {"audit": "audit", "replay": "replay"}
        sides = " and ".join(name for side, name in which.items() if example[side] is not None)
        yield f"  {example['id']}  {example['tenant']}  in the {sides}"
