"""YAML files, with numbers as in YAML 1.2."""

from __future__ import annotations

import re
from pathlib import Path

import yaml


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


def read_value(text: str) -> object:
    """What ``text`` means as a value in a YAML file. Raises ValueError where it is not YAML."""
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is no value ({' '.join(str(error).split())})") from None


def read_yaml(path: Path) -> object:
    """What a YAML file holds; what is quoted stays text.

    Raises:
        ValueError: one line naming the file, which is missing or not YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
