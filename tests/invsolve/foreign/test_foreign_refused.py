"""Files that are not the network they should be: broken, or with wrong tensors or arguments. Refused in one line."""

from __future__ import annotations

import io
import json
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from bomb_cases import zipped
from foreign_cases import SMALL, Stored, random_tensors, refused, write_stored
from hostile_cases import PROTOCOL, Call, as_parameter, legacy, name, network_with, ones, tensor_of, text
from torch import nn

from invsolve.foreign.published import published_network
from invsolve.foreign.reader import read_foreign
from invsolve.foreign.symbols import ForeignFileError

GAIN = "ctrl.enc.16x16_block0.emb_gain"


def with_tensors(change: Callable[[dict], None], conditional: bool = True) -> Callable[[], bytes]:
    """A network whose tensors were changed before it was stored."""

    def make() -> bytes:
        tensors = random_tensors(SMALL, conditional)
        change(tensors)
        return stored(tensors=tensors, conditional=conditional)

    return make


def stored(conditional: bool = True, **how: object) -> bytes:
    file = io.BytesIO()
    file.write_bytes = file.write  # as a Path's
    write_stored(file, SMALL, conditional, **how)
    return file.getvalue()


def with_arguments(**arguments: object) -> Callable[[], bytes]:
    """A network with other constructor arguments than its tensors'."""
    return lambda: network_with(lambda content, network: network.__dict__["_init_kwargs"].update(arguments))


def with_attribute(place: str, key: str, value: object) -> Callable[[], bytes]:
    def change(content: dict, network: Stored) -> None:
        {"ema": content["ema"], "network": network}[place].__dict__[key] = value

    return lambda: network_with(change)


def with_value(value: object) -> Callable[[], bytes]:
    """A network with ``value`` in a parameter's place."""
    return lambda: as_parameter(value)


def viewed(content: Callable[[], bytes], *view: object) -> Callable[[], bytes]:
    """A network one of whose parameters is such a view of a storage with these nested bytes."""
    return lambda: as_parameter(tensor_of(content(), *view))


def rebuilt(*arguments: object) -> Call:
    return Call(torch._utils._rebuild_tensor_v2, *arguments)


STORAGE = Call(torch.storage._load_from_bytes, legacy(ones(4)))


def changed(old: bytes, new: bytes) -> Callable[[], bytes]:
    """The nested bytes of a storage of 4 numbers, with something in them replaced."""

    def make() -> bytes:
        content = legacy(ones(4))
        assert content.count(old) >= 1
        return content.replace(old, new)

    return make


def twice(name: str, other: str) -> Callable[[dict], None]:
    return lambda tensors: tensors.update({other: tensors[name]})


def shared_module(content: dict, network: Stored) -> None:
    network.ctrl._modules["emb_noise"] = network.enc._modules["emb_noise"]


def lora(content: dict, network: Stored) -> None:
    network.enc.emb_noise._modules["lora_A"] = nn.Linear(2, 2)


NETWORKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "nan": (with_tensors(lambda t: t[GAIN].fill_(float("nan"))), f"its tensor model.{GAIN} has NaN or infinite values"),
    "infinite": (
        with_tensors(lambda t: t["dec.out_conv.weight"][0, 0].fill_(-float("inf"))),
        "out_conv.weight has NaN",
    ),
    "missing": (with_tensors(lambda t: t.pop("dec.out_gain")), "its tensor model.dec.out_gain is missing"),
    "surplus": (with_tensors(lambda t: t.update({"dec.out_bias": torch.ones(3)})), "model.dec.out_bias has no place"),
    "shape": (
        with_tensors(lambda t: t.update({"dec.out_conv.weight": torch.ones(3, 8, 3, 1)})),
        r"dec.out_conv.weight is \[3, 8, 3, 1\], expected \[3, 8, 3, 3\]",
    ),
    "integers": (
        with_tensors(lambda t: t.update({"logvar_fourier.freqs": torch.arange(128)})),
        "freqs is int64, expected float16, bfloat16 or float32",
    ),
    "double": (
        with_tensors(lambda t: t.update({"logvar_fourier.freqs": t["logvar_fourier.freqs"].double()})),
        "freqs is float64, expected",
    ),
    "tensor_of_the_wrapper": (
        lambda: network_with(lambda content, _: content["ema"].register_buffer("scale", torch.ones(1))),
        "scale has no place",
    ),
    "shared_module": (lambda: network_with(shared_module), "is also in another place"),
    "adapter": (lambda: network_with(lora), "lora_A.(weight|bias) has no place"),
    "numpy_parameter": (with_value(np.ones(3)), "enc.emb_gain is a ndarray object, not a tensor"),
    "numpy_objects": (with_value(np.array([{}, "x"], dtype=object)), "a ndarray object, not a tensor"),
    "numpy_object_scalar": (
        lambda: (
            PROTOCOL
            + (name("numpy._core.multiarray", "scalar") + name("numpy", "dtype") + text("O") + b"\x85RC\x01x\x86R.")
        ),
        "numpy.dtype of a str|numpy scalar",
    ),
    "list_parameter": (with_value([1.0, 2.0]), "enc.emb_gain is a list, not a tensor"),
    "object_parameter": (with_value(nn.Identity()), "enc.emb_gain is a Identity object, not a tensor"),
    "name_parameter": (with_value(nn.Identity), "enc.emb_gain is the name torch.nn.modules.linear.Identity"),
    "no_network": (lambda: pickle.dumps({"net": 1}), "without a network under the key 'ema'"),
    "a_list": (lambda: pickle.dumps([1, 2]), "holds a list without a network"),
    "tensor_for_network": (lambda: pickle.dumps({"ema": torch.ones(3)}), "ema is a Tensor, not a network"),
    "other_class": (lambda: pickle.dumps({"ema": nn.Linear(2, 2)}), "ema is a Linear object, not a Precond"),
    "other_class_inside": (
        lambda: network_with(lambda content, _: content["ema"]._modules.update(model=nn.Linear(2, 2))),
        "ema.model is a Linear object, not a PrecondCondition",
    ),
    "state_dict": (lambda: pickle.dumps({"ema": nn.Linear(2, 2).state_dict()}), "ema is a dict, not a network"),
}

ARGUMENTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "unknown": (with_arguments(depth=3), "its argument 'depth' is not one of"),
    "balance": (with_arguments(res_balance=0.5), "its res_balance is 0.5, and only 0.3 is supported"),
    "filter": (with_arguments(resample_filter=[1, 3, 3, 1]), "its resample_filter is a list"),
    "tensor": (with_arguments(res_balance=torch.ones(3)), "its res_balance is a Tensor"),
    "tensors": (with_arguments(resample_filter=[torch.ones(2), 1]), "its resample_filter is a list"),
    "fraction": (with_arguments(num_blocks=1.5), "its num_blocks is 1.5, not an integer"),
    "boolean": (with_arguments(model_channels=True), "its model_channels is True, not an integer"),
    "huge": (with_arguments(num_blocks=10**9), "its num_blocks is 1000000000, not an integer from 1 to 32"),
    "negative": (with_arguments(label_dim=-1), "its label_dim is -1, not an integer"),
    "text": (with_arguments(channel_mult="1,2"), "its channel_mult is '1,2', not a list"),
    "many_levels": (with_arguments(channel_mult=[1] * 9), "channel_mult is a list, not a list of at most 8"),
    "no_levels": (with_arguments(channel_mult=[]), "do not make a network"),
    "odd": (with_arguments(img_resolution=17), "its img_resolution is 17, which cannot be halved"),
    "other_size": (with_arguments(img_resolution=32), "16x16_block0|missing|has no place"),
    "wider": (with_arguments(model_channels=12), r"expected \["),
    "classes": (with_arguments(label_dim=10), "emb_label.weight is missing"),
    "dropout": (with_arguments(dropout=float("nan")), "its dropout is nan"),
    "not_named": (with_attribute("network", "_init_args", (3,)), "does not say its constructor's keyword arguments"),
    "not_recorded": (with_attribute("network", "_init_kwargs", None), "does not say its constructor's"),
    "gamma": (with_attribute("ema", "gamma", float("inf")), "its gamma is inf, not a positive number"),
    "no_gamma": (with_attribute("ema", "gamma", None), "its gamma is None, not a positive number"),
    "sigma_data": (with_attribute("network", "sigma_data", -0.5), "its sigma_data is -0.5"),
    "tables": (with_attribute("network", "_buffers", [1]), "a list for its _buffers"),
}

TENSORS: dict[str, tuple[Callable[[], bytes], str]] = {
    "beyond": (viewed(lambda: legacy(ones(4)), 2, (4,), (1,)), "ends at number 6 of a storage of 4"),
    "before": (viewed(lambda: legacy(ones(4)), -2, (2,), (1,)), "natural numbers"),
    "negative_stride": (viewed(lambda: legacy(ones(4)), 3, (4,), (-1,)), "natural numbers"),
    "negative_size": (viewed(lambda: legacy(ones(4)), 0, (-4,), (1,)), "natural numbers"),
    "fraction": (viewed(lambda: legacy(ones(4)), 0, (2.0,), (1,)), "natural numbers"),
    "flag": (viewed(lambda: legacy(ones(4)), 0, (True,), (1,)), "natural numbers"),
    "huge_size": (viewed(lambda: legacy(ones(4)), 0, (1 << 62,), (1,)), "ends at number 4611686018427387904"),
    "dimensions": (viewed(lambda: legacy(ones(4)), 0, (1,) * 9, (1,) * 9), "natural numbers"),
    "skipping": (viewed(lambda: legacy(ones(4)), 0, (2,), (2,)), "skip numbers"),
    "no_storage": (
        lambda: as_parameter(rebuilt(b"x", 0, (1,), (1,), False, OrderedDict())),
        "made of a bytes, not of a storage",
    ),
    "hooks": (lambda: as_parameter(rebuilt(STORAGE, 0, (4,), (1,), False, [1])), "has backward hooks"),
    "hooks_of_a_tensor": (lambda: as_parameter(rebuilt(STORAGE, 0, (4,), (1,), False, torch.ones(2))), "has backward"),
    "few_values": (lambda: as_parameter(rebuilt(1)), "made of 1 values"),
    "cut": (viewed(lambda: legacy(ones(4))[:-3]), "13 bytes but should have 4 numbers of float32"),
    "long": (viewed(lambda: legacy(ones(4)) + b"x"), "17 bytes but should have 4 numbers"),
    "count": (viewed(changed(b"\x04" + bytes(7), b"\x05" + bytes(7))), "has 4 numbers, and then that it has 5"),
    "magic": (viewed(changed(b"\x6c\xfc\x9c\x46", b"\x6c\xfc\x9c\x47")), "not those of torch.save in its old form"),
    "big_endian": (viewed(changed(b"little_endianq\x02\x88", b"little_endianq\x02\x89")), "big-endian"),
    "storage_type": (viewed(changed(b"ctorch\nFloatStorage", b"ctorch\nWrongStorage")), "not torch's reference"),
    "zip_inside": (viewed(lambda: zipped(("a/data.pkl", b"N."))), "not a complete pickle"),
    "empty_bytes": (viewed(lambda: b""), "not a complete pickle"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_a_wrong_network_is_refused(tmp_path, case, capsys):
    refused(tmp_path, NETWORKS[case][0](), NETWORKS[case][1], capsys)


@pytest.mark.parametrize("case", ARGUMENTS)
def test_a_wrong_constructor_argument_is_refused(tmp_path, case, capsys):
    refused(tmp_path, ARGUMENTS[case][0](), ARGUMENTS[case][1], capsys)


@pytest.mark.parametrize("case", TENSORS)
def test_a_wrong_tensor_is_refused(tmp_path, case, capsys):
    refused(tmp_path, TENSORS[case][0](), TENSORS[case][1], capsys)


@pytest.mark.parametrize("kept", [0.0, 1e-4, 0.01, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("form", ["pickle", "zip"])
def test_a_truncated_file_is_refused(tmp_path, kept, form, capsys):
    content = network_with(lambda content, network: None, zipped=form == "zip")
    message = "must have between 1" if kept == 0 else "not a complete pickle|not a readable zip file"
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
    "upwards": (lambda: zipped(("a/data.pkl", b"N."), ("../../evil", b"x")), "lies outside of it"),
    "absolute": (lambda: zipped(("a/data.pkl", b"N."), ("/etc/passwd", b"x")), "lies outside of it"),
    "backslashes": (lambda: zipped(("a/data.pkl", b"N."), ("..\\evil", b"x")), "lies outside of it"),
    "missing_storage": (lambda: zipped(("a/data.pkl", reference("0"))), "has no storage '0'"),
    "storage_outside": (lambda: zipped(("a/data.pkl", reference("../../../etc/passwd"))), "has no storage"),
    "short_storage": (lambda: zipped(("a/data.pkl", reference("0")), ("a/data/0", bytes(15))), "has 15 bytes"),
    "storage_type": (lambda: zipped(("a/data.pkl", reference("0", "QInt8Storage"))), "not torch's reference"),
    "byte_order": (lambda: zipped(("a/data.pkl", b"N."), ("a/byteorder", b"big")), "big-endian"),
    "checksum": (corrupted, "not a readable zip file: Bad CRC"),
    "network_missing": (lambda: zipped(("a/data.pkl", b"N.")), "holds None without a network"),
    "persistent_id": (lambda: zipped(("a/data.pkl", PROTOCOL + b"K\x01Q.")), "a persistent id is a int"),
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
    "protocol": (b"\x80\x06N.", "has protocol 6"),
    "key_twice": (PROTOCOL + b"}(K\x01NK\x01Nu.", "sets the dictionary key '1' twice"),
    "odd_items": (PROTOCOL + b"}(K\x01u.", "a dictionary key without a value"),
    "append_to_object": (PROTOCOL + name("torch.nn", "M") + b")\x81Na.", "adds items to a M object, not to a list"),
    "items_of_object": (PROTOCOL + name("torch.nn", "M") + b")\x81NNs.", "adds items to a M object, not to a dict"),
    "state_twice": (PROTOCOL + name("torch.nn", "M") + b")\x81NbNb.", "the state of a M is set twice"),
    "state_of_list": (PROTOCOL + b"]}b.", "sets the state of a list"),
    "call_of_class": (PROTOCOL + name("torch.nn", "M") + b")R.", "calls the name torch.nn.M"),
    "call_of_number": (PROTOCOL + b"K\x01)R.", "calls a int"),
    "call_without_tuple": (PROTOCOL + name("torch", "Size") + b"NR.", "calls torch.Size with None for arguments"),
    "instance_of_number": (PROTOCOL + b"K\x01)\x81.", "an instance of a int"),
    "name_of_numbers": (PROTOCOL + b"K\x01K\x02\x93.", "has a int and a int for a module and a name"),
    "escapes": (PROTOCOL + name("os", "\x1b[2J\nsystem") + b".", r"refers to os.\\x1b\[2J\\nsystem"),
    "meta": (
        PROTOCOL + name("torch_utils.persistence", "_reconstruct_persistent_obj") + b"}\x85R.",
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
    whole = network_with(lambda content, network: None, zipped=form == "zip")
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
