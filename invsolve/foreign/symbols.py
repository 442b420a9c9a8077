"""What the names in a foreign pickle may stand for.

A pickle refers to functions and classes by module and name. Here such a name never becomes the function or the class:
it stays a :class:`Symbol`. The few functions that stored networks need are replaced by our own (``rebuild.py``); an
instance of any other class is kept as an :class:`Inert`, which has data and no behaviour.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field

# Of these, ``rebuild.py`` replaces a few functions; nothing else in them is any part of a stored network.
_LIBRARY = sys.stdlib_module_names | {"__builtin__", "copy_reg"}


class ForeignFileError(ValueError):
    """A foreign file that is not a network we can use, or that holds what no stored network holds."""


@dataclass(frozen=True)
class Symbol:
    """A function's or class's name: ``module`` and ``name``, never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


@dataclass(eq=False)
class Inert:
    """An object of some class, as data: what it was made with, and its state (usually its attributes' dict).

    ``kind`` is the class's name without the module.
    """

    kind: str
    arguments: tuple = ()
    state: object = None
    built: bool = field(default=False, repr=False)

    def build(self, state: object) -> None:
        """Take the state that the pickle sets. It can be set once."""
        if self.built:
            raise ForeignFileError(f"the state of a {shown(self.kind)} is set twice")
        self.state, self.built = state, True


class Budget:
    """What reading one file of ``size`` bytes may cost.

    A pickle can name an object that it holds once as often as it likes, so whatever copies one has to pay for it: items
    with operations, bytes with those of the file, of which each kind of copy has as many as the file.
    """

    def __init__(self, operations: int, size: int):
        self._operations, self._size, self._spent = operations, size, Counter[str]()

    def spend_operations(self, count: int) -> None:
        self._operations -= count
        if self._operations < 0:
            raise ForeignFileError("the pickle has more operations than a stored network needs")

    def spend_bytes(self, kind: str, count: int) -> None:
        """``kind`` is what they are of, in the plural."""
        self._spent[kind] += count
        if self._spent[kind] > self._size:
            raise ForeignFileError(f"the {kind} take more bytes than the whole file has")


def symbol(module: str, name: str, rebuilt: bool) -> Symbol:
    """The symbol of a name in a pickle; ``rebuilt`` says whether we have our own function for it.

    Raises:
        ForeignFileError: it is something of Python's library, or a path of attributes, which networks never need and
            exploits do.
    """
    found = Symbol(module, name)
    if not rebuilt and (module.partition(".")[0] in _LIBRARY or "." in name):
        raise ForeignFileError(f"the pickle refers to {found}, which is no part of a stored network")
    return found


def shown(text: str) -> str:
    """Text of a foreign file, fit for one line of a message: escaped and cut."""
    escaped = ascii(text)[1:-1]
    return escaped if len(escaped) <= 80 else f"{escaped[:77]}..."


def described(value: object) -> str:
    """What a value from a pickle is, for a message: never its content, which can be of any size or depth."""
    if isinstance(value, Inert):
        return f"a {shown(value.kind)} object"
    if isinstance(value, Symbol):
        return f"the name {value}"
    return "None" if value is None else f"a {type(value).__name__}"
