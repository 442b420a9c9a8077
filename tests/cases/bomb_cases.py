"""Files that exhaust the memory, the time or the stack of a reader that trusts what they declare."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable

from foreign_cases import Stored
from hostile_cases import (
    PROTOCOL,
    as_parameter,
    call,
    in_arguments,
    legacy,
    name,
    network_with,
    ones,
    tensor_of,
    text,
)
from torch import nn


def zipped(*members: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return stream.getvalue()


def repeated_entry(content: bytes) -> bytes:
    """A zip whose directory lists one big member many times, under other names: overlapping, so not compressed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", content)
        for i in range(50):
            entry = zipfile.ZipInfo(f"a/data/{i}")
            source = archive.filelist[0]
            for field in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(entry, field, getattr(source, field))
            archive.filelist.append(entry)
        archive._didModify = True
    return stream.getvalue()


def doubling(levels: int) -> list:
    """A list of 2^levels items, in a pickle of a few bytes a level."""
    value: list = ["x"]
    for _ in range(levels):
        value = [value, value]
    return value


def deep_modules(levels: int) -> bytes:
    def change(content: dict, network: Stored) -> None:
        module = network
        for _ in range(levels):
            module._modules["inner"] = nn.Sequential()
            module = module._modules["inner"]

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        return network_with(change)
    finally:
        sys.setrecursionlimit(limit)


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


def nested(opening: bytes, closing: bytes, levels: int) -> bytes:
    return PROTOCOL + opening * levels + closing * levels + b"."


def many_views(count: int) -> bytes:
    """Tensors that are all the same storage: together far larger than the file."""
    storage = call(
        "torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", len(legacy(ones(4096)))) + legacy(ones(4096))
    )
    view = name("torch._utils", "_rebuild_tensor_v2") + b"(h\x00K\x00M\x00\x10\x85K\x01\x85\x89}tR"
    return PROTOCOL + storage + b"q\x00](" + view * count + b"e."


def many_sets(count: int) -> bytes:
    """Sets of one list of 20,000 numbers, which the file holds once."""
    numbers = b"](" + b"".join(b"M" + struct.pack("<H", i) for i in range(20_000)) + b"eq\x00"
    make = name("builtins", "set") + b"q\x01"
    return PROTOCOL + numbers + make + b"](" + b"h\x01h\x00\x85R" * count + b"e."


def many_encodings(count: int) -> bytes:
    """Bytes encoded of one text of a mebibyte, which the file holds once."""
    arguments = text("x" * (1 << 20)) + text("latin1") + b"\x86q\x00"
    return PROTOCOL + arguments + name("_codecs", "encode") + b"q\x01](" + b"h\x01h\x00R" * count + b"e."


def many_storages(count: int) -> bytes:
    """Storages of the same nested bytes, in which a text of a mebibyte is read and dropped."""
    content = legacy(ones(4))
    padded = content[:2] + text("x" * (1 << 20)) + b"0" + content[2:]
    nested = b"B" + struct.pack("<I", len(padded)) + padded + b"\x85q\x00"
    load = name("torch.storage", "_load_from_bytes") + b"q\x01"
    return PROTOCOL + nested + load + b"](" + b"h\x01h\x00R" * count + b"e."


def length(kind: str, opcode: int, count: int) -> bytes:
    """An opcode that declares ``count`` bytes to follow."""
    return bytes([opcode]) + struct.pack(f"<{kind}", count)


def view(count: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A network one of whose parameters is such a view of ``count`` numbers."""
    return as_parameter(tensor_of(legacy(ones(count)), 0, size, stride))


# The file's bytes, and what its refusal says.
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "memo": (lambda: network_with(in_arguments(doubling(60))), "its dropout is a list"),
    "memo_as_content": (lambda: pickle.dumps(doubling(60)), "without a network"),
    "tower_of_modules": (lambda: network_with(tower(12)), "in another place"),
    "deep_modules": (lambda: deep_modules(200), "nested more than"),
    "deep_tuples": (lambda: PROTOCOL + b")" + b"\x85" * 100_000 + b".", "without a network"),
    "deep_tuple_as_key": (lambda: PROTOCOL + b"})" + b"\x85" * 100_000 + b"Ns.", "dictionary's key"),
    "deep_marks": (lambda: nested(b"(", b"t", 100_000), "without a network"),
    "operations": (lambda: PROTOCOL + b"N0" * 210_000 + b"N.", "more operations"),
    "long_integer": (lambda: PROTOCOL + length("i", 0x8B, 1 << 20) + b"\x7f" * (1 << 20) + b".", "8388607 bits"),
    "declared_bytes": (lambda: PROTOCOL + length("Q", 0x8E, 1 << 50) + b"x.", "not a complete pickle"),
    "declared_text": (lambda: PROTOCOL + length("Q", 0x8D, 1 << 62) + b"x.", "not a complete pickle"),
    "declared_integer": (lambda: PROTOCOL + length("i", 0x8B, (1 << 31) - 1) + b"x.", "not a complete pickle"),
    "declared_frame": (lambda: PROTOCOL + length("Q", 0x95, 1 << 60), "not a complete pickle"),
    "huge_memo_index": (lambda: PROTOCOL + b"Nr\xff\xff\xff\xff.", "without a network"),
    "digits": (lambda: b"\x80\x02I" + b"9" * 1_000_000 + b"\n.", "not a complete pickle"),
    "many_views": (lambda: many_views(5000), "more bytes than the whole file"),
    "many_sets": (lambda: many_sets(500), "more operations"),
    "many_encodings": (lambda: many_encodings(500), "encoded bytes take more bytes than the whole file"),
    "many_storages": (lambda: many_storages(500), "nested storages take more bytes than the whole file"),
    "expanding_strides": (lambda: view(4, (1 << 20, 1 << 20), (0, 0)), "natural numbers"),
    "overlapping_strides": (lambda: view(64, (32, 32), (1, 1)), "more than once"),
    "compressed_zip": (lambda: zipped(("a/data.pkl", bytes(50 << 20)), how=zipfile.ZIP_DEFLATED), "is compressed"),
    "overlapping_zip": (lambda: repeated_entry(pickle.dumps(bytes(100_000))), "overlap"),
    "many_members": (lambda: zipped(*[(f"a/{i}", b"") for i in range(5_001)]), "5001 members"),
}
