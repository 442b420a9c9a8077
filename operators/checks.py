"""Checks of arguments given by the user. Each raises ValueError: what it is, what was found, what was expected."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def positive_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """A shape of any integer types as a tuple of `int`, all positive."""
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise ValueError(f"{name} is {shape} but must be positive integers such as (3, 256, 256)")
    return sizes


def image_shape(in_shape: Sequence[int]) -> tuple[int, int, int]:
    """The shape of images (channels, height, width)."""
    sizes = positive_shape("in_shape", in_shape)
    if len(sizes) != 3:
        raise ValueError(f"in_shape is {sizes} but must be that of an image, (channels, height, width)")
    return sizes


def check_integer(name: str, value: int, least: int = 1, most: int | None = None) -> int:
    """An integer of any type from `least` to `most` as `int`."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < least or (most is not None and value > most):
        expected = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is {value} but must be an integer {expected}")
    return int(value)


def check_number(name: str, value: float | Tensor, positive: bool = False, most: float = math.inf) -> None:
    """Finite, not negative (or `positive`), and `most` or less: a number, or all values of a tensor.

    Tensors are looked at on the CPU alone: elsewhere every call would wait for the device.
    """
    smallest = largest = value
    if isinstance(value, Tensor):
        if value.device.type != "cpu" or value.numel() == 0 or torch.compiler.is_compiling():
            return
        try:
            smallest, largest = (float(bound) for bound in value.detach().aminmax())
        except RuntimeError:  # under vmap there is no number to look at
            return
    if not (smallest > 0 if positive else smallest >= 0) or not largest < math.inf or largest > most:
        found = value.tolist() if isinstance(value, Tensor) else value
        expected = "positive and finite" if positive else "finite and not negative"
        raise ValueError(f"{name} is {found} but must be {expected if most == math.inf else f'between 0 and {most}'}")


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    if value not in tuple(choices):
        raise ValueError(f"{name} is {value!r} but must be one of {', '.join(choices)}")
    return value


def check_pixels(name: str, value: Tensor, in_shape: tuple[int, int, int]) -> Tensor:
    """A mask or kernel `[h, w]`, `[1|C, h, w]` or `[B, 1|C, h, w]` as a float64 tensor `[B, 1|C, h, w]` on the CPU."""
    channels = image_shape(in_shape)[0]
    if not isinstance(value, Tensor) or value.ndim not in (2, 3, 4):
        found = f"a tensor of {value.ndim} dimensions" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(f"{name} is {found} but must be a tensor [h, w], [1|C, h, w] or [B, 1|C, h, w]")
    value = value.detach().to("cpu", torch.float64)
    value = value.reshape((1,) * (4 - value.ndim) + tuple(value.shape))
    if value.shape[1] not in (1, channels):
        raise ValueError(f"{name} has {value.shape[1]} channels but the image has {channels}")
    return value


def expands(value: Tensor, shape: Sequence[int]) -> bool:
    """Whether a tensor expands to a shape."""
    try:
        return torch.broadcast_shapes(value.shape, shape) == tuple(shape)
    except RuntimeError:
        return False


def written(sizes: Sequence[int | str]) -> str:
    return "[" + ", ".join(str(size) for size in sizes) + "]"
