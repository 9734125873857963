"""What a run over many tenants will do, and what it did."""

from collections.abc import Mapping
from typing import Any

import typer

from sleepctl.mass.run_file import RunFile
from sleepctl.ui.output import console, print_json


def print_plan(title: str, run: str, count: int, *, answered: int, states: Mapping[str, int], json: bool) -> None:
    """Print how many tenants are sent to: on stderr, or as JSON on stdout."""
    if json:
        print_json({"run": run, "command": title, "tenants": count, "answered": answered, "states": dict(states)})
        return
    now = ", ".join(f"{state} {states[state]:,}" for state in sorted(states))
    text = f"{title}: {count:,} tenants" + (f" (now {now})" if now else "")
    if answered:
        text += f"; {answered:,} have an answer already"
    typer.echo(f"run {run}: {text}", err=True)


def report_of(file: RunFile, seconds: float) -> dict[str, Any]:
    """Return what a run has come to, over all calls; `seconds` is the time of this one."""
    return {
        "run": file.head.run,
        "file": str(file.path),
        "tenants": len(file),
        "done": file.done,
        "refused": file.refused,
        "unanswered": len(file) - file.done - file.refused,
        "codes": dict(sorted(file.codes.items())),
        "refusals": [
            {"tenant": tenant, "code": result.code, "detail": result.detail} for tenant, result in file.refusals
        ],
        "seconds": round(seconds, 3),
    }


def print_report(file: RunFile, seconds: float, *, json: bool) -> None:
    """Print what a run has come to."""
    report = report_of(file, seconds)
    if json:
        print_json(report)
        return
    out = console()
    counts = ", ".join(f"{report[name]:,} {name}" for name in ("done", "refused", "unanswered"))
    out.print(f"run {report['run']}: of {report['tenants']:,} tenants {counts}; {seconds:.1f} s")
    for code, count in report["codes"].items():
        if code != "done":
            out.print(f"  {code}: {count:,}")
    for refusal in report["refusals"]:
        out.print(f"  {refusal['tenant']} was refused: {refusal['code']}: {refusal['detail']}")
