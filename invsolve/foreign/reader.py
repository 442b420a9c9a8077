"""Reading a foreign file, a pickle or a torch.save zip, as plain data: nothing in it is executed or looked up.

No network is used. Memory is bounded, by a multiple of the file's size and a constant: nothing is decompressed, every
length is checked against the file's own, the tensors together may not be larger than the file, and no other copy of
what the file holds once is free (``Budget``).
"""

from __future__ import annotations

import mmap
import struct
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from .rebuild import REBUILDERS
from .storage import Storage, storage_reference
from .symbols import Budget, ForeignFileError, shown
from .unpickler import Unpickler

LARGEST_FILE = 8 << 30  # bytes
MOST_OPERATIONS = 400_000  # pickle opcodes and items of sets; the published networks have some 50,000
MOST_MEMBERS = 5_000
_ZIP_START = b"PK\x03\x04"
_PICKLE_START = b"\x80"  # PROTO, the first opcode since protocol 2


def read_foreign(path: str | Path) -> object:
    """The object in a pickle or a torch.save file: dicts, lists, numbers, tensors, and ``Inert`` for instances.

    Raises:
        ForeignFileError: the file is missing, broken, or holds what no stored network holds. The message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise ForeignFileError(f"no file {path}")
    size = path.stat().st_size
    if not 0 < size <= LARGEST_FILE:
        raise ForeignFileError(f"{path}: it has {size} bytes, and must have between 1 and {LARGEST_FILE}")
    try:
        with path.open("rb") as file:
            read = _read_zip if file.read(len(_ZIP_START)) == _ZIP_START else _read_pickle
            return read(file, size, Budget(MOST_OPERATIONS, size))
    except ForeignFileError as error:
        raise ForeignFileError(f"{path}: {error}") from None
    except MemoryError:
        raise ForeignFileError(f"{path}: it does not fit into memory") from None


def _read_pickle(file: BinaryIO, size: int, budget: Budget) -> object:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:1] != _PICKLE_START:
            raise ForeignFileError("it is neither a pickle of protocol 2 or later nor a torch.save file")
        found = Unpickler(content, budget, REBUILDERS).load()
        rest = size - content.tell()
    if rest:
        raise ForeignFileError(f"{rest} bytes follow the end of the pickle")
    return found


def _read_zip(file: BinaryIO, size: int, budget: Budget) -> object:
    try:
        with zipfile.ZipFile(file) as archive:
            return _read_members(archive, _check_members(archive, size), budget)
    except ForeignFileError:
        raise
    except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError, struct.error) as error:  # zipfile's
        raise ForeignFileError(f"it is not a readable zip file: {shown(str(error))}") from None


def _read_members(archive: zipfile.ZipFile, members: set[str], budget: Budget) -> object:
    """``FOLDER/data.pkl`` is a pickle in which persistent ids refer to storages, the members ``FOLDER/data/KEY``."""
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ForeignFileError(f"the zip file has {len(pickles)} data.pkl, so it is not one of torch.save")
    folder = pickles[0].removesuffix("data.pkl")
    byteorder = f"{folder}byteorder"
    if byteorder in members and archive.read(byteorder) != b"little":
        raise ForeignFileError("the zip file was written on a big-endian machine")
    storages: dict[str, Storage] = {}

    def storage(persistent_id: object) -> Storage:
        reference = storage_reference(persistent_id)
        member = f"{folder}data/{reference.key}"
        if member not in members:
            raise ForeignFileError(f"the zip file has no storage {shown(reference.key)!r}")
        if reference.key not in storages:
            storages[reference.key] = reference.holding(memoryview(archive.read(member)))
        found = storages[reference.key]
        if (found.dtype, found.count) != (reference.dtype, reference.count):
            raise ForeignFileError(f"the storage {shown(reference.key)!r} is said to be of two types or sizes")
        return found

    with archive.open(pickles[0]) as stream:
        return Unpickler(stream, budget, REBUILDERS, storage).load()


def _check_members(archive: zipfile.ZipFile, size: int) -> set[str]:
    """Names of the members. torch stores them as they are, so a compressed one is a bomb or not torch's."""
    entries = archive.infolist()
    if len(entries) > MOST_MEMBERS:
        raise ForeignFileError(f"the zip file has {len(entries)} members, and must have at most {MOST_MEMBERS}")
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename:
            raise ForeignFileError(f"the zip file's member {shown(entry.filename)!r} lies outside of it")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise ForeignFileError(f"the zip file's member {shown(entry.filename)!r} is compressed or encrypted")
    if sum(entry.file_size for entry in entries) > size:
        raise ForeignFileError("the zip file's members overlap")
    names = {entry.filename for entry in entries}
    if len(names) < len(entries):
        raise ForeignFileError("the zip file has two members of one name")
    return names
