"""Axes of the report's plots, and where their labels go so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

WIDE, USUAL, SLIM = 1.1, 0.72, 0.42  # widths of characters over the font's size, of a wide bold font: rather too large
DISTANCES = (8, 13, 20, 30, 42, 56, 72)  # of a label from its point, in pixels
DIRECTIONS = 16


@dataclass(frozen=True)
class Axis:
    """A map from values ``low..high`` to coordinates ``start..end`` in pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, apart: float) -> list[float]:
        """Round values within the range whose coordinates are at least ``apart`` pixels from each other."""
        steps = log_steps(self) if self.log else linear_steps(self.low, self.high)
        chosen: list[float] = []
        for chosen in steps:
            places = [self(value) for value in chosen]
            if all(abs(b - a) >= apart for a, b in pairwise(places)):
                break
        return chosen


def tick_text(values: Sequence[float], value: float) -> str:
    """One of several round values, all with the same number of decimals unless they span decades."""
    if max(values) >= 100 * min(values) > 0:
        return f"{value:g}"
    decimals = max((len(f"{v:g}".partition(".")[2]) for v in values), default=0)
    return f"{value:.{decimals}f}"


def linear_steps(low: float, high: float) -> Iterator[list[float]]:
    """Multiples of 1, 2 and 5 times powers of ten in a range, first the dense lists, down to one of at most two."""
    exponent = math.floor(math.log10(high - low)) - 2
    while True:
        for mantissa in (1, 2, 5):
            step = mantissa * 10.0**exponent
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            values = [round(k * step, 12) for k in range(first, last + 1)]
            yield values
            if len(values) <= 2:
                return
        exponent += 1


def log_steps(axis: Axis) -> Iterator[list[float]]:
    """As ``linear_steps`` for a logarithmic axis: 1, 2, 5 of each decade, then the decades, then every second one."""
    decades = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    for mantissas, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
        values = [float(f"{m}e{k}") for k in decades if k % every == 0 for m in mantissas]
        yield [value for value in values if axis.low <= value <= axis.high]


def padded(values: Sequence[float], share: float, log: bool = False) -> tuple[float, float]:
    """The values' range, widened on both sides by a share of itself, or of something sensible where it is empty."""
    low, high = min(values), max(values)
    if log:
        extra = max((high / low) ** share, 1.6)  # so that a tick falls inside
        return low / extra, high * extra
    extra = share * (high - low) or 0.1 * abs(high) or 1.0
    return low - extra, high + extra


def text_box(text: str, size: float, left: float, middle: float) -> Box:
    """A box that holds a text of a font size which starts at ``left``, its line's middle at ``middle``."""
    width = size * sum(WIDE if c in "mwMW@%" else SLIM if c in "ijl.,:;|!()[] " else USUAL for c in text)
    return left, middle - 0.62 * size, left + width, middle + 0.62 * size


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def around(point: Point, radius: float) -> Box:
    return point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius


def place_label(
    text: str, size: float, point: Point, taken: Sequence[Box], lines: Sequence[Box], bounds: Box
) -> Box | None:
    """The best free box for a text near its point and within the bounds; None where the plot is full.

    It never overlaps ``taken``; it is the nearer the better, with fewer of the ``lines``' pieces under it, and nothing
    between it and its point.
    """
    _, top, right, bottom = text_box(text, size, 0, 0)
    half_width, half_height = right / 2, (bottom - top) / 2
    reach = around(point, DISTANCES[-1] + 2 * (half_width + half_height))
    taken, lines = ([other for other in boxes if overlap(other, reach)] for boxes in (taken, lines))
    chosen, least = None, math.inf
    for distance in DISTANCES:
        if distance >= least:
            break
        for direction in range(DIRECTIONS):
            angle = 2 * math.pi * direction / DIRECTIONS
            x = point[0] + math.cos(angle) * (distance + half_width)
            y = point[1] - math.sin(angle) * (distance + half_height)
            box = (x - half_width, y - half_height, x + half_width, y + half_height)
            inside = box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
            if not inside or any(overlap(box, other) for other in taken):
                continue
            cost = distance + 6 * sum(overlap(box, line) for line in lines)
            if cost >= least:
                continue
            leader = [around(spot, 1) for spot in along([nearest(box, point), point])]
            between = sum(any(overlap(spot, other) for spot in leader) for other in taken if not covers(other, point))
            cost += 60 * between
            if cost < least:
                chosen, least = box, cost
    return chosen


def nearest(box: Box, point: Point) -> Point:
    """The point of a box that is nearest to a point."""
    return min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3])


def covers(box: Box, point: Point) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def along(line: Sequence[Point]) -> list[Point]:
    """Points every few pixels of a polyline."""
    points = []
    for (a, b), (c, d) in pairwise(line):
        count = max(1, round(max(abs(c - a), abs(d - b)) / 5))
        points += [(a + (c - a) * k / count, b + (d - b) * k / count) for k in range(count + 1)]
    return points
