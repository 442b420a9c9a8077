"""The directive `fields-table`: the fields of a dataclass with their defaults, bounds and the comments beside them."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from types import NoneType
from typing import Any, get_args

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx

from invsolve.specs.fields import described, field_types


class FieldsTable(Directive):
    """`.. fields-table:: module.Class`"""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, name = self.arguments[0].rsplit(".", 1)
        rows = field_rows(getattr(importlib.import_module(module), name))
        head, *rest = [("field", "values", "default", "what it is"), *rows]
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", "   :class: fields", ""]
        for row in (head, *rest):
            lines += [f"   {'* -' if i == 0 else '  -'} {cell}".rstrip() for i, cell in enumerate(row)]
        container = nodes.Element()
        self.state.nested_parse(StringList(lines, source=self.arguments[0]), self.content_offset, container)
        return container.children


def field_rows(kind: type) -> list[tuple[str, str, str, str]]:
    """Name, what may be given, default and comment of each field, in reStructuredText."""
    source, hints = inspect.getsource(kind), field_types(kind)
    rows = []
    for field in dataclasses.fields(kind):
        beside = re.search(rf"^    {field.name}: .*?  # (.*)$", source, flags=re.MULTILINE)
        what = beside[1].replace("|", r"\|").replace("*", r"\*").replace("_", r"\_") if beside else ""
        rows.append((f"``{field.name}``", _values(hints[field.name], field.type), _default(field), what))
    return rows


def _values(hint: Any, written: Any) -> str:
    """A field's type and bounds in words, or as they are written in the source."""
    kinds = [part for part in get_args(hint) if part is not NoneType]
    optional = len(kinds) == 1 and NoneType in get_args(hint)
    try:
        return described(kinds[0]) + " or None" if optional else described(hint)
    except KeyError:
        return f"``{written}``"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        own = dataclasses.is_dataclass(field.default)  # whose fields have a table of their own
        return f"``{type(field.default).__name__}()``" if own else f"``{field.default!r}``"
    return "" if field.default_factory is dataclasses.MISSING else f"``{field.default_factory()!r}``"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("fields-table", FieldsTable)
    return {"parallel_read_safe": True}
