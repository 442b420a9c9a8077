"""Published networks as ours: EDM2's denoisers and NCVSD's generative denoisers.

EDM2's files (``edm2-*.pkl``) hold a ``Precond``: a denoiser around a ``UNet``. NCVSD's (``ncvsd-*.pkl``) hold a
``GenerativeDenoiser`` with the over-noising ``gamma`` around a ``PrecondCondition``, whose ``enc`` and ``dec`` are the
halves of such a U-Net, each with its noise embedding, and whose ``ctrl`` is the control encoder. Architectures after
Karras et al. 2024 (arXiv 2312.02696, config G) and Peng et al. 2025 (arXiv 2506.09416).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks.unet import UNet, UNetConfig
from .tensor_names import foreign_names
from .unpickler import ForeignFileError, Inert, described, shown

DENOISER, CONDITIONAL, GENERATIVE = "Precond", "PrecondCondition", "GenerativeDenoiser"
DEEPEST = 16  # modules within modules

# Arguments that our network has as constants, with the value that it has.
_CONSTANTS = {
    "label_balance": 0.5,
    "concat_balance": 0.5,
    "res_balance": 0.3,
    "attn_balance": 0.3,
    "clip_act": 256,
    "resample_filter": [1, 1],
    "logvar_channels": 128,
    "channel_mult_noise": None,
    "channel_mult_emb": None,
}
# Our network's arguments: EDM2's value where it is left out (None: it must be given), the smallest and the largest.
_INTEGERS = {
    "img_resolution": (None, 1, 4096),
    "img_channels": (None, 1, 64),
    "label_dim": (None, 0, 100_000),
    "model_channels": (192, 1, 2048),
    "num_blocks": (3, 1, 32),
    "channels_per_head": (64, 1, 4096),
}
_LISTS = {"channel_mult": ((1, 2, 3, 4), 1, 64), "attn_resolutions": ((16, 8), 1, 4096)}
_OTHERS = {"dropout", "use_fp16", "gradient_checkpoint", "sigma_data"}  # the last is read from the attribute
_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class Published:
    """A network in a foreign file: our configuration and our names' tensors, of the file's types."""

    kind: str  # the class of the file's network
    config: UNetConfig
    resolution: int  # pixels, of the square images that it was made for
    sigma_data: float
    gamma: float | None  # of a generative denoiser
    tensors: dict[str, Tensor]


def published_network(content: object) -> Published:
    """The network in a foreign file's content, under ``ema``. Every tensor of the file has exactly one place in ours.

    Raises:
        ForeignFileError: there is no network of a known class; an argument has a value that our network does not
            support; a tensor is missing, surplus, of a wrong shape or type, or not finite.
    """
    if not isinstance(content, dict) or "ema" not in content:
        raise ForeignFileError(f"the file holds {described(content)} without a network under the key 'ema'")
    network, where, gamma = content["ema"], "ema", None
    state = _attributes(network, where)
    kind = network.kind
    if kind not in (DENOISER, GENERATIVE):
        raise ForeignFileError(f"ema is {described(network)}, not a {DENOISER} (EDM2) or a {GENERATIVE} (NCVSD)")
    if kind == GENERATIVE:
        gamma = _number("gamma", state.get("gamma"))
        network, where = _table(state, "_modules", where).get("model"), "ema.model"
        state = _attributes(network, where)
        if network.kind != CONDITIONAL:
            raise ForeignFileError(f"{where} is {described(network)}, not a {CONDITIONAL}")
    if state.get("_init_args", ()) not in ((), []):
        raise ForeignFileError(f"{where} ({described(network)}) does not say its constructor's keyword arguments")
    config, resolution = _config(_table(state, "_init_kwargs", where), "encoder" if kind == GENERATIVE else "none")
    sigma_data = _number("sigma_data", state.get("sigma_data"))
    tensors: dict[str, Tensor] = {}
    _collect(content["ema"], "ema", tensors, set())
    return Published(kind, config, resolution, sigma_data, gamma, _renamed(tensors, config, resolution, f"{where}."))


def _collect(part: object, name: str, found: dict[str, Tensor], seen: set[int]) -> None:
    """Fill ``found`` with the parameters and buffers of a stored module and the modules in it, by their dotted names.

    Refused are other things in their place, and what stands in two places: a small file could become a huge network.
    """
    if id(part) in seen or name in found:
        raise ForeignFileError(f"{shown(name)} is also in another place of the network")
    if name.count(".") > DEEPEST:
        raise ForeignFileError(f"{shown(name)} is in modules nested more than {DEEPEST} deep")
    seen.add(id(part))
    if isinstance(part, Tensor):
        found[name] = part
        return
    state = _attributes(part, name)
    for table in ("_parameters", "_buffers", "_modules"):
        for inner, value in _table(state, table, name).items():
            if value is not None and isinstance(value, Tensor) == (table == "_modules"):
                raise ForeignFileError(f"{shown(f'{name}.{inner}')} is {described(value)} among the {table}")
            if value is not None:
                _collect(value, f"{name}.{inner}", found, seen)


def _attributes(module: object, where: str) -> dict:
    """The attributes of a stored module."""
    if not isinstance(module, Inert) or not isinstance(module.state, dict):
        raise ForeignFileError(f"{shown(where)} is {described(module)}, neither a network nor a part of one")
    return module.state


def _table(state: dict, name: str, where: str) -> dict:
    """The attribute ``name``, a dictionary whose keys are strings."""
    table = state.get(name, {})
    if not isinstance(table, dict) or not all(isinstance(key, str) for key in table):
        raise ForeignFileError(f"{shown(where)} has {described(table)} for its {name}, not a dictionary of names")
    return table


def _config(arguments: dict, conditioning: str) -> tuple[UNetConfig, int]:
    """Our configuration for a constructor's arguments (EDM2's defaults where they are left out), and the resolution."""
    for name, value in arguments.items():
        if name in _CONSTANTS and not _same(value, _CONSTANTS[name]):
            raise ForeignFileError(f"its {name} is {described(value)}, and only {_CONSTANTS[name]} is supported")
        if name not in _CONSTANTS | _INTEGERS | _LISTS and name not in _OTHERS:
            raise ForeignFileError(f"its argument {shown(name)!r} is not one of the published networks'")
    given, lists = {}, {}
    for name, (default, *bounds) in _INTEGERS.items():
        given[name] = _integer(name, arguments.get(name, default), *bounds)
    for name, (default, *bounds) in _LISTS.items():
        values = arguments.get(name, default)
        if not isinstance(values, (list, tuple)) or len(values) > 8:
            raise ForeignFileError(f"its {name} is {described(values)}, not a list of at most 8 numbers")
        lists[name] = [_integer(name, value, *bounds) for value in values]
    levels, resolution = len(lists["channel_mult"]), given["img_resolution"]
    dropout = _number("dropout", arguments.get("dropout", 0), zero=True)
    try:
        config = UNetConfig(
            image_channels=given["img_channels"],
            widths=tuple(given["model_channels"] * multiple for multiple in lists["channel_mult"]),
            blocks=(given["num_blocks"],) * levels,
            haar=0,
            conditioning=conditioning,
            dropout=dropout,
            attention=tuple(level for level in range(levels) if resolution >> level in lists["attn_resolutions"]),
            bottom_attention=True,
            wide_up=True,
            head_channels=given["channels_per_head"],
            labels=given["label_dim"],
        )
    except ValueError as error:
        raise ForeignFileError(f"its arguments do not make a network: {error}") from None
    if resolution % 2 ** (levels - 1):
        raise ForeignFileError(f"its img_resolution is {resolution}, which cannot be halved {levels - 1} times")
    return config, resolution


def _renamed(tensors: dict[str, Tensor], config: UNetConfig, resolution: int, prefix: str) -> dict[str, Tensor]:
    """The tensors, whose names start with ``prefix``, by our names, checked against our network's shapes."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in UNet(config).state_dict().items()}
    theirs = {name: prefix + foreign for name, foreign in foreign_names(shapes, config, resolution).items()}
    for name in sorted(tensors.keys() ^ set(theirs.values())):
        problem = "has no place in the network that its arguments describe" if name in tensors else "is missing"
        raise ForeignFileError(f"its tensor {shown(name)} {problem}")
    for name, foreign in theirs.items():
        value = tensors[foreign]
        if value.shape != shapes[name]:
            raise ForeignFileError(f"its tensor {foreign} is {list(value.shape)}, expected {list(shapes[name])}")
        if value.dtype not in _DTYPES:
            found = str(value.dtype).removeprefix("torch.")
            raise ForeignFileError(f"its tensor {foreign} is {found}, expected float16, bfloat16 or float32")
        if not value.isfinite().all():
            raise ForeignFileError(f"its tensor {foreign} has NaN or infinite values")
    return {name: tensors[foreign] for name, foreign in theirs.items()}


def _same(value: object, constant: object) -> bool:
    if isinstance(constant, list):
        return isinstance(value, (list, tuple)) and len(value) == len(constant) and all(map(_same, value, constant))
    return value is None if constant is None else type(value) in (int, float) and value == constant


def _number(name: str, value: object, zero: bool = False) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf or (value == 0 and not zero):
        raise ForeignFileError(f"its {name} is {described(value)}, not a {'finite' if zero else 'positive'} number")
    return float(value)


def _integer(name: str, value: object, smallest: int, largest: int) -> int:
    if type(value) is not int or not smallest <= value <= largest:
        raise ForeignFileError(f"its {name} is {described(value)}, not an integer from {smallest} to {largest}")
    return value
