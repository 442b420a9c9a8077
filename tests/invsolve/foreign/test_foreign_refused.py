"""Files that are not the network they should be: broken, or with wrong tensors or arguments. Refused in one line."""

from __future__ import annotations

import json
import math
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from bomb_cases import zipped
from foreign_cases import SMALL, Stored, random_tensors, refused, stored
from hostile_cases import PROTOCOL, Call, as_parameter, call, holding, legacy, name, of_name, ones, tensor_of, text
from torch import nn

from invsolve.foreign.published import published_network
from invsolve.foreign.torch_file import read_foreign
from invsolve.foreign.unpickler import ForeignFileError

GAIN = "ctrl.enc.16x16_block0.emb_gain"


def with_tensors(change: Callable[[dict], None]) -> bytes:
    """A network whose tensors were changed before it was stored."""
    tensors = random_tensors(SMALL, conditional=True)
    change(tensors)
    return stored(tensors=tensors)


def changed(old: bytes, new: bytes) -> Call:
    """A tensor whose storage's nested bytes have something in them replaced."""
    content = legacy(ones(4))
    assert content.count(old) >= 1
    return tensor_of(content.replace(old, new))


def rebuilt(*arguments: object) -> Call:
    return Call(torch._utils._rebuild_tensor_v2, *arguments)


STORAGE = Call(torch.storage._load_from_bytes, legacy(ones(4)))


def shared_module(content: dict, network: Stored) -> None:
    network.ctrl._modules["emb_noise"] = network.enc._modules["emb_noise"]


def shared_tensor(content: dict, network: Stored) -> None:
    network.ctrl._modules["emb_noise"]._parameters["weight"] = network.enc._modules["emb_noise"].weight


NETWORKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "nan": (lambda: with_tensors(lambda t: t[GAIN].fill_(math.nan)), f"model.{GAIN} has NaN or infinite values"),
    "infinite": (lambda: with_tensors(lambda t: t[GAIN].fill_(-math.inf)), f"model.{GAIN} has NaN or infinite values"),
    "missing": (lambda: with_tensors(lambda t: t.pop("dec.out_gain")), "model.dec.out_gain is missing"),
    "surplus": (lambda: with_tensors(lambda t: t.update({"dec.bias": torch.ones(3)})), "model.dec.bias has no place"),
    "shape": (
        lambda: with_tensors(lambda t: t.update({"dec.out_conv.weight": torch.ones(3, 8, 3, 1)})),
        r"dec.out_conv.weight is \[3, 8, 3, 1\], expected \[3, 8, 3, 3\]",
    ),
    "integers": (
        lambda: with_tensors(lambda t: t.update({"logvar_fourier.freqs": torch.arange(128)})),
        "freqs is int64, expected float16, bfloat16 or float32",
    ),
    "shared_module": (lambda: stored(change=shared_module), "is also in another place"),
    "shared_tensor": (lambda: stored(change=shared_tensor), "is also in another place"),
    "adapter": (
        lambda: stored(change=lambda _, network: network.enc.emb_noise.add_module("lora_A", nn.Linear(2, 2))),
        "lora_A.(weight|bias) has no place",
    ),
    "numpy_object_scalar": (
        lambda: of_name("numpy._core.multiarray", "scalar", call("numpy", "dtype", text("O")) + b"C\x01x\x86R"),
        "holds a numpy object without a network",
    ),
    "no_network": (lambda: pickle.dumps({"net": 1}), "without a network under the key 'ema'"),
    "a_list": (lambda: pickle.dumps([1, 2]), "holds a list without a network"),
    "tensor_for_network": (lambda: pickle.dumps({"ema": torch.ones(3)}), "ema is a Tensor, neither a network"),
    "other_class": (lambda: pickle.dumps({"ema": nn.Linear(2, 2)}), "ema is a Linear object, not a Precond"),
    "state_dict": (lambda: pickle.dumps({"ema": nn.Linear(2, 2).state_dict()}), "ema is a dict, neither a network"),
}

# A value in some place of an otherwise good network, and what the refusal says.
ATTRIBUTES: dict[str, tuple[str, str, object, str]] = {
    "unknown": ("arguments", "depth", 3, "its argument 'depth' is not one of"),
    "balance": ("arguments", "res_balance", 0.5, "its res_balance is 0.5, and only 0.3 is supported"),
    "filter": ("arguments", "resample_filter", [1, 3, 3, 1], "its resample_filter is a list"),
    "tensor": ("arguments", "res_balance", torch.ones(3), "its res_balance is a Tensor"),
    "tensors": ("arguments", "resample_filter", [torch.ones(2), 1], "its resample_filter is a list"),
    "fraction": ("arguments", "num_blocks", 1.5, "its num_blocks is 1.5, not an integer"),
    "boolean": ("arguments", "model_channels", True, "its model_channels is True, not an integer"),
    "huge": ("arguments", "num_blocks", 10**9, "its num_blocks is 1000000000, not an integer from 1 to 32"),
    "negative": ("arguments", "label_dim", -1, "its label_dim is -1, not an integer"),
    "text": ("arguments", "channel_mult", "1,2", "its channel_mult is '1,2', not a list"),
    "many_levels": ("arguments", "channel_mult", [1] * 9, "channel_mult is a list, not a list of at most 8"),
    "no_levels": ("arguments", "channel_mult", [], "do not make a network"),
    "odd": ("arguments", "img_resolution", 17, "its img_resolution is 17, which cannot be halved"),
    "other_size": ("arguments", "img_resolution", 32, "16x16_block0|missing|has no place"),
    "wider": ("arguments", "model_channels", 12, r"expected \["),
    "classes": ("arguments", "label_dim", 10, "emb_label.weight is missing"),
    "dropout": ("arguments", "dropout", float("nan"), "its dropout is nan"),
    "not_named": ("network", "_init_args", (3,), "does not say its constructor's keyword arguments"),
    "not_recorded": ("network", "_init_kwargs", None, "has None for its _init_kwargs"),
    "gamma": ("ema", "gamma", float("inf"), "its gamma is inf, not a positive number"),
    "no_gamma": ("ema", "gamma", None, "its gamma is None, not a positive number"),
    "sigma_data": ("network", "sigma_data", -0.5, "its sigma_data is -0.5"),
    "tables": ("network", "_buffers", [1], "a list for its _buffers"),
    "tensor_of_the_wrapper": ("ema_buffers", "scale", torch.ones(1), "scale has no place"),
    "adapter": ("parts", "lora_A", nn.Linear(2, 2), "lora_A.(weight|bias) has no place"),
    "other_class": ("ema_parts", "model", nn.Linear(2, 2), "ema.model is a Linear object, not a PrecondCondition"),
    "tensor_for_part": ("parts", "weight", torch.ones(1), "emb_noise.weight is a Tensor among the _modules"),
    "numpy_parameter": ("parameters", "emb_gain", np.ones(3), "enc.emb_gain is a numpy object among"),
    "numpy_objects": ("parameters", "emb_gain", np.array([{}, "x"], dtype=object), "a numpy object among"),
    "list_parameter": ("parameters", "emb_gain", [1.0, 2.0], "enc.emb_gain is a list among"),
    "object_parameter": ("parameters", "emb_gain", nn.Identity(), "a Identity object among the _parameters"),
    "name_parameter": ("parameters", "emb_gain", nn.Identity, "is the name torch.nn.modules.linear.Identity among"),
}

# A tensor, or what stands for one, and what the refusal says.
FOUR = legacy(ones(4))
TENSORS: dict[str, tuple[Call, str]] = {
    "beyond": (tensor_of(FOUR, 2, (4,), (1,)), "ends at number 6 of a storage of 4"),
    "before": (tensor_of(FOUR, -2, (2,), (1,)), "natural numbers"),
    "negative_stride": (tensor_of(FOUR, 3, (4,), (-1,)), "natural numbers"),
    "negative_size": (tensor_of(FOUR, 0, (-4,), (1,)), "natural numbers"),
    "fraction": (tensor_of(FOUR, 0, (2.0,), (1,)), "natural numbers"),
    "flag": (tensor_of(FOUR, 0, (True,), (1,)), "natural numbers"),
    "huge_size": (tensor_of(FOUR, 0, (1 << 62,), (1,)), "ends at number 4611686018427387904"),
    "dimensions": (tensor_of(FOUR, 0, (1,) * 9, (1,) * 9), "natural numbers"),
    "skipping": (tensor_of(FOUR, 0, (2,), (2,)), "skip numbers"),
    "no_storage": (rebuilt(b"x", 0, (1,), (1,), False, OrderedDict()), "made of a bytes, not of a storage"),
    "hooks": (rebuilt(STORAGE, 0, (4,), (1,), False, [1]), "has backward hooks"),
    "hooks_of_a_tensor": (rebuilt(STORAGE, 0, (4,), (1,), False, torch.ones(2)), "has backward"),
    "few_values": (rebuilt(1), "missing 3 required positional arguments"),
    "cut": (tensor_of(FOUR[:-3]), "13 bytes but should have 4 numbers of float32"),
    "long": (tensor_of(FOUR + b"x"), "17 bytes but should have 4 numbers"),
    "count": (changed(b"\x04" + bytes(7), b"\x05" + bytes(7)), "has 4 numbers, and then that it has 5"),
    "magic": (changed(b"\x6c\xfc\x9c\x46", b"\x6c\xfc\x9c\x47"), "are not torch.save's old form"),
    "big_endian": (changed(b"little_endianq\x02\x88", b"little_endianq\x02\x89"), "of a little-endian machine"),
    "storage_type": (changed(b"ctorch\nFloatStorage", b"ctorch\nWrongStorage"), "not torch's reference"),
    "zip_inside": (tensor_of(zipped(("a/data.pkl", b"N."))), "neither a pickle"),
    "zip_with_a_newline_inside": (tensor_of(zipped(("a/data.pkl", b"N.\n"))), "neither a pickle"),
    "empty_bytes": (tensor_of(b""), "neither a pickle"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_a_wrong_network_is_refused(tmp_path, case, capsys):
    refused(tmp_path, NETWORKS[case][0](), NETWORKS[case][1], capsys)


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_a_wrong_argument_or_attribute_is_refused(tmp_path, case, capsys):
    *where, value, message = ATTRIBUTES[case]
    refused(tmp_path, holding(*where, value), message, capsys)


@pytest.mark.parametrize("case", TENSORS)
def test_a_wrong_tensor_is_refused(tmp_path, case, capsys):
    refused(tmp_path, as_parameter(TENSORS[case][0]), TENSORS[case][1], capsys)


@pytest.mark.parametrize("kept", [0.0, 1e-4, 0.01, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("form", ["pickle", "zip"])
def test_a_truncated_file_is_refused(tmp_path, kept, form, capsys):
    content = stored(zipped=form == "zip")
    message = "it is empty" if kept == 0 else "a complete pickle|not a readable zip file"
    refused(tmp_path, content[: int(kept * len(content))], message, capsys)


def reference(key: str, kind: str = "FloatStorage", count: int = 4) -> bytes:
    """A zip's pickle: a persistent id that refers to the storage ``key``."""
    entries = text("storage") + name("torch", kind) + text(key) + text("cpu") + b"K" + bytes([count])
    return PROTOCOL + b"(" + entries + b"tQ."


def corrupted() -> bytes:
    content = zipped(("a/data.pkl", reference("0")), ("a/data/0", b"0123456789abcdef"))
    return content.replace(b"0123456789abcdef", b"0123456789abcdeX")


ZIPS: dict[str, tuple[Callable[[], bytes], str]] = {
    "no_pickle": (lambda: zipped(("a/model.json", b"{}")), "has 0 data.pkl"),
    "two_pickles": (lambda: zipped(("a/data.pkl", b"N."), ("b/data.pkl", b"N.")), "has 2 data.pkl"),
    "upwards": (lambda: zipped(("a/data.pkl", b"N."), ("../../evil", b"x")), "lies outside of 'a/'"),
    "absolute": (lambda: zipped(("a/data.pkl", b"N."), ("/etc/passwd", b"x")), "lies outside of 'a/'"),
    "backslashes": (lambda: zipped(("a/data.pkl", b"N."), ("..\\evil", b"x")), "lies outside of 'a/'"),
    "missing_storage": (lambda: zipped(("a/data.pkl", reference("0"))), "has no storage '0'"),
    "storage_outside": (lambda: zipped(("a/data.pkl", reference("../../../etc/passwd"))), "has no storage"),
    "short_storage": (lambda: zipped(("a/data.pkl", reference("0")), ("a/data/0", bytes(15))), "has 15 bytes"),
    "storage_type": (lambda: zipped(("a/data.pkl", reference("0", "QInt8Storage"))), "not torch's reference"),
    "byte_order": (lambda: zipped(("a/data.pkl", b"N."), ("a/byteorder", b"big")), "big-endian"),
    "checksum": (corrupted, "not a readable zip file: Bad CRC"),
    "network_missing": (lambda: zipped(("a/data.pkl", PROTOCOL + b"N.")), "holds None without a network"),
    "persistent_id": (lambda: zipped(("a/data.pkl", PROTOCOL + b"K\x01Q.")), "a persistent id is 1,"),
}


@pytest.mark.parametrize("case", ZIPS)
def test_a_wrong_zip_file_is_refused(tmp_path, case, capsys):
    refused(tmp_path, ZIPS[case][0](), ZIPS[case][1], capsys)


PICKLES: dict[str, tuple[bytes, str]] = {
    "text": (b"<html>404: not found</html>\n", "neither a pickle of protocol 2"),
    "json": (json.dumps({"ema": None}).encode(), "neither a pickle of protocol 2"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(64), "neither a pickle of protocol 2"),
    "underflow": (PROTOCOL + b"R.", "not a complete pickle"),
    "unknown_memo": (PROTOCOL + b"h\x07.", "not a complete pickle"),
    "unmatched_mark": (PROTOCOL + b"t.", "not a complete pickle"),
    "nothing": (PROTOCOL + b".", "not a complete pickle"),
    "follows": (pickle.dumps({}) + b"cos\nsystem\n.", "12 bytes follow the end"),
    "protocol": (b"\x80\x06N.", "unsupported pickle protocol: 6"),
    "key_twice": (PROTOCOL + b"}(K\x01NK\x01Nu.", "sets the dictionary key 1 twice"),
    "odd_items": (PROTOCOL + b"}(K\x01u.", "not a complete pickle"),
    "append_to_object": (of_name("torch.nn", "M", b")\x81Na"), "has no attribute 'append'"),
    "items_of_object": (of_name("torch.nn", "M", b")\x81NNs"), "adds items to a M object, not to a dict"),
    "state_twice": (of_name("torch.nn", "M", b")\x81}b}b"), "sets the state of a M object"),
    "state_of_list": (PROTOCOL + b"]}b.", "sets the state of a list"),
    "call_of_class": (of_name("torch.nn", "M", b")R"), "calls the name torch.nn.M"),
    "call_of_number": (PROTOCOL + b"K\x01)R.", "calls 1,"),
    "call_without_tuple": (of_name("torch", "Size", b"NR"), "calls torch.Size with None for arguments"),
    "instance_of_number": (PROTOCOL + b"K\x01)\x81.", "an instance of 1 "),
    "name_of_numbers": (PROTOCOL + b"K\x01K\x02\x93.", "STACK_GLOBAL requires str"),
    "escapes": (of_name("os", "\x1b[2J\nsystem", b""), r"refers to os.\\x1b\[2J\\nsystem"),
    "meta": (
        of_name("torch_utils.persistence", "_reconstruct_persistent_obj", b"}\x85R"),
        "without class_name",
    ),
}


@pytest.mark.parametrize("case", PICKLES)
def test_a_malformed_pickle_is_refused(tmp_path, case, capsys):
    refused(tmp_path, PICKLES[case][0], PICKLES[case][1], capsys)


def test_an_encrypted_member_is_refused(tmp_path, capsys):
    content = bytearray(zipped(("a/data.pkl", b"N.")))
    flags = content.index(zipfile.stringCentralDir) + 8
    content[flags] |= 1
    refused(tmp_path, bytes(content), "compressed or encrypted", capsys)


@pytest.mark.parametrize("form", ["pickle", "zip"])
def test_random_damage_raises_nothing_else(tmp_path, form):
    """Bytes changed, put in and left out, anywhere: the file is read, or refused by the one error."""
    whole = stored(zipped=form == "zip")
    generator, path, refusals = random.Random(0), tmp_path / "foreign.pkl", 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(generator.choice((1, 3, 10))):
            at = generator.randrange(generator.choice((len(content), 6000)))
            content[at : at + generator.randrange(3)] = generator.randbytes(generator.randrange(3))
        path.write_bytes(content)
        try:
            published_network(read_foreign(path))
        except ForeignFileError:
            refusals += 1
    assert refusals > 75
