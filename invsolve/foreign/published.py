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
from .module_tree import attributes, child, constructor_arguments, tensors_of
from .symbols import ForeignFileError, described, shown
from .tensor_names import foreign_names

DENOISER, CONDITIONAL, GENERATIVE = "Precond", "PrecondCondition", "GenerativeDenoiser"

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
_ARGUMENTS = {
    "img_resolution",
    "img_channels",
    "label_dim",
    "model_channels",
    "channel_mult",
    "num_blocks",
    "attn_resolutions",
    "channels_per_head",
    "dropout",
}
_NO_MATTER = {"use_fp16", "gradient_checkpoint", "sigma_data"}  # the last is read from the attribute
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

    @property
    def parameters(self) -> int:
        """Number of learnt values: all tensors but the random Fourier features."""
        fixed = ("frequencies", "phases")
        return sum(value.numel() for name, value in self.tensors.items() if not name.endswith(fixed))


def published_network(content: object) -> Published:
    """The network in a foreign file's content, under ``ema``. Every tensor of the file has exactly one place in ours.

    Raises:
        ForeignFileError: there is no network of a known class; an argument has a value that our network does not
            support; a tensor is missing, surplus, of a wrong shape or type, or not finite.
    """
    if not isinstance(content, dict) or "ema" not in content:
        raise ForeignFileError(f"the file holds {described(content)} without a network under the key 'ema'")
    network, where, gamma = content["ema"], "ema", None
    state = attributes(network, where)
    kind = network.kind
    if kind not in (DENOISER, GENERATIVE):
        raise ForeignFileError(f"ema is {described(network)}, not a {DENOISER} (EDM2) or a {GENERATIVE} (NCVSD)")
    if kind == GENERATIVE:
        gamma = _number("gamma", state.get("gamma"))
        network, where = child(network, "model", where), "ema.model"
        if network.kind != CONDITIONAL:
            raise ForeignFileError(f"{where} is {described(network)}, not a {CONDITIONAL}")
    arguments = constructor_arguments(network, where)
    config, resolution = _config(arguments, "encoder" if kind == GENERATIVE else "none")
    sigma_data = _number("sigma_data", attributes(network, where).get("sigma_data"))
    tensors = _renamed(tensors_of(content["ema"], "ema"), config, resolution, "model." if kind == GENERATIVE else "")
    return Published(kind, config, resolution, sigma_data, gamma, tensors)


def _config(arguments: dict, conditioning: str) -> tuple[UNetConfig, int]:
    """Our configuration for a constructor's arguments (EDM2's defaults where they are left out), and the resolution."""
    for name, value in arguments.items():
        if name in _CONSTANTS and not _same(value, _CONSTANTS[name]):
            raise ForeignFileError(f"its {name} is {_brief(value)}, and only {_CONSTANTS[name]} is supported")
        if name not in _CONSTANTS and name not in _ARGUMENTS and name not in _NO_MATTER:
            raise ForeignFileError(f"its argument {shown(name)!r} is not one of the published networks'")
    multiples = arguments.get("channel_mult", [1, 2, 3, 4])
    attentive = arguments.get("attn_resolutions", [16, 8])
    for name, values in (("channel_mult", multiples), ("attn_resolutions", attentive)):
        if not isinstance(values, (list, tuple)) or len(values) > 8:
            raise ForeignFileError(f"its {name} is {_brief(values)}, not a list of at most 8 numbers")
    base = _integer(arguments, "model_channels", 1, 2048, default=192)
    widths = tuple(base * _integer({"channel_mult": n}, "channel_mult", 1, 64) for n in multiples)
    resolution = _integer(arguments, "img_resolution", 1, 4096)
    sizes = {_integer({"attn_resolutions": n}, "attn_resolutions", 1, 4096) for n in attentive}
    try:
        config = UNetConfig(
            image_channels=_integer(arguments, "img_channels", 1, 64),
            widths=widths,
            blocks=(_integer(arguments, "num_blocks", 1, 32, default=3),) * len(widths),
            haar=0,
            conditioning=conditioning,
            dropout=_number("dropout", arguments.get("dropout", 0), zero=True),
            attention=tuple(level for level in range(len(widths)) if resolution >> level in sizes),
            bottom_attention=True,
            wide_up=True,
            head_channels=_integer(arguments, "channels_per_head", 1, 4096, default=64),
            labels=_integer(arguments, "label_dim", 0, 100_000),
        )
    except ForeignFileError:
        raise
    except ValueError as error:
        raise ForeignFileError(f"its arguments do not make a network: {error}") from None
    if resolution % 2 ** (len(widths) - 1):
        raise ForeignFileError(f"its img_resolution is {resolution}, which cannot be halved {len(widths) - 1} times")
    return config, resolution


def _renamed(tensors: dict[str, Tensor], config: UNetConfig, resolution: int, prefix: str) -> dict[str, Tensor]:
    """The tensors, whose names start with ``prefix``, by our names, checked against our network's shapes."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in UNet(config).state_dict().items()}
    theirs = {name: prefix + foreign for name, foreign in foreign_names(shapes, config, resolution).items()}
    surplus = sorted(set(tensors) - set(theirs.values()))
    if surplus:
        place = "has no place in the network that its arguments describe"
        raise ForeignFileError(f"its tensor {shown(surplus[0])} {place}")
    for name, foreign in theirs.items():
        if foreign not in tensors:
            raise ForeignFileError(f"its tensor {foreign} is missing")
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
        raise ForeignFileError(f"its {name} is {_brief(value)}, not a {'finite' if zero else 'positive'} number")
    return float(value)


def _integer(values: dict, name: str, smallest: int, largest: int, default: int | None = None) -> int:
    value = values.get(name, default)
    if type(value) is not int or not smallest <= value <= largest:
        raise ForeignFileError(f"its {name} is {_brief(value)}, not an integer from {smallest} to {largest}")
    return value


def _brief(value: object) -> str:
    """A value of a foreign file for a message: itself if it is short and plain, else what it is."""
    if isinstance(value, (int, float)):
        return str(value)
    return repr(shown(value)) if isinstance(value, str) else described(value)
