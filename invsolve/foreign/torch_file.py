"""Reading a file of torch tensors, a pickle or a torch.save zip, as plain data: nothing in it is executed or looked up.

Memory is bounded by a multiple of the file's size and a constant: nothing is decompressed, every length is checked
against the file's own before anything is allocated, and the tensors together are no larger than the file.
``torch.load(weights_only=True)`` would read the storages within a pickle, too, but it allocates what they declare, and
hashes any tuple (see ``unpickler.py``). They are five pickles and a run of numbers, and read here as such.
"""

from __future__ import annotations

import io
import mmap
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from .unpickler import Budget, ForeignFileError, Inert, Name, described, hashable, shown, unpickle

MOST_MEMBERS = 5_000
MOST_DIMENSIONS = 8
_ZIP_START, _ZIP_ENTRY = b"PK\x03\x04", b"PK\x01\x02"
_LEGACY_START = (0x1950A86A20F9469CFC6C, 1001)  # the first two pickles of torch.save's old form

# torch's names of typed storages.
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_foreign(path: Path) -> object:
    """The object in a pickle or a torch.save file: dicts, lists, numbers, tensors, and ``Inert`` for instances.

    Raises:
        ForeignFileError: the file is missing, broken, or holds what no stored network holds.
    """
    if not path.is_file():
        raise ForeignFileError("there is no such file")
    size = path.stat().st_size
    if size == 0:
        raise ForeignFileError("it is empty")
    budget = Budget(size)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[: len(_ZIP_START)] == _ZIP_START:
            if sum(1 for _ in re.finditer(_ZIP_ENTRY, content)) > MOST_MEMBERS:  # zipfile takes memory for each
                raise ForeignFileError(f"the zip file has more than {MOST_MEMBERS} members")
            return _read_zip(file, size, budget)
        found = unpickle(content, budget, _FUNCTIONS)
        if rest := size - content.tell():
            raise ForeignFileError(f"{rest} bytes follow the end of the pickle")
        return found


def _read_zip(file: BinaryIO, size: int, budget: Budget) -> object:
    """``FOLDER/data.pkl`` is a pickle in which persistent ids refer to storages, the members ``FOLDER/data/KEY``."""
    members = _zip_members(file, size)
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ForeignFileError(f"the zip file has {len(pickles)} data.pkl, so it is not one of torch.save")
    folder = pickles[0].removesuffix("data.pkl")
    for name in members:
        if not name.startswith(folder) or ".." in name:
            raise ForeignFileError(f"the zip file's member {shown(name)!r} lies outside of {shown(folder)!r}")
    if members.get(f"{folder}byteorder", b"little") != b"little":
        raise ForeignFileError("the zip file was written on a big-endian machine")

    def content_of(key: str) -> bytes:
        if f"{folder}data/{key}" not in members:
            raise ForeignFileError(f"the zip file has no storage {shown(key)!r}")
        return members[f"{folder}data/{key}"]

    return unpickle(io.BytesIO(members[pickles[0]]), budget, _FUNCTIONS, lambda pid: _storage(pid, content_of))


def _zip_members(file: BinaryIO, size: int) -> dict[str, bytes]:
    """Contents of a zip file's members. torch stores them as they are, so a compressed one is a bomb or not torch's."""
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.compress_type or entry.compress_size != entry.file_size or entry.flag_bits & 1:
                    name = shown(entry.filename)
                    raise ForeignFileError(f"the zip file's member {name!r} is compressed or encrypted")
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise ForeignFileError("the zip file's members overlap")
            return {name: archive.read(name) for name in archive.namelist()}
    except (ForeignFileError, MemoryError):
        raise
    except Exception as error:  # whatever a broken file leads zipfile to
        raise ForeignFileError(f"it is not a readable zip file: {shown(str(error))}") from None


@dataclass(frozen=True)
class Storage:
    """A run of ``count`` numbers of one type, little-endian, as they lie in the file."""

    dtype: torch.dtype
    count: int
    content: memoryview


def _storage(pid: object, content_of: Callable[[str], bytes | memoryview]) -> Storage:
    """The storage of torch.save's persistent id, ``('storage', type, key, location, count)``; a None may follow."""
    if not isinstance(pid, tuple) or len(pid) not in (5, 6):
        raise ForeignFileError(f"a persistent id is {described(pid)}, not a reference to a storage")
    kind, key, count = pid[1], pid[2], pid[4]
    dtype = _STORAGES.get(kind.name) if isinstance(kind, Name) and kind.module == "torch" else None
    if dtype is None or not isinstance(key, str) or type(count) is not int:
        raise ForeignFileError("a persistent id is not torch's reference to a storage of numbers")
    content = content_of(key)
    if len(content) != count * dtype.itemsize:
        expected = f"{count} numbers of {dtype}".replace("torch.", "")
        raise ForeignFileError(f"a storage has {len(content)} bytes but should have {expected}")
    return Storage(dtype, count, memoryview(content))


def _legacy_storage(budget: Budget, content: object) -> Storage:
    """The storage in the bytes of ``torch.save`` in its old form, which is how storages are pickled by themselves.

    These are five pickles (magic number, protocol, byte order, the storage's persistent id, a list of its key), then
    its count as a 64-bit integer, then its numbers.
    """
    if not isinstance(content, bytes):
        raise ForeignFileError(f"the pickle makes a storage of {described(content)}, not of bytes")
    budget.spend(copied=len(content))
    stream = io.BytesIO(content)
    magic, protocol, system, pid, _ = (unpickle(stream, budget, {}, lambda pid: pid) for _ in range(5))
    if (magic, protocol) != _LEGACY_START or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ForeignFileError("the bytes of a storage are not torch.save's old form, of a little-endian machine")
    count = int.from_bytes(stream.read(8), "little")
    storage = _storage(pid, lambda key: memoryview(content)[stream.tell() :])
    if count != storage.count:
        raise ForeignFileError(f"a storage says that it has {storage.count} numbers, and then that it has {count}")
    return storage


def _tensor(budget: Budget, storage: object, offset: object, size: object, stride: object, *rest: object) -> object:
    """``torch._utils._rebuild_tensor_v2``: a view of a storage, copied.

    Refused are views that leave the storage, or that visit a number more than once, by which a small file could become
    a huge tensor. ``rest`` is whether it wants a gradient, backward hooks, and perhaps metadata.
    """
    if not isinstance(storage, Storage):
        raise ForeignFileError(f"a tensor is made of {described(storage)}, not of a storage")
    if len(rest) not in (2, 3) or (rest[1] is not None and rest[1] != {}):
        raise ForeignFileError("a tensor has backward hooks")
    shaped = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= MOST_DIMENSIONS
    whole = shaped and all(type(n) is int for n in (offset, *size, *stride))
    if not whole or offset < 0 or min((*size, *stride), default=1) < 1:
        raise ForeignFileError("a tensor's offset, sizes and strides are not natural numbers of one dimension")
    count, width = 1, storage.dtype.itemsize
    for step, length in sorted(zip(stride, size, strict=True)):
        if length > 1 and step != count:
            raise ForeignFileError("a tensor's strides skip numbers of its storage or visit them more than once")
        count *= length
    if offset + count > storage.count:
        raise ForeignFileError(f"a tensor ends at number {offset + count} of a storage of {storage.count}")
    budget.spend(copied=count * width)
    content = bytearray(storage.content[offset * width : (offset + count) * width])
    steps = [step if length > 1 else 1 for step, length in zip(stride, size, strict=True)]  # others may be of any size
    return torch.frombuffer(content, dtype=storage.dtype).as_strided(size, steps)


def _set(budget: Budget, items: object) -> set:
    if not isinstance(items, list):
        raise ForeignFileError(f"the pickle makes a set of {described(items)}")
    budget.spend(operations=len(items))
    return set(map(hashable, items))


def _bytes(budget: Budget, text: object, encoding: object) -> bytes:
    """``_codecs.encode``, by which old protocols store bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ForeignFileError(f"the pickle makes bytes of {described(text)}, or not by latin1")
    budget.spend(copied=len(text))
    return text.encode("latin1")


def _persistent_object(budget: Budget, meta: object) -> Inert:
    """An instance stored with its class's source code (``module_src``), which is dropped unread."""
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str) or "state" not in meta:
        raise ForeignFileError("the pickle has a persistent object without class_name or state")
    return Inert(meta["class_name"], meta["state"])


# NumPy's values, which no network needs: they are not read.
_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_NUMPY_NAMES = ("dtype", "scalar", "_reconstruct", "_frombuffer")

# Our versions of the functions that a stored network's pickle calls.
_FUNCTIONS = {
    Name("collections", "OrderedDict"): lambda budget: {},
    Name("builtins", "set"): _set,
    Name("__builtin__", "set"): _set,
    Name("_codecs", "encode"): _bytes,
    Name("torch", "Size"): lambda budget, size: size,
    Name("torch", "device"): lambda budget, *_: "device",
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Name("torch._utils", "_rebuild_parameter"): lambda budget, data, *_: data,
    Name("torch._utils", "_rebuild_parameter_with_state"): lambda budget, data, *_: data,
    Name("torch.storage", "_load_from_bytes"): _legacy_storage,
    Name("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_object,
    **{Name(module, name): lambda budget, *_: Inert("numpy") for module in _NUMPY for name in _NUMPY_NAMES},
}
