"""Tensors in foreign files: their storages, and the views of them."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import torch

from .symbols import Budget, ForeignFileError, Symbol, described
from .unpickler import Unpickler

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
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of a legacy torch.save
MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Storage:
    """A run of ``count`` numbers of one type, little-endian, as they lie in the file."""

    dtype: torch.dtype
    count: int
    content: memoryview


@dataclass(frozen=True)
class StorageReference:
    """What a persistent id of torch.save says of a storage: the content lies elsewhere in the file, under ``key``."""

    dtype: torch.dtype
    key: str
    count: int

    def holding(self, content: memoryview) -> Storage:
        if len(content) != self.count * self.dtype.itemsize:
            expected = f"{self.count} numbers of {self.dtype}".replace("torch.", "")
            raise ForeignFileError(f"a storage has {len(content)} bytes but should have {expected}")
        return Storage(self.dtype, self.count, content)


def storage_reference(persistent_id: object) -> StorageReference:
    """The reference in ``('storage', type, key, location, count)``, torch.save's persistent id, checked.

    The legacy form has a sixth entry, None.
    """
    if (
        not isinstance(persistent_id, tuple)
        or len(persistent_id) not in (5, 6)
        or persistent_id[5:] not in ((), (None,))
    ):
        raise ForeignFileError(f"a persistent id is {described(persistent_id)}, not a reference to a storage")
    word, kind, key, _, count = persistent_id[:5]
    dtype = _STORAGES.get(kind.name) if isinstance(kind, Symbol) and kind.module == "torch" else None
    if word != "storage" or dtype is None or not isinstance(key, str) or type(count) is not int or count < 0:
        raise ForeignFileError("a persistent id is not torch's reference to a storage of numbers")
    return StorageReference(dtype, key, count)


def load_legacy_storage(content: bytes, budget: Budget) -> Storage:
    """The storage in the bytes of ``torch.save`` in its old form, which is how storages are pickled by themselves.

    These are five pickles (magic number, protocol, byte order, the storage's persistent id, a list of its key), then
    its count as a 64-bit integer, then its numbers. Raises :class:`ForeignFileError`.
    """
    stream = io.BytesIO(content)
    reader = Unpickler(stream, budget, {}, storage_reference)
    magic, protocol, system = reader.load(), reader.load(), reader.load()
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or not isinstance(system, dict):
        raise ForeignFileError("the bytes of a storage are not those of torch.save in its old form")
    if system.get("little_endian") is not True:
        raise ForeignFileError("the bytes of a storage were written on a big-endian machine")
    reference, keys = reader.load(), reader.load()
    if not isinstance(reference, StorageReference) or keys != [reference.key]:
        raise ForeignFileError("the bytes of a storage hold something else than one storage")
    count = int.from_bytes(stream.read(8), "little")
    if count != reference.count:
        raise ForeignFileError(f"a storage says that it has {reference.count} numbers, and then that it has {count}")
    return reference.holding(memoryview(content)[stream.tell() :])


def rebuild_tensor(arguments: tuple, budget: Budget) -> torch.Tensor:
    """``torch._utils._rebuild_tensor_v2``: a view of a storage, copied.

    Raises:
        ForeignFileError: the view leaves the storage, or visits a number more than once (so that a small file could
            become a huge tensor), or the tensors together are larger than the file.
    """
    if len(arguments) not in (6, 7):
        raise ForeignFileError(f"a tensor is made of {len(arguments)} values, not of 6")
    storage, offset, size, stride, _, hooks = arguments[:6]
    if not isinstance(storage, Storage):
        raise ForeignFileError(f"a tensor is made of {described(storage)}, not of a storage")
    if hooks is not None and hooks != {}:
        raise ForeignFileError("a tensor has backward hooks")
    if not _natural(offset, size, stride):
        raise ForeignFileError("a tensor's offset, sizes and strides are not natural numbers of one dimension")
    if not _dense(size, stride):
        raise ForeignFileError("a tensor's strides skip numbers of its storage or visit them more than once")
    count = math.prod(size)
    if offset + count > storage.count:
        raise ForeignFileError(f"a tensor ends at number {offset + count} of a storage of {storage.count}")
    width = storage.dtype.itemsize
    budget.spend_bytes("tensors", count * width)
    content = bytearray(storage.content[offset * width : (offset + count) * width])
    steps = [step if length > 1 else 1 for step, length in zip(stride, size, strict=True)]  # others may be of any size
    return torch.frombuffer(content, dtype=storage.dtype).as_strided(size, steps)


def _natural(offset: object, size: object, stride: object) -> bool:
    if type(offset) is not int or not isinstance(size, tuple) or not isinstance(stride, tuple):
        return False
    if len(size) != len(stride) or len(size) > MOST_DIMENSIONS:
        return False
    return offset >= 0 and all(type(n) is int and n > 0 for n in (*size, *stride))


def _dense(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether a view's numbers are a permutation of a contiguous run's."""
    expected = 1
    for step, length in sorted(zip(stride, size, strict=True)):
        if length > 1 and step != expected:
            return False
        expected *= length
    return True
