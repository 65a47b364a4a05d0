"""The quiet tenant's waits as one picture: what share of its answers came within what time."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from server.noisy_neighbour.phases import ALONE, LIMITED, OFF, QUEUE, Outcome
from server.noisy_neighbour.report import number, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {  # Okabe and Ito's: told apart by everybody
    ALONE.name: "#555555",
    OFF.name: "#D55E00",
    QUEUE.name: "#0072B2",
    LIMITED.name: "#009E73",
}
INCHES, DOTS = (10, 5.6), 150
MARGIN = 0.6  # of the range, on both sides of the curves: the labels are there
LEAST_SPREAD = 2.0  # slowest to fastest: where all are alike, the axis does not magnify noise
SHOWN = {"p50": 50, "p95": 95, "p99": 99}
LEFT_HEIGHTS, RIGHT_HEIGHTS = (0.86, 0.62, 0.38, 0.14), (0.14, 0.38, 0.62, 0.86)


def draw(outcomes: Sequence[Outcome], path: Path, *, caption: str) -> None:
    """Write a PNG with `caption` at its foot; raises `ImportError` without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=INCHES, dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn = [each for each in outcomes if each.quiet.answered]
    for each in drawn:
        axes.ecdf(_milliseconds(each), color=COLOURS[each.phase.name], linewidth=2.2)
    _frame(axes, drawn)
    _label(axes, drawn)
    axes.set_title(title(outcomes), loc="left", fontsize=13, fontweight="bold", pad=14)
    figure.supxlabel(caption, x=0.99, ha="right", fontsize=9, color="#777777")
    figure.savefig(path, format="png")


def _milliseconds(outcome: Outcome) -> list[float]:
    return [seconds * 1000 for seconds in outcome.quiet.seconds]


def _frame(axes: "Axes", drawn: Sequence[Outcome]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator  # noqa: PLC0415

    values = [value for each in drawn for value in _milliseconds(each)]
    axes.set_xscale("log")
    if values:
        margin = max(max(values) / min(values), LEAST_SPREAD) ** MARGIN
        axes.set_xlim(min(values) / margin, max(values) * margin)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(lambda value, _: number(value))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("milliseconds until the quiet tenant has its answer (logarithmic)")
    axes.set_ylabel("share of its answers")
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label(axes: "Axes", drawn: Sequence[Outcome]) -> None:
    """Each curve's name and figures beside it: on the side that it is nearer to."""
    ordered = sorted(drawn, key=_middle)
    if not ordered:
        return
    centre = (_middle(ordered[0]) * _middle(ordered[-1])) ** 0.5  # of a logarithmic axis
    left = [each for each in ordered if _middle(each) <= centre]
    right = [each for each in reversed(ordered) if _middle(each) > centre]
    for each, height in zip(left, LEFT_HEIGHTS, strict=False):
        _annotate(axes, each, height, at=0.012, side="left")
    for each, height in zip(right, RIGHT_HEIGHTS, strict=False):
        _annotate(axes, each, height, at=0.988, side="right")


def _annotate(axes: "Axes", outcome: Outcome, height: float, *, at: float, side: str) -> None:
    colour, tally = COLOURS[outcome.phase.name], outcome.quiet
    figures = ", ".join(f"{name} {number(tally.milliseconds(p))}" for name, p in SHOWN.items())
    axes.annotate(
        f"{outcome.phase.label}\n{figures} ms",
        xy=(tally.milliseconds(height * 100), height),
        xytext=(at, height),
        textcoords=axes.get_yaxis_transform(),
        ha=side,
        va="center",
        color=colour,
        fontsize=10,
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkB": 2},
    )


def _middle(outcome: Outcome) -> float:
    return median(outcome.quiet.seconds)
