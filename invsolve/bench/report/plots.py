"""The report's plots as inline SVG: LPIPS against cost, and rms error against predicted deviation.

Every plot is drawn twice, wide and narrow, at its size in pixels, and the style sheet shows the one that fits: so text
keeps its size. Colours are classes of the style sheet, one per family of methods (``ncvsd`` and ``ncvsd:16`` are one).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ..statistics import Benchmark, Entry
from .axes import Axis, Box, Point, along, around, nearest, padded, place_label, tick_text

COLOURS = 12  # of the style sheet, c0 to c11
SIZES = {"wide": (460, 320), "narrow": (320, 300)}
FONT = 12
RADIUS = 4.5
HIDDEN_ABOVE = 1.35  # a reference higher than this times the highest method is named, not drawn

SHAPES: tuple[Callable[[float, float, float], str], ...] = (
    lambda x, y, r: f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z",  # circle
    lambda x, y, r: f"M{x - r * 0.9:.1f} {y - r * 0.9:.1f}h{r * 1.8:.1f}v{r * 1.8:.1f}h{-r * 1.8:.1f}Z",  # square
    lambda x, y, r: f"M{x:.1f} {y - r * 1.15:.1f}l{r * 1.15:.1f} {r * 2:.1f}h{-r * 2.3:.1f}Z",  # triangle
    lambda x, y, r: (
        f"M{x:.1f} {y - r * 1.3:.1f}l{r * 1.3:.1f} {r * 1.3:.1f}l{-r * 1.3:.1f} {r * 1.3:.1f}"
        f"l{-r * 1.3:.1f} {-r * 1.3:.1f}Z"
    ),  # diamond
    lambda x, y, r: f"M{x:.1f} {y + r * 1.15:.1f}l{r * 1.15:.1f} {-r * 2:.1f}h{-r * 2.3:.1f}Z",  # triangle, upside down
)


@dataclass(frozen=True)
class Curve:
    """Points of one family of methods in the order of the curve, with what a pointer over each tells."""

    family: str
    points: tuple[Point, ...]
    halves: tuple[float, ...]
    tips: tuple[str, ...]


def family(method: str) -> str:
    """The method without its number of steps."""
    return method.split(":")[0]


def number_families(benchmark: Benchmark) -> dict[str, int]:
    """Each family's number, which gives its colour and shape; those without network evaluations have -1, grey."""
    entries = [entry for task in benchmark.tasks.values() for entry in task]
    free = {family(entry.method) for entry in entries if entry.evaluations == 0}
    names = list(dict.fromkeys(family(method) for method in benchmark.methods))
    coloured = [name for name in names if name not in free]
    return {name: coloured.index(name) if name in coloured else -1 for name in names}


def colour(number: int) -> str:
    return "cx" if number < 0 else f"c{number % COLOURS}"


def marker(number: int, x: float, y: float, radius: float = RADIUS) -> str:
    """A family's marker as an SVG path."""
    return f'<path class="marker {colour(number)}" d="{SHAPES[number % len(SHAPES)](x, y, radius)}"/>'


def cost_plots(entries: Sequence[Entry], numbers: Mapping[str, int], cost: str, label: str) -> str:
    """LPIPS with its 95 % interval against ``evaluations`` or ``seconds`` (logarithmic); empty where none is known.

    Methods that evaluate no network are horizontal lines.
    """
    known = [entry for entry in entries if entry.scores["lpips"] and entry.evaluations is not None]
    references = {entry.method: entry.scores["lpips"].value for entry in known if entry.evaluations == 0}
    drawn = [entry for entry in known if entry.evaluations and getattr(entry, cost)]
    if not drawn:
        return ""
    curves = []
    for name in dict.fromkeys(family(entry.method) for entry in drawn):
        members = sorted((e for e in drawn if family(e.method) == name), key=lambda e: getattr(e, cost))
        points = tuple((getattr(e, cost), e.scores["lpips"].value) for e in members)
        halves = tuple(e.scores["lpips"].half or 0.0 for e in members)
        curves.append(Curve(name, points, halves, tuple(tip(e) for e in members)))
    highest = max(y for curve in curves for _, y in curve.points)
    near = {name: value for name, value in references.items() if value <= HIDDEN_ABOVE * highest}
    notes = [f"{name} {value:.3f} lies above" for name, value in references.items() if name not in near]
    xs = padded([x for curve in curves for x, _ in curve.points], 0.06, log=True)
    ends = [end for c in curves for (_, y), h in zip(c.points, c.halves, strict=True) for end in (max(y - h, 0), y + h)]
    low, high = padded([*ends, *near.values()], 0.08)
    ys = (max(low, 0.0), high)
    title = "LPIPS, lower is better" + "".join(f" ({note})" for note in notes)
    return both(lambda width, height: draw(curves, numbers, (xs, ys), (label, title), (width, height), near))


def calibration_plots(entries: Sequence[Entry], numbers: Mapping[str, int]) -> str:
    """Rms error against predicted standard deviation per method, both on [-1, 1], with the diagonal."""
    curves = [
        Curve(
            entry.method,
            entry.calibration,
            (0.0,) * len(entry.calibration),
            tuple(f"{entry.method}: predicted {p:.3f}, error {e:.3f}" for p, e in entry.calibration),
        )
        for entry in entries
        if entry.calibration
    ]
    if not curves:
        return ""
    top = 1.06 * max(value for curve in curves for point in curve.points for value in point) or 1.0
    titles = ("predicted standard deviation", "rms error (both on [−1, 1])")

    def square(width: float, height: float) -> str:
        side = min(width, 400)
        return draw(curves, numbers, ((0.0, top), (0.0, top)), titles, (side, side), {}, diagonal=True)

    return both(square)


def tip(entry: Entry) -> str:
    score = entry.scores["lpips"]
    half = "" if score.half is None else f" ± {score.half:.3f}"
    cost = "" if entry.seconds is None else f", {entry.seconds:.3g} s"
    return f"{entry.method}: LPIPS {score.value:.3f}{half}, {entry.evaluations:g} evaluations{cost}"


def both(plot: Callable[[float, float], str]) -> str:
    return "".join(f'<div class="{name}">{plot(*size)}</div>' for name, size in SIZES.items())


def draw(
    curves: Sequence[Curve],
    numbers: Mapping[str, int],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    titles: tuple[str, str],
    size: tuple[float, float],
    references: Mapping[str, float],
    diagonal: bool = False,
) -> str:
    """One SVG: axes, horizontal reference lines, curves with intervals and markers, one label per curve."""
    width, height = size
    frame: Box = (46, 26, width - 10, height - 42)
    x = Axis(*ranges[0], frame[0], frame[2], log=not diagonal)
    y = Axis(*ranges[1], frame[3], frame[1])
    parts = [axes(x, y, titles, size, frame)]
    spots = [[(x(a), y(b)) for a, b in curve.points] for curve in curves]
    taken = [around(spot, RADIUS + 1.5) for line in spots for spot in line]
    radius = RADIUS * (0.7 if diagonal else 1)  # of calibration there are many points
    labels, drawn = [], []
    if diagonal:
        parts.append(f'<path class="reference" d="M{x(0):.1f} {y(0):.1f}L{frame[2]:.1f} {frame[1]:.1f}"/>')
        middle = ((frame[0] + frame[2]) / 2, (frame[1] + frame[3]) / 2)
        labels.append(("calibrated", middle, -1))
    for name, value in references.items():
        parts.append(f'<path class="reference" d="M{frame[0]:.1f} {y(value):.1f}H{frame[2]:.1f}"/>')
        labels.append((name, (frame[2] - 30, y(value)), -1))
    for curve, line in zip(curves, spots, strict=True):
        number = numbers[family(curve.family)]
        parts.append(series(curve, line, intervals(curve, line, y), number, radius))
        labels.append((curve.family, line[-1], number))
        drawn += [line, *intervals(curve, line, y)]
    parts += place_labels(labels, taken, [around(point, 3) for line in drawn for point in along(line)], frame)
    name = escape(f"{titles[1]}, against {titles[0]}")
    return f'<svg role="img" aria-label="{name}" width="{width:g}" height="{height:g}">{"".join(parts)}</svg>'


def axes(x: Axis, y: Axis, titles: tuple[str, str], size: tuple[float, float], frame: Box) -> str:
    parts = []
    rows, columns = y.ticks(30), x.ticks(38)
    for value in rows:
        parts.append(f'<path class="grid" d="M{frame[0]} {y(value):.1f}H{frame[2]}"/>')
        place = f'x="{frame[0] - 7}" y="{y(value) + 4:.1f}" text-anchor="end"'
        parts.append(f'<text class="tick" {place}>{tick_text(rows, value)}</text>')
    for value in columns:
        parts.append(f'<path class="grid" d="M{x(value):.1f} {frame[3]}v5"/>')
        place = f'x="{x(value):.1f}" y="{frame[3] + 18}" text-anchor="middle"'
        parts.append(f'<text class="tick" {place}>{tick_text(columns, value)}</text>')
    parts.append(f'<path class="axis" d="M{frame[0]} {frame[3]}H{frame[2]}"/>')
    middle = (frame[0] + frame[2]) / 2
    parts.append(
        f'<text class="title" x="{middle:.1f}" y="{size[1] - 6}" text-anchor="middle">{escape(titles[0])}</text>'
    )
    return "".join([*parts, f'<text class="title" x="0" y="13">{escape(titles[1])}</text>'])


def intervals(curve: Curve, line: Sequence[Point], y: Axis) -> list[tuple[Point, Point]]:
    """The ends of a curve's intervals, in pixels; nothing shown can be less than 0."""
    together = zip(curve.points, curve.halves, line, strict=True)
    return [((a, y(max(value - half, 0))), (a, y(value + half))) for (_, value), half, (a, _) in together if half]


def series(curve: Curve, line: Sequence[Point], bars: Sequence[tuple[Point, Point]], number: int, radius: float) -> str:
    """A family's curve, its intervals, and its markers."""
    path = "L".join(f"{a:.1f} {b:.1f}" for a, b in line)
    parts = [f'<path class="curve {colour(number)}" d="M{path}"/>'] if len(line) > 1 else []
    for (a, low), (_, high) in bars:
        parts.append(f'<path class="interval {colour(number)}" d="M{a:.1f} {low:.1f}V{high:.1f}"/>')
    for (a, b), text in zip(line, curve.tips, strict=True):
        parts.append(f"<g><title>{escape(text)}</title>{marker(number, a, b, radius)}</g>")
    return "".join(parts)


def place_labels(
    labels: Sequence[tuple[str, Point, int]], taken: list[Box], lines: Sequence[Box], frame: Box
) -> list[str]:
    """Labels at their points, clear of markers, of curves where that is possible, and of each other."""
    parts, lines = [], list(lines)
    for text, point, number in labels:
        box = place_label(text, FONT, point, taken, lines, frame)
        if box is None:
            continue  # the plot is full: the marker's tip and the table still name it
        taken.append(box)
        left, middle = box[0], (box[1] + box[3]) / 2
        end = nearest(box, point)
        if max(abs(end[0] - point[0]), abs(end[1] - point[1])) > 2.5 * RADIUS and number >= 0:
            lines += [around(spot, 3) for spot in along([point, end])]
            parts.append(f'<path class="leader" d="M{point[0]:.1f} {point[1]:.1f}L{end[0]:.1f} {end[1]:.1f}"/>')
        parts.append(
            f'<text class="label {colour(number)}" x="{(left + box[2]) / 2:.1f}" y="{middle + 4:.1f}" '
            f'text-anchor="middle">{escape(text)}</text>'
        )
    return parts
