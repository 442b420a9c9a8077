"""Dataclasses that check their values against their type hints, also where these are read from YAML.

``sigma_max: Annotated[float, Bounds(above=0)] = 2.0`` says the type, the bounds and the default. A wrong type raises
TypeError, a value out of bounds ValueError: in one line, with the name, what was found and what was expected.
"""

from __future__ import annotations

import difflib
import functools
import math
import numbers
import sys
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

LONGEST = 80  # characters of a value that a message shows

TYPES = {  # what is taken for a type, and how a message calls it
    bool: (bool, "true or false"),
    int: (numbers.Integral, "an integer"),
    float: (numbers.Real, "a number"),
    str: (str, "text"),
}


@dataclass(frozen=True)
class Bounds:
    """What a number must keep to; floats must be finite in any case."""

    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None

    def hold(self, value: float) -> bool:
        low = (self.at_least is None or value >= self.at_least) and (self.above is None or value > self.above)
        return low and (self.below is None or value < self.below) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        given = {name: bound for name, bound in vars(self).items() if bound is not None}
        return " and ".join(f"{name.replace('_', ' ')} {bound}" for name, bound in given.items())


Count = Annotated[int, Bounds(at_least=1)]
Index = Annotated[int, Bounds(at_least=0)]
Positive = Annotated[float, Bounds(above=0)]
NotNegative = Annotated[float, Bounds(at_least=0)]
Share = Annotated[float, Bounds(at_least=0, at_most=1)]
NoiseLevel = Annotated[float, Bounds(at_least=0, at_most=2)]  # for images on [-1, 1]
BelowOne = Annotated[float, Bounds(at_least=0, below=1)]
WithinOne = Annotated[float, Bounds(above=-1, below=1)]


class Checked:
    """Base of dataclasses that check each value against the type of its field when they are made."""

    def __post_init__(self) -> None:
        for name, hint in field_types(type(self)).items():
            check(name, getattr(self, name), hint)


Kind = TypeVar("Kind", bound=Checked)


@functools.cache
def field_types(kind: type) -> dict[str, Any]:
    """The type hint of every field of a dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def check(name: str, value: object, hint: Any) -> None:
    """Raises TypeError where ``value`` is not of the type of a hint, ValueError where it is out of its bounds."""
    found = f"{name} is {_shown(value)} but must be"
    hint, *bounds = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        if value is not None:
            check(name, value, next(part for part in inner if part is not NoneType))
    elif origin is Literal:
        if value not in inner:
            raise ValueError(f"{found} one of {', '.join(map(str, inner))}")
    elif origin is tuple:
        length = None if inner[-1] is ... else len(inner)
        if not isinstance(value, tuple | list) or length not in (None, len(value)):
            raise ValueError(f"{found} a list" + (f" of {length}" if length else ""))
        for number, each in enumerate(value, start=1):
            check(f"entry {number} of {name}", each, inner[0])
    else:
        kind, called = TYPES.get(origin, (origin, f"a {origin.__name__}"))
        if not isinstance(value, kind) or (isinstance(value, bool) and origin is not bool):
            raise TypeError(f"{found} {called}")
        if origin is str and not value.strip():
            raise ValueError(f"{found} {called}")
        finite = origin is not float or _finite(value)
        if not finite or not all(bound.hold(value) for bound in bounds):
            expected = [*(["finite"] if origin is float else []), *map(str, bounds)]
            raise ValueError(f"{found} {' and '.join(expected)}")


def check_integer(name: str, value: object, at_least: int) -> None:
    """Raises TypeError for what is no integer, ValueError for one that is too small."""
    check(name, value, Annotated[int, Bounds(at_least=at_least)])


def check_number(name: str, value: object, at_least: float | None = None) -> None:
    """Raises TypeError for what is no number, ValueError for one that is too small or not finite."""
    check(name, value, Annotated[float, Bounds(at_least=at_least)])


def from_mapping(kind: type[Kind], values: object, where: str) -> Kind:
    """A checked dataclass from a mapping as YAML gives it: a list for a tuple, a mapping for a dataclass in a field.

    Raises:
        ValueError: one line, beginning with ``where``: a key is unknown or missing, or a value does not fit.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected a mapping of keys to values, found {_kind(values)}")
    hints, arguments = field_types(kind), {}
    for key, value in values.items():
        if key not in hints:
            raise ValueError(f"{where}: unknown key {key!r}{suggestion(key, hints)}")
        if is_dataclass(hints[key]):
            value = from_mapping(hints[key], value, f"{where}: {key}")
        arguments[key] = tuple(value) if isinstance(value, list) else value
    for field in fields(kind):
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}: the key {field.name!r} is missing")
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def check_sigmas(settings: Any) -> None:
    """Raises ValueError where ``settings.sigma_min`` exceeds ``settings.sigma_max``."""
    if settings.sigma_min > settings.sigma_max:
        raise ValueError(f"sigma_min is {settings.sigma_min} but must not exceed sigma_max, {settings.sigma_max}")


def described(hint: Any) -> str:
    """A field's type and bounds in words: ``an integer, at least 1``, ``one of cubic, area``."""
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    kind, *bounds = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    return ", ".join([TYPES[kind][1], *map(str, bounds)])


def suggestion(name: object, known: Iterable[str]) -> str:
    """``; did you mean 'factor'?``, or else all that is known."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(names) or 'no key at all'}"


def _finite(value: float) -> bool:
    """Also whether an integer is one that a float can hold."""
    return abs(int(value)) <= sys.float_info.max if isinstance(value, numbers.Integral) else math.isfinite(value)


def _shown(value: object) -> str:
    """The value as Python writes it; the beginning of a long one."""
    if isinstance(value, tuple):
        value = list(value)  # as YAML writes it
    try:
        written = repr(value)
    except ValueError:
        return f"an integer of more than {sys.get_int_max_str_digits()} digits"  # which Python does not write
    return written if len(written) <= LONGEST else f"{written[:LONGEST]}..."


def _kind(value: object) -> str:
    return {type(None): "nothing", list: "a list", str: "text"}.get(type(value), type(value).__name__)
