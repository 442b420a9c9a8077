"""The report's plots, drawn by matplotlib as inline SVG: LPIPS against cost, and error against predicted deviation.

One colour and marker stand for a family of methods (``ncvsd`` and ``ncvsd:16`` are one); legends beside the plots name
them. Colours are variables of the style sheet, which has them for light and for dark screens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO

import matplotlib.style
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ..statistics import Benchmark, Entry

WIDTH, HEIGHT = 360, 290  # pixels, as wide as a phone: text is larger than this on a wider screen
TEXT = 12
MARKERS = "os^Dv"  # the style sheet has them as s0 to s4
LINES = ("solid", "dashed", "dotted")  # of matplotlib, and of CSS
COLOURS = tuple(f"m{number}" for number in range(12))  # variables of the style sheet, as are the next
GREY, FAINT, LINE = "mx", "faint", "line"
HIDDEN_ABOVE = 1.35  # a horizontal line higher than this times the highest method is named, not drawn


@dataclass(frozen=True)
class Look:
    """How a family of methods, or a line, is drawn, and its name in a legend."""

    name: str
    colour: str  # a variable of the style sheet
    marker: int | None = None  # an index in MARKERS
    line: str = LINES[0]


@dataclass(frozen=True)
class Plot:
    """An SVG element and its legend."""

    svg: Markup
    legend: list[Look]


def family_looks(benchmark: Benchmark) -> dict[str, Look]:
    """The look of each method's family, which is its name without the number of steps; grey without evaluations."""
    family = {method: method.split(":")[0] for method in benchmark.methods}
    entries = [entry for task in benchmark.tasks.values() for entry in task]
    free = {family[entry.method] for entry in entries if entry.evaluations == 0}
    looks = {name: Look(name, GREY, len(MARKERS) - 1) for name in free}
    for i, name in enumerate(dict.fromkeys(name for name in family.values() if name not in free)):
        looks[name] = Look(name, COLOURS[i % len(COLOURS)], i % len(MARKERS))
    return {method: looks[name] for method, name in family.items()}


def cost_plot(entries: Sequence[Entry], looks: Mapping[str, Look], cost: str, label: str, place: str) -> Plot | None:
    """LPIPS with its 95 % interval against ``evaluations`` or ``seconds`` (logarithmic); None where none is known.

    Methods that evaluate no network are horizontal lines. ``place`` makes the ids of its SVG its own.
    """
    known = [entry for entry in entries if entry.scores["lpips"] and entry.evaluations is not None]
    priced = [entry for entry in known if entry.evaluations > 0 and (getattr(entry, cost) or 0) > 0]
    if not priced:
        return None
    with style(f"{place}-{cost}"):
        figure, axes = new_figure("LPIPS, lower is better", label)
        legend = list(dict.fromkeys(looks[entry.method] for entry in priced))
        for look in legend:
            members = [entry for entry in priced if looks[entry.method] == look]
            members.sort(key=lambda entry: getattr(entry, cost))
            xs, means = [getattr(e, cost) for e in members], [e.scores["lpips"] for e in members]
            ends = [[min(m.half or 0, m.value) for m in means], [m.half or 0 for m in means]]
            axes.errorbar(xs, [m.value for m in means], ends, color=ink(look.colour), alpha=0.7)
            for x, mean, entry in zip(xs, means, members, strict=True):
                add_marker(axes, x, mean.value, look, cost_tip(entry))
        highest = HIDDEN_ABOVE * max(entry.scores["lpips"].value for entry in priced)
        for i, entry in enumerate(entry for entry in known if entry.evaluations == 0):
            value, line = entry.scores["lpips"].value, LINES[1 + i % 2]
            if value <= highest:
                axes.axhline(value, color=ink(GREY), linestyle=line)
            where = "" if value <= highest else ", above the plot"
            legend.append(Look(f"{entry.method} ({value:.3f}{where})", GREY, line=line))
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0))
        set_logarithmic(axes, [getattr(entry, cost) for entry in priced])
        return Plot(to_svg(figure, f"LPIPS, against {label}"), legend)


def calibration_plot(entries: Sequence[Entry], looks: Mapping[str, Look], place: str) -> Plot | None:
    """Rms error against predicted standard deviation per method, both on [-1, 1], with the diagonal."""
    entries = [entry for entry in entries if entry.calibration]
    if not entries:
        return None
    titles = ("rms error (both on [−1, 1])", "predicted standard deviation")
    with style(f"{place}-calibration"):
        figure, axes = new_figure(*titles)
        axes.axline((0, 0), slope=1, color=ink(GREY), linestyle=LINES[1])
        legend = [Look("calibrated", GREY, line=LINES[1])]
        for i, entry in enumerate(entries):
            earlier = [looks[other.method] for other in entries[:i]].count(looks[entry.method])
            look = replace(looks[entry.method], name=entry.method, line=LINES[earlier % len(LINES)])
            predicted, errors = zip(*entry.calibration, strict=True)
            axes.plot(predicted, errors, color=ink(look.colour), linestyle=look.line, alpha=0.7)
            for x, y in entry.calibration:
                add_marker(axes, x, y, look, f"{entry.method}: predicted {x:.3f}, error {y:.3f}", size=5)
            legend.append(look)
        top = 1.06 * max(value for entry in entries for point in entry.calibration for value in point) or 1.0
        axes.set(xlim=(0, top), ylim=(0, top))
        return Plot(to_svg(figure, ", against ".join(titles)), legend)


def style(salt: str):
    """Matplotlib's settings while a plot is drawn: its defaults, whatever the user's file says, and the report's."""
    text = {"svg.fonttype": "none", "font.sans-serif": "DejaVu Sans", "font.size": TEXT, "axes.titlesize": TEXT}
    frame = {f"axes.spines.{side}": False for side in ("left", "right", "top")}
    frame |= {"axes.titlelocation": "left", "axes.titlepad": 14, "xtick.major.pad": 6, "ytick.major.size": 0}
    colours = {"axes.edgecolor": ink(LINE), "xtick.color": ink(LINE), "grid.color": ink(FAINT)}
    colours |= {"xtick.labelcolor": "black", "figure.facecolor": "none", "axes.facecolor": "none"}
    lines = {"axes.grid": True, "axes.grid.axis": "y", "lines.linewidth": 1.3, "lines.markeredgewidth": 0}
    return matplotlib.style.context(["default", text | frame | colours | lines | {"svg.hashsalt": salt}])


def new_figure(title: str, label: str) -> tuple[Figure, Axes]:
    """Axes that fill a figure, the title of the vertical one above them."""
    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
    left, right, bottom, top = 38, 14, 40, 30  # pixels about the axes
    width, height = WIDTH - left - right, HEIGHT - bottom - top
    axes = figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT), xlabel=label)
    axes.set_title(title, x=-left / width)
    axes.locator_params(nbins=7, steps=(1, 2, 5, 10))
    return figure, axes


def set_logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic horizontal axis about the values, with round ticks that have room."""
    low, high = min(values), max(values)
    subdivisions = (1, 2, 5) if high < 100 * low else (1, 3) if high < 1e4 * low else (1,)
    axes.set(xscale="log", xlim=(low / 1.6, high * 1.6))
    axes.xaxis.set_major_locator(LogLocator(subs=subdivisions))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def add_marker(axes: Axes, x: float, y: float, look: Look, tip: str, size: float = 8) -> None:
    """A marker, with what a pointer over it tells."""
    axes.plot([x], [y], MARKERS[look.marker], color=ink(look.colour), markersize=size, gid=f"tip {tip}")


def cost_tip(entry: Entry) -> str:
    time = "" if entry.seconds is None else f", {entry.seconds:.3g} s"
    return f"{entry.method}: LPIPS {entry.scores['lpips'].text(3)}, {entry.evaluations:g} evaluations{time}"


def ink(variable: str) -> str:
    """A colour that stands for a variable of the style sheet until the plot is an SVG."""
    return f"#ab{(*COLOURS, GREY, FAINT, LINE).index(variable):04x}"


def to_svg(figure: Figure, label: str) -> Markup:
    """The SVG element that can stand in a page with others: no ids but those that it refers to, tips, true colours."""
    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    svg = re.sub(r'<g id="tip ([^"]*)">', r"<g><title>\1</title>", svg[svg.index("<svg") :])
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for variable in (*COLOURS, GREY, FAINT, LINE):
        svg = svg.replace(ink(variable), f"var(--{variable})")
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))
