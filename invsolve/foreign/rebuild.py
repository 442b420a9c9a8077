"""Our own versions of the functions that a stored network's pickle calls.

Each takes the call's arguments (a tuple, unchecked) and the file's budget, and returns plain data, a tensor or an
``Inert``; each raises ``ForeignFileError`` on arguments that its original is never given.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from torch import Tensor

from .storage import load_legacy_storage, rebuild_tensor
from .symbols import Budget, ForeignFileError, Inert, Symbol, described

Rebuild = Callable[[tuple, Budget], object]

# NumPy's type codes of the scalars that may stand among a network's attributes, as codes of ``struct``.
_SCALARS = {"f2": "e", "f4": "f", "f8": "d", "i4": "i", "i8": "q", "u1": "B", "u4": "I", "u8": "Q", "b1": "?"}


def _arguments(arguments: tuple, kinds: tuple[type, ...], what: str, optional: int = 0) -> tuple:
    """``arguments``, which must be of ``kinds``; the last ``optional`` kinds may be missing."""
    right = len(kinds) - optional <= len(arguments) <= len(kinds)
    if not right or not all(isinstance(a, kind) for a, kind in zip(arguments, kinds, strict=False)):
        found = ", ".join(described(argument) for argument in arguments[:8]) or "nothing"
        raise ForeignFileError(f"the pickle makes {what} of {found}")
    return arguments


def _ordered_dict(arguments: tuple, budget: Budget) -> dict:
    _arguments(arguments, (), "an OrderedDict")
    return {}


def _set(arguments: tuple, budget: Budget) -> set:
    (items,) = _arguments(arguments, (list,), "a set")
    if not all(isinstance(item, (str, int, float, bytes)) for item in items):
        raise ForeignFileError("the pickle makes a set of more than strings and numbers")
    budget.spend_operations(len(items))
    return set(items)


def _bytes(arguments: tuple, budget: Budget) -> bytes:
    """``_codecs.encode``, by which old protocols store bytes."""
    text, encoding = _arguments(arguments, (str, str), "bytes")
    if encoding != "latin1":
        raise ForeignFileError("the pickle encodes bytes in something other than latin1")
    budget.spend_bytes("encoded bytes", len(text))
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise ForeignFileError("the pickle encodes as latin1 what is not") from None


def _size(arguments: tuple, budget: Budget) -> tuple:
    return _arguments(arguments, (tuple,), "a torch.Size")[0]


def _device(arguments: tuple, budget: Budget) -> str:
    return _arguments(arguments, (str, int), "a torch.device", optional=1)[0]


def _legacy_storage(arguments: tuple, budget: Budget) -> object:
    (content,) = _arguments(arguments, (bytes,), "a storage")
    budget.spend_bytes("nested storages", len(content))
    return load_legacy_storage(content, budget)


def _parameter(arguments: tuple, budget: Budget) -> object:
    data, *_ = _arguments(arguments, (Tensor, int, dict, object), "a parameter", optional=1)
    return data


def _persistent_object(arguments: tuple, budget: Budget) -> Inert:
    """An instance stored with its class's source code (``module_src``), which is dropped unread."""
    (meta,) = _arguments(arguments, (dict,), "a persistent object")
    kind, name, source = meta.get("type"), meta.get("class_name"), meta.get("module_src")
    if kind != "class" or not isinstance(name, str) or not isinstance(source, str) or "state" not in meta:
        raise ForeignFileError("the pickle has a persistent object without class_name, module_src or state")
    made = Inert(name)
    made.build(meta["state"])
    return made


def _dtype(arguments: tuple, budget: Budget) -> Inert:
    return Inert("dtype", _arguments(arguments, (str, object, object), "a numpy.dtype"))


def _array(arguments: tuple, budget: Budget) -> Inert:
    """A NumPy array. None is needed, so its content stays as it is stored."""
    return Inert("ndarray", arguments)


def _scalar(arguments: tuple, budget: Budget) -> float | int | bool:
    dtype, content = _arguments(arguments, (Inert, bytes), "a numpy scalar")
    code = _SCALARS.get(dtype.arguments[0]) if dtype.kind == "dtype" and dtype.arguments else None
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else None
    if code is None or order not in ("<", "|") or struct.calcsize(f"<{code}") != len(content):
        raise ForeignFileError("the pickle has a numpy scalar that is no little-endian number")
    return struct.unpack(f"<{code}", content)[0]


REBUILDERS: dict[Symbol, Rebuild] = {
    Symbol("collections", "OrderedDict"): _ordered_dict,
    Symbol("builtins", "set"): _set,
    Symbol("__builtin__", "set"): _set,
    Symbol("_codecs", "encode"): _bytes,
    Symbol("torch", "Size"): _size,
    Symbol("torch", "device"): _device,
    Symbol("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    Symbol("torch._utils", "_rebuild_parameter"): _parameter,
    Symbol("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    Symbol("torch.storage", "_load_from_bytes"): _legacy_storage,
    Symbol("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_object,
    Symbol("numpy", "dtype"): _dtype,
    Symbol("numpy.core.multiarray", "scalar"): _scalar,
    Symbol("numpy._core.multiarray", "scalar"): _scalar,
    Symbol("numpy.core.multiarray", "_reconstruct"): _array,
    Symbol("numpy._core.multiarray", "_reconstruct"): _array,
    Symbol("numpy.core.numeric", "_frombuffer"): _array,
    Symbol("numpy._core.numeric", "_frombuffer"): _array,
}
