"""Files that exhaust the memory, the time or the stack of a reader that trusts what they declare."""

from __future__ import annotations

import copy
import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable

from foreign_cases import Stored, stored
from hostile_cases import PROTOCOL, as_parameter, call, holding, legacy, name, ones, tensor_of, text
from torch import nn


def zipped(*members: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file, of the same bytes whenever it is made: its members' time stamps are zipfile's zero."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for member, content in members:
            archive.writestr(zipfile.ZipInfo(member), content, how)
    return stream.getvalue()


def repeated_entry(content: bytes) -> bytes:
    """A zip whose directory lists one big member many times, under other names: overlapping, so not compressed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a/data.pkl"), content)
        for i in range(50):
            entry = copy.copy(archive.filelist[0])
            entry.filename = f"a/data/{i}"
            archive.filelist.append(entry)
        archive._didModify = True
    return stream.getvalue()


def doubling(levels: int) -> list:
    """A list of 2^levels items, in a pickle of a few bytes a level."""
    value: list = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


def deep_modules(levels: int) -> Callable[[dict, Stored], None]:
    def change(content: dict, network: Stored) -> None:
        for _ in range(levels):
            network._modules["inner"] = network = nn.Sequential()

    return change


def tower(levels: int) -> Callable[[dict, Stored], None]:
    """Modules whose two parts are one module, so that a walk would take 2^levels steps."""

    def change(content: dict, network: Stored) -> None:
        module = nn.Sequential()
        for _ in range(levels):
            outer = nn.Sequential()
            outer._modules.update(a=module, b=module)
            module = outer
        network._modules["tower"] = module

    return change


def many_calls(count: int, function: tuple[str, str], arguments: bytes) -> bytes:
    """A list of the results of ``count`` calls with the same arguments, which the file holds once."""
    once = PROTOCOL + name(*function) + b"q\x00" + arguments + b"q\x01]("
    return once + b"h\x00h\x01R" * count + b"e."


def data(content: bytes) -> bytes:
    """BINBYTES."""
    return b"B" + struct.pack("<I", len(content)) + content


REBUILD = ("torch._utils", "_rebuild_tensor_v2")
TEXT = text("x" * (1 << 20)) + text("latin1")
# The arguments of a call that makes a tensor of 4096 numbers, without the tuple's end.
VIEW = call("torch.storage", "_load_from_bytes", data(legacy(ones(4096)))) + b"K\x00M\x00\x10\x85K\x01\x85\x89}"


def many_sets(count: int) -> bytes:
    numbers = b"](" + b"".join(b"M" + struct.pack("<H", i) for i in range(20_000)) + b"e\x85"
    return many_calls(count, ("builtins", "set"), numbers)


def many_storages(count: int) -> bytes:
    """Storages in whose nested bytes a text of a mebibyte is read and dropped."""
    content = legacy(ones(4))
    padded = content[:2] + text("x" * (1 << 20)) + b"0" + content[2:]
    return many_calls(count, ("torch.storage", "_load_from_bytes"), data(padded) + b"\x85")


def colliding_keys(count: int) -> bytes:
    """A dictionary of integers that all have one hash, which takes time in proportion to the square of their number."""
    keys = [(i * sys.hash_info.modulus).to_bytes(16, "little") for i in range(count)]
    return PROTOCOL + b"}(" + b"".join(b"\x8a\x10" + key + b"N" for key in keys) + b"u."


def length(kind: str, opcode: int, count: int) -> bytes:
    """An opcode that declares ``count`` bytes to follow."""
    return bytes([opcode]) + struct.pack(f"<{kind}", count)


def view(count: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A network one of whose parameters is such a view of ``count`` numbers."""
    return as_parameter(tensor_of(legacy(ones(count)), 0, size, stride))


# The file's bytes, and what its refusal says.
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "memo": (lambda: holding("arguments", "dropout", doubling(60)), "its dropout is a list"),
    "memo_as_content": (lambda: pickle.dumps(doubling(60)), "without a network"),
    "tower_of_modules": (lambda: stored(change=tower(12)), "in another place"),
    "deep_modules": (lambda: stored(change=deep_modules(50)), "nested more than"),
    "deep_tuples": (lambda: PROTOCOL + b")" + b"\x85" * 100_000 + b".", "without a network"),
    "deep_tuple_as_key": (lambda: PROTOCOL + b"})" + b"\x85" * 100_000 + b"Ns.", "dictionary's key"),
    "deep_marks": (lambda: PROTOCOL + b"(" * 100_000 + b"t" * 100_000 + b".", "without a network"),
    "deep_instances": (lambda: PROTOCOL + (name("a", "M") + b")\x81") * 50_000 + b"b" * 49_999 + b".", "a M object"),
    "colliding_keys": (lambda: colliding_keys(100_000), "dictionary's key"),
    "members_of_a_tensor": (
        lambda: PROTOCOL + call("torch._utils", "_rebuild_tensor_v2", VIEW) + b"(K\x01\x90.",
        "not to a set",
    ),
    "operations": (lambda: PROTOCOL + b"N0" * 210_000 + b"N.", "more operations"),
    "long_integer": (lambda: PROTOCOL + length("i", 0x8B, 1 << 20) + b"\x7f" * (1 << 20) + b".", "8388607 bits"),
    "declared_bytes": (lambda: PROTOCOL + length("Q", 0x8E, 1 << 50) + b"x.", "not a complete pickle"),
    "declared_text": (lambda: PROTOCOL + length("Q", 0x8D, 1 << 62) + b"x.", "not a complete pickle"),
    "declared_integer": (lambda: PROTOCOL + length("i", 0x8B, (1 << 31) - 1) + b"x.", "not a complete pickle"),
    "declared_frame": (lambda: PROTOCOL + length("Q", 0x95, 1 << 60), "not a complete pickle"),
    "huge_memo_index": (lambda: PROTOCOL + b"Nr\xff\xff\xff\xff.", "without a network"),
    "digits": (lambda: b"\x80\x02I" + b"9" * 1_000_000 + b"\n.", "not a complete pickle"),
    "many_views": (
        lambda: many_calls(5000, REBUILD, b"(" + VIEW + b"t"),
        "larger than the whole file",
    ),
    "many_sets": (lambda: many_sets(500), "more operations"),
    "many_encodings": (
        lambda: many_calls(500, ("_codecs", "encode"), TEXT + b"\x86"),
        "larger than the whole file",
    ),
    "many_storages": (lambda: many_storages(500), "larger than the whole file"),
    "expanding_strides": (lambda: view(4, (1 << 20, 1 << 20), (0, 0)), "natural numbers"),
    "overlapping_strides": (lambda: view(64, (32, 32), (1, 1)), "more than once"),
    "compressed_zip": (lambda: zipped(("a/data.pkl", bytes(50 << 20)), how=zipfile.ZIP_DEFLATED), "is compressed"),
    "overlapping_zip": (lambda: repeated_entry(pickle.dumps(bytes(100_000))), "overlap"),
    "many_members": (lambda: zipped(*[(f"a/{i}", b"") for i in range(5_001)]), "more than 5000 members"),
}
