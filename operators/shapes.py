"""Shapes given by the user, checked."""

from __future__ import annotations

import operator
from collections.abc import Sequence


def positive_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """A shape of any integer types as a tuple of `int`. ValueError unless all are positive."""
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise ValueError(f"{name} is {shape} but must be positive integers such as (3, 256, 256)")
    return sizes


def image_shape(in_shape: Sequence[int]) -> tuple[int, int, int]:
    """The shape of images (channels, height, width). ValueError for another number of dimensions."""
    sizes = positive_shape("in_shape", in_shape)
    if len(sizes) != 3:
        raise ValueError(f"in_shape is {sizes} but must be that of an image, (channels, height, width)")
    return sizes


def written(sizes: Sequence[int | str]) -> str:
    return "[" + ", ".join(str(size) for size in sizes) + "]"
