"""Reading a pickle as plain data: nothing in it is executed, imported or looked up.

A pickle is a program: it names functions and classes, calls them, and sets the state of what they return. Here a name
stays a :class:`Name`, an instance is an :class:`Inert`, which has data and no behaviour, and calls are of our own
functions only, for the few names that stored networks need. What each kind of attack takes:

- Code (``os.system``, ``eval``, ``__setstate__``): ``find_class`` looks nothing up, so no function or class is ever on
  the stack, and REDUCE, NEWOBJ and BUILD, which would call them, are ours.
- Opcodes that act in other ways (INST, OBJ, EXT1 by ``copyreg``'s registry, out-of-band buffers), lengths beyond the
  file's end, endless operations, integers of a million digits: ``_scan`` refuses them before anything is made, by
  ``pickletools.genops``, which decodes and never acts.
- Copies of what the file holds once (it may name a thing as often as it likes): paid for from the file's ``Budget``.
- Hashing: of nested tuples, which overflows the C stack or takes 2^depth steps; of long integers of one hash, which
  takes quadratic time. Only strings, bytes and numbers of 64 bits may be keys of dictionaries or members of sets.

The last needs a say in how dictionaries are filled. ``pickle.Unpickler``, in C, gives none; its equal in Python,
``pickle._Unpickler``, has a table of opcodes that a subclass can change.
"""

from __future__ import annotations

import pickle
import pickletools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO


class ForeignFileError(ValueError):
    """A foreign file that is not a network we can use, or that holds what no stored network holds."""


@dataclass(frozen=True, slots=True)
class Name:
    """A function's or class's name in a pickle, never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


@dataclass(eq=False, slots=True)
class Inert:
    """An instance of a class called ``kind``, as data: its state, which is usually the dictionary of its attributes."""

    kind: str
    state: object = None


MOST_OPERATIONS = 400_000  # opcodes and items of sets; the published networks have some 50,000
MOST_ARGUMENTS = 16
LONGEST_INTEGER, LONGEST_KEY = 128, 64  # bits; the longest that is needed is torch's magic number of 77 bits
NEWEST_PROTOCOL = 5
_EASY_DICT = Name("dnnlib.util", "EasyDict")
_LIBRARY = sys.stdlib_module_names | {"__builtin__", "copy_reg"}
_ACTING = {"INST", "OBJ", "NEWOBJ_EX", "FROZENSET", "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER"}
_OUTDATED = {"INT", "LONG", "FLOAT", "STRING", "UNICODE", "PUT", "GET", "LIST", "DICT", "DUP"}  # of protocol 0


class Budget:
    """What reading one file of ``size`` bytes may cost in operations, and in bytes copied from what is in memory.

    A number of the file is copied three times at most: text to bytes (old protocols), bytes to storage, to tensor.
    """

    def __init__(self, size: int):
        self.operations, self.bytes = MOST_OPERATIONS, 3 * size

    def spend(self, operations: int = 0, copied: int = 0) -> None:
        self.operations, self.bytes = self.operations - operations, self.bytes - copied
        if self.operations < 0:
            raise ForeignFileError("the pickle has more operations than a stored network needs")
        if self.bytes < 0:
            raise ForeignFileError("the pickle makes copies of its content that are larger than the whole file")


def unpickle(
    file: BinaryIO,
    budget: Budget,
    functions: Mapping[Name, Callable[..., object]],
    persistent: Callable[[object], object] | None = None,
) -> object:
    """The object in the pickle that starts at the position of ``file`` (an mmap or a ``BytesIO``), left at its end.

    ``functions`` are ours for the names that the pickle may call, as ``function(budget, *arguments)``, and
    ``persistent(id)`` gives the objects that lie outside of it. Raises :class:`ForeignFileError` on anything but a
    complete and harmless pickle.
    """
    start = file.tell()
    if file.read(1) != pickle.PROTO:  # the first opcode since protocol 2
        raise ForeignFileError("it is neither a pickle of protocol 2 or later nor a torch.save file")
    file.seek(start)
    try:
        _scan(file, budget)
        file.seek(start)
        return _Unpickler(file, budget, functions, persistent).load()
    except (ForeignFileError, MemoryError):
        raise
    except Exception as error:  # whatever a malformed pickle leads the standard library to
        raise ForeignFileError(f"it is not a complete pickle: {shown(str(error) or type(error).__name__)}") from None


def _scan(file: BinaryIO, budget: Budget) -> None:
    """Decode a pickle's opcodes up to its end, and refuse those that no stored network needs."""
    for opcode, argument, _ in pickletools.genops(file):
        budget.spend(operations=1)
        if opcode.name in _ACTING | _OUTDATED or opcode.proto > NEWEST_PROTOCOL:
            raise ForeignFileError(f"the pickle uses {opcode.name}, which no stored network needs")
        if isinstance(argument, int) and argument.bit_length() > LONGEST_INTEGER:
            raise ForeignFileError(f"the pickle has an integer of {argument.bit_length()} bits")


class _Unpickler(pickle._Unpickler):
    """The standard library's, but for the opcodes that name, call, and fill: these are in the table at the end."""

    def __init__(self, file: BinaryIO, budget: Budget, functions: Mapping, persistent: Callable | None):
        super().__init__(file, encoding="latin1")
        self.budget, self.functions = budget, functions
        if persistent is not None:  # else references are refused
            self.persistent_load = persistent

    def find_class(self, module: str, name: str) -> Name:
        """The name, unless it is of Python's library or a path of attributes: exploits need these, networks do not."""
        found = Name(module, name)
        if found not in self.functions and (module.partition(".")[0] in _LIBRARY or "." in name):
            raise ForeignFileError(f"the pickle refers to {found}, which is no part of a stored network")
        return found

    def load_reduce(self) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        function = self.functions.get(name) if isinstance(name, Name) else None
        if function is None:
            raise ForeignFileError(f"the pickle calls {described(name)}, which no stored network does")
        if not isinstance(arguments, tuple) or len(arguments) > MOST_ARGUMENTS:
            raise ForeignFileError(f"the pickle calls {name} with {described(arguments)} for arguments")
        self.append(function(self.budget, *arguments))

    def load_newobj(self) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, Name) or not isinstance(arguments, tuple) or arguments:
            raise ForeignFileError(f"the pickle makes an instance of {described(name)} with arguments")
        self.append({} if name == _EASY_DICT else Inert(name.name))  # its keys are also attributes

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Inert) and target.state is None:
            target.state = state
        elif not isinstance(target, dict) or not isinstance(state, dict):  # attributes of a dictionary are dropped
            raise ForeignFileError(f"the pickle sets the state of {described(target)}, perhaps for the second time")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _fill(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _fill(self.stack[-1], items)

    def load_additems(self) -> None:
        items = self.pop_mark()
        if not isinstance(self.stack[-1], set):
            raise ForeignFileError(f"the pickle adds members to {described(self.stack[-1])}, not to a set")
        self.stack[-1].update(map(hashable, items))

    dispatch = pickle._Unpickler.dispatch | {
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.ADDITEMS[0]: load_additems,
    }


def _fill(target: object, items: list) -> None:
    """Put ``items``, which are keys and values in turn, into the dictionary ``target``."""
    if not isinstance(target, dict):
        raise ForeignFileError(f"the pickle adds items to {described(target)}, not to a dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if hashable(key) in target:
            raise ForeignFileError(f"the pickle sets the dictionary key {described(key)} twice")
        target[key] = value


def hashable(key: object) -> object:
    """``key``, if it may be a dictionary's key or a member of a set."""
    long = isinstance(key, int) and key.bit_length() > LONGEST_KEY
    if long or not isinstance(key, (str, bytes, int, float, type(None))):
        raise ForeignFileError(f"the pickle has {described(key)} as a dictionary's key or in a set")
    return key


def shown(text: str) -> str:
    """Text of a foreign file, fit for one line of a message: escaped and cut."""
    escaped = ascii(text[:81])[1:-1]
    return escaped if len(escaped) <= 80 else f"{escaped[:77]}..."


def described(value: object) -> str:
    """A value from a pickle for a message: itself if it is plain, else what it is (of any size)."""
    if value is None or isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return repr(shown(value))
    if isinstance(value, Name):
        return f"the name {value}"
    return f"a {shown(value.kind)} object" if isinstance(value, Inert) else f"a {type(value).__name__}"
