"""Pictures of the built-in schedule and of a ramp, computed by the code that computes the parameters."""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import astuple

from schemas.domain.policy import RampSeconds
from schemas.domain.schedule import BUILT_IN_SCHEDULE, PARAMETERS, Ramp
from schemas.domain.state import LABELS

_WIDTH: Final = 480
_PANEL_WIDTH: Final = 240
_PANEL_HEIGHT: Final = 132
_BAR: Final = 34
_GAP: Final = 16
_LEFT: Final = 24
_TALLEST: Final = 60
_SECOND: Final = 1000
# A page gives the text its own colour; a picture alone follows the reader's system.
_STYLE: Final = (
    ".plot{--plot-ink:#1f2328;--plot-line:#3f51b5}"
    "@media (prefers-color-scheme:dark){.plot{--plot-ink:#e6edf3;--plot-line:#9fa8da}}"
    ".plot text{font:13px sans-serif;fill:var(--md-default-fg-color,var(--plot-ink))}"
    ".plot .name{font-weight:bold}"
    ".plot .bar{fill:var(--md-typeset-a-color,var(--plot-line))}"
    ".plot .curve{fill:none;stroke:var(--md-typeset-a-color,var(--plot-line));stroke-width:2.5}"
    ".plot .axis{fill:none;stroke:var(--md-default-fg-color--light,var(--plot-ink));stroke-width:1}"
)


def schedule_plot() -> str:
    """Return a picture of each parameter in each state: a panel a parameter, a bar a state."""
    rows = zip(*map(astuple, BUILT_IN_SCHEDULE), strict=True)
    panels = [
        _panel(name, values, place % 2 * _PANEL_WIDTH, place // 2 * _PANEL_HEIGHT)
        for place, (name, values) in enumerate(zip(PARAMETERS, rows, strict=True))
    ]
    words = "; ".join(
        f"{name} {', '.join(f'{value:g}' for value in values)}"
        for name, values in zip(PARAMETERS, zip(*map(astuple, BUILT_IN_SCHEDULE), strict=True), strict=True)
    )
    return _picture(3 * _PANEL_HEIGHT, f"The six parameters in {', '.join(LABELS)}: {words}.", panels)


def _panel(name: str, values: Sequence[float], left: int, top: int) -> str:
    """Return the bars of one parameter, each as tall as its share of the largest value."""
    base = top + 104
    parts = [_text(left + _LEFT, top + 18, name, "name")]
    for place, (label, value) in enumerate(zip(LABELS, values, strict=True)):
        x = left + _LEFT + place * (_BAR + _GAP)
        height = max(1.0, _TALLEST * value / max(values))
        parts.append(f'<rect class="bar" x="{x}" y="{base - height:.1f}" width="{_BAR}" height="{height:.1f}"/>')
        parts.append(_text(x + _BAR / 2, base - height - 5, f"{value:g}", anchor="middle"))
        parts.append(_text(x + _BAR / 2, base + 16, label, anchor="middle"))
    return "".join(parts)


def ramp_plot() -> str:
    """Return a picture of `K` while a tenant freezes at 10 s, and wakes at 30 s with the default ramps."""
    active, *_, freeze = BUILT_IN_SCHEDULE
    sleeps, wakes, ends = 10, 30, 75
    ramp_seconds = RampSeconds()
    deepening = Ramp(active, freeze, sleeps * _SECOND, int((sleeps + ramp_seconds.deepen) * _SECOND))
    waking = Ramp(freeze, active, wakes * _SECOND, int((wakes + ramp_seconds.wake) * _SECOND))
    left, top, width, height = 48, 24, 408, 160

    def x(second: float) -> float:
        return left + width * second / ends

    def y(k: float) -> float:
        return top + height * (1 - k / active.K)

    moments = sorted({0, sleeps - 0.001, sleeps, sleeps + ramp_seconds.deepen, wakes, wakes + ramp_seconds.wake, ends})
    points = " ".join(
        f"{x(moment):.1f},{y((deepening if moment < wakes else waking).at(int(moment * _SECOND)).K):.1f}"
        for moment in moments
    )
    parts = [
        f'<path class="axis" d="M{left} {top}V{top + height}H{left + width}"/>',
        f'<polyline class="curve" points="{points}"/>',
        _text(left - 8, top + 5, f"{active.K:g}", anchor="end"),
        _text(left - 8, top + height + 5, "0", anchor="end"),
        _text(left + 4, top - 8, "K", "name"),
        *(_text(x(second), top + height + 18, f"{second} s", anchor="middle") for second in (0, sleeps, wakes, 60)),
        _text(x(sleeps) + 6, top + 34, "freezes at once"),
        _text(x(wakes + 2), top + height - 12, "wakes"),
        _text(x(64), top + 20, "awake"),
    ]
    words = (
        f"K falls from {active.K:g} to {freeze.K:g} at {sleeps} s, and rises in a straight line from {wakes} s to 60 s."
    )
    return _picture(top + height + 28, words, parts)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def _picture(height: int, words: str, parts: Iterable[str]) -> str:
    return (
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" role="img" aria-label="{words}"><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
    )
