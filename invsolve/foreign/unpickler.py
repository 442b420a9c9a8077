"""A pickle reader that executes nothing.

``pickle`` imports and calls whatever a file names. This reader interprets the opcodes itself, on tokens from
``pickletools.genops`` (which decodes and never acts): a name becomes a ``Symbol``, a few functions are replaced by ours
(``rebuild.py``), instances become ``Inert`` data, and any other call is refused by name. The standard unpickler is not
involved, so neither are ``__setstate__``, ``copyreg``'s extension registry or ``getattr``.

Every opcode that a network's pickle (protocols 2 to 5) uses is in the table at the end; the rest is refused. Only
strings and numbers may be keys of dictionaries or members of sets: hashing deeply nested tuples overflows the C stack.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import BinaryIO

from .symbols import Budget, ForeignFileError, Inert, Symbol, described, shown, symbol

NEWEST_PROTOCOL = 5
LONGEST_INTEGER = 128  # bits; the longest that is needed is torch's 77-bit magic number

_EASY_DICT = Symbol("dnnlib.util", "EasyDict")  # a dict whose keys are also attributes


class Unpickler:
    """Reads pickles from ``stream`` (something to read bytes from: a file, an mmap, a ``BytesIO``).

    ``rebuilders`` are our versions of functions that pickles call, as ``rebuild(arguments, budget)``;
    ``persistent(id)`` gives the objects that lie outside the pickle. Other calls, and references without it, are
    refused.
    """

    def __init__(
        self,
        stream: BinaryIO,
        budget: Budget,
        rebuilders: Mapping[Symbol, Callable[[tuple, Budget], object]],
        persistent: Callable[[object], object] | None = None,
    ):
        self.stream, self.budget, self.rebuilders, self.persistent = stream, budget, rebuilders, persistent
        self.stack: list = []
        self.outer: list[list] = []  # the stacks below each mark
        self.memo: dict[int, object] = {}

    def load(self) -> object:
        """The next pickle's object. Raises :class:`ForeignFileError` on anything but a well-formed, harmless one."""
        self.stack, self.outer, self.memo = [], [], {}
        try:
            for opcode, argument, _ in pickletools.genops(self.stream):
                self.budget.spend_operations(1)
                if opcode.name == "STOP":
                    return self.stack.pop()
                operation = _OPERATIONS.get(opcode.name)
                if operation is None:
                    raise ForeignFileError(f"the pickle uses {opcode.name}, which no stored network needs")
                operation(self, argument)
        except ForeignFileError:
            raise
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise ForeignFileError(f"it is not a complete pickle: {shown(str(error))}") from None
        raise ForeignFileError("it is not a complete pickle: it has no end")

    def items_after_mark(self) -> list:
        items = self.stack
        self.stack = self.outer.pop()
        return items


def _push(machine: Unpickler, value: object) -> None:
    if isinstance(value, int) and value.bit_length() > LONGEST_INTEGER:
        raise ForeignFileError(f"the pickle has an integer of {value.bit_length()} bits")
    machine.stack.append(value)


def _mark(machine: Unpickler, _: None) -> None:
    machine.outer.append(machine.stack)
    machine.stack = []


def _top(machine: Unpickler, kind: type) -> object:
    if not isinstance(machine.stack[-1], kind):
        raise ForeignFileError(f"the pickle adds items to {described(machine.stack[-1])}, not to a {kind.__name__}")
    return machine.stack[-1]


def _append(machine: Unpickler, items: list) -> None:
    _top(machine, list).extend(items)


def _set_items(machine: Unpickler, items: list) -> None:
    _fill(_top(machine, dict), items)


def _fill(target: dict, items: list) -> dict:
    if len(items) % 2:
        raise ForeignFileError("the pickle has a dictionary key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if _hashable(key) in target:
            raise ForeignFileError(f"the pickle sets the dictionary key {shown(str(key))!r} twice")
        target[key] = value
    return target


def _add_items(machine: Unpickler, items: list) -> None:
    _top(machine, set).update(_hashable(item) for item in items)


def _hashable(key: object) -> object:
    if not isinstance(key, (str, int, float, bytes, type(None))):
        raise ForeignFileError(f"the pickle has {described(key)} as a dictionary's key or in a set")
    return key


def _tuple_of(count: int) -> Callable[[Unpickler, None], None]:
    def build(machine: Unpickler, _: None) -> None:
        items = [machine.stack.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return build


def _pop(machine: Unpickler, _: None) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.items_after_mark()


def _memoize(machine: Unpickler, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _name(machine: Unpickler, module: object, name: object) -> None:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ForeignFileError(f"the pickle has {described(module)} and {described(name)} for a module and a name")
    machine.stack.append(symbol(module, name, Symbol(module, name) in machine.rebuilders))


def _global(machine: Unpickler, argument: str) -> None:
    module, _, name = argument.partition(" ")
    _name(machine, module, name)


def _stack_global(machine: Unpickler, _: None) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    _name(machine, module, name)


def _reduce(machine: Unpickler, _: None) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    rebuild = machine.rebuilders.get(function) if isinstance(function, Symbol) else None
    if rebuild is None:
        raise ForeignFileError(f"the pickle calls {described(function)}, which is not among the functions we replace")
    if not isinstance(arguments, tuple):
        raise ForeignFileError(f"the pickle calls {function} with {described(arguments)} for arguments")
    machine.stack.append(rebuild(arguments, machine.budget))


def _new_object(machine: Unpickler, _: None) -> None:
    arguments, kind = machine.stack.pop(), machine.stack.pop()
    if not isinstance(kind, Symbol) or kind in machine.rebuilders:
        raise ForeignFileError(f"the pickle makes an instance of {described(kind)}, which is no class")
    if not isinstance(arguments, tuple) or arguments:
        raise ForeignFileError(f"the pickle makes a {kind} with arguments, which no part of a stored network has")
    machine.stack.append({} if kind == _EASY_DICT else Inert(kind.name))


def _build(machine: Unpickler, _: None) -> None:
    state, target = machine.stack.pop(), machine.stack[-1]
    if isinstance(target, Inert):
        target.build(state)
    elif not isinstance(target, dict) or not isinstance(state, dict):  # attributes of a dictionary are dropped
        raise ForeignFileError(f"the pickle sets the state of {described(target)} to {described(state)}")


def _persistent(machine: Unpickler, _: None) -> None:
    if machine.persistent is None:
        raise ForeignFileError("the pickle refers to an object outside of it (persistent id)")
    machine.stack.append(machine.persistent(machine.stack.pop()))


def _check_protocol(machine: Unpickler, version: int) -> None:
    if version > NEWEST_PROTOCOL:
        raise ForeignFileError(f"the pickle has protocol {version}, and the newest known is {NEWEST_PROTOCOL}")


def _after_mark(machine: Unpickler, make: Callable[[list], object]) -> None:
    made = make(machine.items_after_mark())
    machine.stack.append(made)


Operation = Callable[[Unpickler, object], object]  # what it returns is not used

# Opcodes whose argument, as genops decodes it, is the value.
_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")

_OPERATIONS: dict[str, Operation] = {
    **dict.fromkeys(_NUMBERS + _TEXTS + _BYTES, _push),
    "PROTO": _check_protocol,
    "FRAME": lambda machine, _: None,
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_SET": lambda machine, _: machine.stack.append(set()),
    "MARK": _mark,
    "LIST": lambda machine, _: _after_mark(machine, list),
    "TUPLE": lambda machine, _: _after_mark(machine, tuple),
    "DICT": lambda machine, _: _after_mark(machine, lambda items: _fill({}, items)),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": lambda machine, _: _append(machine, [machine.stack.pop()]),
    "APPENDS": lambda machine, _: _append(machine, machine.items_after_mark()),
    "SETITEM": lambda machine, _: _set_items(machine, [machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: _set_items(machine, machine.items_after_mark()),
    "ADDITEMS": lambda machine, _: _add_items(machine, machine.items_after_mark()),
    "POP": _pop,
    "POP_MARK": lambda machine, _: machine.items_after_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "PUT": _memoize,
    "BINPUT": _memoize,
    "LONG_BINPUT": _memoize,
    "MEMOIZE": _memoize,
    "GET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _new_object,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
