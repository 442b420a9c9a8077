"""Arguments made from the fields of an options' dataclass: type, choices and default are the field's."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import MISSING, fields
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from ..specs.fields import Positive, check, field_types
from ..specs.options import Device

Options = TypeVar("Options")

DEVICE = "default: a GPU if there is one"


def argument_adder(parser: argparse.ArgumentParser, options: type) -> Callable[..., None]:
    """``add(flag, metavar, help)``, which declares the argument for one field of ``options``."""
    hints, defaults = field_types(options), {field.name: field.default for field in fields(options)}

    def add(flag: str, metavar: str | None, help: str, **more: Any) -> None:
        name = more.get("dest", flag.removeprefix("--").replace("-", "_"))
        hint, default = hints[name], defaults[name]
        if NoneType in get_args(hint):  # X | None
            (hint,) = (part for part in get_args(hint) if part is not NoneType)
        if flag.startswith("--"):
            default = [*default] if isinstance(default, tuple) and "nargs" in more else default
            more |= {"required": True} if default is MISSING else {"default": default}
        if hint is bool:
            parser.add_argument(flag, action="store_true", help=help)
            return
        if get_origin(hint) is Literal:
            more["choices"] = get_args(hint)
        elif "nargs" in more:
            more["type"] = argument_type(get_args(hint)[0])
        else:
            more["type"] = argument_type(hint)
        if isinstance(default, int) and "default" not in help:
            help += f" (default {default})"
        parser.add_argument(flag, metavar=metavar, help=help, **more)

    return add


def argument_type(hint: Any) -> Callable[[str], Any]:
    """Reads and checks an argument of a type; several, with commas between, for a tuple."""
    if get_origin(hint) is tuple:
        return lambda text: tuple(part.strip() for part in text.split(",") if part.strip())
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = text
        try:
            check("it", value, hint)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    return read


def options_from(arguments: argparse.Namespace, options: type[Options]) -> Options:
    """The options that the command line says."""
    given = {name: getattr(arguments, name) for name in field_types(options)}
    return options(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=get_args(Device), default="auto", help=DEVICE)


minutes = argument_type(Positive)
