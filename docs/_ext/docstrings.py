"""Docstrings as they are written for a reader of the source, made ready for reStructuredText.

There `|` would begin a substitution, and equations in an indented block would be run together: they become literal.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx

CODE = re.compile(r"(``.*?``|`.*?`)")
SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields|Note|Example):")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _prepare, priority=100)  # before napoleon
    return {"parallel_read_safe": True}


def _prepare(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = prepared(lines)


def prepared(lines: list[str]) -> list[str]:
    """The lines with `|` escaped outside code, and blocks indented by four after a blank line marked as literal."""
    result: list[str] = []
    literal = section = False
    for i, line in enumerate(lines):
        indented, after_blank = line.startswith("    "), i > 0 and not lines[i - 1].strip()
        if line.strip() and not indented:
            literal, section = False, bool(SECTION.fullmatch(line.strip()))
        if indented and after_blank and not literal and not section and i > 1:
            literal = True
            if not _introduces(result):
                result += ["::", ""]
        result.append(line if literal else _escaped(line))
    return result


def _introduces(lines: list[str]) -> bool:
    """Whether the last paragraph ends in `::`, which makes what follows literal."""
    return next((line for line in reversed(lines) if line.strip()), "").endswith("::")


def _escaped(line: str) -> str:
    parts = CODE.split(line)
    parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
    return "".join(parts)
