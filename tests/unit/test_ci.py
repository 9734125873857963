"""The report at the end of `.ci/run`: it names what failed, whatever was printed before."""

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.support.failures import TRACEBACK_LINES, failures_text

ROOT = Path(__file__).resolve().parents[2]


def report_of(script: str) -> str:
    """Return what `.ci/run` prints at its end when its steps are those of a script."""
    done = subprocess.run(
        ["/bin/bash", "-c", f"source .ci/run; {script}"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1, done.stderr
    return done.stdout


def failure(name: str, lines: int) -> str:
    """Return a command of the shell that notes a failed test, as a run of pytest does."""
    return (
        f"""{{ echo 'FAILED tests/a.py::{name}'; seq -f '    line %g of {name}' {lines}; }} >>"$SLEEP_TEST_FAILURES" """
    )


def test_failed_tests_are_named_before_their_tracebacks_and_the_table() -> None:
    """Those of all steps; a step that passed is in the table alone."""
    report = report_of(
        f"first() {{ {failure('test_one', 2)}; {failure('test_two', 2)}; return 1; }}; "
        f"second() {{ {failure('test_three', 2)}; return 2; }}; "
        "step first first || true; step good true; step second second || true; exit 1"
    )
    expected = [
        *("failed: first", "FAILED tests/a.py::test_one", "FAILED tests/a.py::test_two"),
        *("failed: second", "FAILED tests/a.py::test_three"),
        *("tracebacks: first", "line 2 of test_one", "line 2 of test_two"),
        *("tracebacks: second", "line 2 of test_three"),
        *("FAILED (status 1)", "passed", "FAILED (status 2)", "total: "),
    ]
    places = [report.index(text) for text in expected[:5]]
    after = report[places[-1] :]
    assert places == sorted(places)
    assert [after.index(text) for text in expected[5:]] == sorted(after.index(text) for text in expected[5:])


def test_a_report_of_many_failures_is_cut() -> None:
    """The output above has the rest."""
    output = report_of(f"many() {{ {failure('test_long', 500)}; return 1; }}; step many many || true; exit 1")
    report = output[output.index("==> failed") : output.index("lines more")]
    assert Counter(line.partition(" of ")[2] for line in report.splitlines())["test_long"] < 200
    assert "==> failed: many\nFAILED tests/a.py::test_long" in report


def test_a_failed_step_without_a_failed_test_shows_its_last_lines() -> None:
    """Such as a check of types, or an image that cannot be built."""
    output = report_of("check() { seq -f 'wrong type %g' 90; return 1; }; step check check || true; exit 1")
    report = output[output.index("==> failed: check") :]
    assert "wrong type 51\n" in report
    assert "wrong type 50\n" not in report
    assert "wrong type 90\n" in report


def test_tests_that_passed_on_their_second_try_are_listed() -> None:
    """With the step, although it passed: whoever reads a green run sees what is unstable."""
    lines = "RERUN tests/a.py::test_one[a b]\\n    line 1\\nRERUN tests/a.py::test_two\\nFAILED tests/a.py::test_two\\n"
    report = report_of(f"""good() {{ printf '{lines}' >>"$SLEEP_TEST_FAILURES"; }}; step good good || true; exit 1""")
    unstable = report[report.index("==> passed on the second try: good\n") :]
    assert unstable.startswith("==> passed on the second try: good\ntests/a.py::test_one[a b]\n\n")


def test_what_a_step_sets_is_for_the_steps_after_it() -> None:
    """A step that starts a Docker engine remembers its process."""
    report = report_of('start() { engine_of_test=41; }; step start start; echo "engine $engine_of_test"; exit 1')
    assert "engine 41\n" in report


@pytest.mark.parametrize("outcome", ["FAILED", "ERROR"])
def test_a_failed_test_is_noted_with_the_end_of_its_traceback(outcome: str) -> None:
    """Indented, so that the names can be told from it."""
    trace = "\n".join(f"line {number}" for number in range(100))
    report = pytest.TestReport("tests/a.py::test_b", ("tests/a.py", 1, "test_b"), {}, "failed", trace, "call")
    name, *lines = failures_text(*(([report], []) if outcome == "FAILED" else ([], [report]))).splitlines()
    assert name == f"{outcome} tests/a.py::test_b"
    assert lines == [f"    line {number}" for number in range(100 - TRACEBACK_LINES, 100)]
