"""Checks of values read from YAML: each refuses with one line that names the file, the key and what was expected."""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import yaml

LONGEST = 80  # characters of a value that a message shows

Check = Callable[[object], str | None]  # what was expected, or None when the value is fine


class Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but ``3e-4`` and ``1.5e3``, which it takes for text, are numbers as in YAML 1.2.

    What looks like a date or a number but is none, as ``2024-13-45``, is an error of the YAML, with line and column.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError) as error:  # of the conversion from text
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(None, None, f"no {kind}: {error}", node.start_mark) from None


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def read_yaml(path: Path) -> dict[str, object]:
    """The mapping in a YAML file, with numbers as :class:`Loader` reads them; what is quoted stays text.

    Raises:
        ValueError: one line naming the file, which is missing, is not YAML, or does not hold a mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping of keys to values, found {_kind(content)}")
    return content


def check_mapping(
    values: object, required: Mapping[str, Check], optional: Mapping[str, Check], where: str
) -> dict[str, object]:
    """``values`` itself, once every required key is there, no other than the known ones is, and every check passes.

    Raises:
        ValueError: one line, beginning with ``where``.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected a mapping of keys to values, found {_kind(values)}")
    known = {**required, **optional}
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}{suggestion(key, known)}")
        expected = known[key](value)
        if expected is not None:
            raise ValueError(f"{where}: {key} is {_shown(value)} but must be {expected}")
    missing = [key for key in required if key not in values]
    if missing:
        raise ValueError(f"{where}: the key {missing[0]!r} is missing")
    return values


def suggestion(name: object, known: Iterable[str]) -> str:
    """``; did you mean 'factor'?``, or else all that is known."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(names) or 'no key at all'}"


def number(low: float = -math.inf, high: float = math.inf, above: float = -math.inf) -> Check:
    """A finite real number with low <= value <= high and value > above."""
    bounds = [f"at least {low:g}"] * (low > -math.inf)
    bounds += [f"above {above:g}"] * (above > -math.inf)
    bounds += [f"at most {high:g}"] * (high < math.inf)
    expected = f"a number{' ' if bounds else ''}{' and '.join(bounds)}"

    def check(value: object) -> str | None:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        finite = real and abs(value) <= sys.float_info.max  # which integers may exceed
        return None if finite and low <= value <= high and value > above else expected

    return check


def integer(low: int) -> Check:
    """An integer of at least ``low``."""
    return lambda value: None if type(value) is int and value >= low else f"an integer of at least {low}"


def choice(*options: str) -> Check:
    """One of a few words."""
    return lambda value: None if value in options else f"one of {', '.join(options)}"


def text(value: object) -> str | None:
    """A string that is not empty."""
    return None if isinstance(value, str) and value.strip() else "text"


def flag(value: object) -> str | None:
    """true or false."""
    return None if isinstance(value, bool) else "true or false"


def optional_number(value: object) -> str | None:
    """A finite number, or null."""
    return None if value is None or number()(value) is None else "a number or null"


def any_value(value: object) -> None:
    """Anything: the value is checked elsewhere."""
    return None


def _shown(value: object) -> str:
    """The value as Python writes it; the beginning of a long one."""
    try:
        written = repr(value)
    except ValueError:
        return f"an integer of more than {sys.get_int_max_str_digits()} digits"  # which Python does not write
    return written if len(written) <= LONGEST else f"{written[:LONGEST]}..."


def _kind(value: object) -> str:
    return {type(None): "nothing", list: "a list", str: "text"}.get(type(value), type(value).__name__)
