"""Stored networks as EDM2 and NCVSD write them, made here: names, shapes, classes with source code, pickles.

Written from the papers' description of the architecture and from the file format; nothing of their code is used.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from invsolve.cli import main

SMALL = {
    "img_resolution": 16,
    "img_channels": 3,
    "label_dim": 0,
    "model_channels": 8,
    "channel_mult": [1, 2],
    "num_blocks": 1,
    "channels_per_head": 4,
}
FFHQ = {"img_resolution": 256, "img_channels": 3, "label_dim": 0, "model_channels": 128, "dropout": 0.0}
IMG64 = {"img_resolution": 64, "img_channels": 3, "label_dim": 1000, "model_channels": 192}

Shapes = dict[str, tuple[int, ...]]


def block_shapes(name: str, cin: int, cout: int, cemb: int, flavor: str, attention: bool) -> Shapes:
    shapes = {
        f"{name}.emb_gain": (),
        f"{name}.conv_res0.weight": (cout, cout if flavor == "enc" else cin, 3, 3),
        f"{name}.emb_linear.weight": (cout, cemb),
        f"{name}.conv_res1.weight": (cout, cout, 3, 3),
    }
    if cin != cout:
        shapes[f"{name}.conv_skip.weight"] = (cout, cin, 1, 1)
    if attention:
        shapes[f"{name}.attn_qkv.weight"] = (3 * cout, cout, 1, 1)
        shapes[f"{name}.attn_proj.weight"] = (cout, cout, 1, 1)
    return shapes


def half_shapes(kwargs: dict, prefix: str, halves: tuple[str, ...]) -> Shapes:
    """Shapes of a U-Net's embedding and of its ``halves``, the encoder ``"enc"`` and the decoder ``"dec"``."""
    widths = [kwargs["model_channels"] * m for m in kwargs.get("channel_mult", [1, 2, 3, 4])]
    count, resolution = kwargs.get("num_blocks", 3), kwargs["img_resolution"]
    attended = kwargs.get("attn_resolutions", [16, 8])
    emb = max(widths)
    shapes = {f"{prefix}emb_fourier.freqs": (widths[0],), f"{prefix}emb_fourier.phases": (widths[0],)}
    shapes[f"{prefix}emb_noise.weight"] = (emb, widths[0])
    if kwargs["label_dim"]:
        shapes[f"{prefix}emb_label.weight"] = (emb, kwargs["label_dim"])
    encoder: Shapes = {}
    decoder: Shapes = {}
    skips, channels = [], kwargs["img_channels"] + 1
    for level, width in enumerate(widths):
        size = f"{resolution >> level}x{resolution >> level}"
        if level == 0:
            encoder[f"{prefix}enc.{size}_conv.weight"] = (width, channels, 3, 3)
            channels = width
        else:
            encoder |= block_shapes(f"{prefix}enc.{size}_down", channels, channels, emb, "enc", False)
        skips.append(channels)
        for i in range(count):
            has = resolution >> level in attended
            encoder |= block_shapes(f"{prefix}enc.{size}_block{i}", channels, width, emb, "enc", has)
            channels = width
            skips.append(channels)
    if "dec" in halves and "enc" not in halves:
        shapes |= {f"{prefix}additional_x_weight": (1,), f"{prefix}additional_skips_weight": (len(skips),)}
    for level, width in reversed(list(enumerate(widths))):
        size = f"{resolution >> level}x{resolution >> level}"
        if level == len(widths) - 1:
            decoder |= block_shapes(f"{prefix}dec.{size}_in0", channels, channels, emb, "dec", True)
            decoder |= block_shapes(f"{prefix}dec.{size}_in1", channels, channels, emb, "dec", False)
        else:
            decoder |= block_shapes(f"{prefix}dec.{size}_up", channels, channels, emb, "dec", False)
        for i in range(count + 1):
            has = resolution >> level in attended
            decoder |= block_shapes(f"{prefix}dec.{size}_block{i}", channels + skips.pop(), width, emb, "dec", has)
            channels = width
    decoder |= {f"{prefix}out_gain": (), f"{prefix}out_conv.weight": (kwargs["img_channels"], channels, 3, 3)}
    return shapes | (encoder if "enc" in halves else {}) | (decoder if "dec" in halves else {})


def published_shapes(kwargs: dict, conditional: bool) -> Shapes:
    """Names and shapes of every tensor of a published teacher or (within ``model.``) generative denoiser."""
    if not conditional:
        shapes = half_shapes(kwargs, "unet.", ("enc", "dec"))
    else:
        shapes = half_shapes(kwargs, "ctrl.", ("enc",)) | half_shapes(kwargs, "enc.", ("enc",))
        shapes |= half_shapes(kwargs, "dec.", ("dec",))
    return shapes | {
        "logvar_fourier.freqs": (128,),
        "logvar_fourier.phases": (128,),
        "logvar_linear.weight": (1, 128),
    }


def random_tensors(kwargs: dict, conditional: bool, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Random weights of a trained network's kind: gains that are not 0, mixing weights in and around [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in published_shapes(kwargs, conditional).items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("freqs"):
            value = 2 * math.pi * value
        elif name.endswith("phases"):
            value = 2 * math.pi * torch.rand(shape, generator=generator)
        elif "additional" in name:
            value = torch.rand(shape, generator=generator) * 1.4 - 0.2
        elif name.endswith("gain"):
            value = 0.3 + 0.1 * value
        tensors[name] = value.to(dtype)
    return tensors


class Stored(nn.Module):
    """A module of some class that is stored with its source code."""

    def __init__(self, kind: str, kwargs: dict | None = None, **attributes: object):
        super().__init__()
        self.__dict__["stored_as"] = (kind, "raise AssertionError('the stored source code was executed')")
        self.__dict__.update({"_init_args": (), "_init_kwargs": dict(kwargs or {}), **attributes})

    def __reduce__(self):
        kind, source = self.__dict__["stored_as"]
        state = {name: value for name, value in self.__dict__.items() if name != "stored_as"}
        meta = {"type": "class", "version": 6, "module_src": source, "class_name": kind, "state": state}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,), None


def module_tree(tensors: dict[str, torch.Tensor], kind: str, kwargs: dict) -> Stored:
    """The tree of modules that holds the tensors, as EDM2 nests them."""
    root = Stored(kind, kwargs, sigma_data=0.5, use_fp16=True, **{n: kwargs[n] for n in list(kwargs)[:3]})
    for name, value in tensors.items():
        module, path = root, name.split(".")
        for depth, part in enumerate(path[:-1]):
            if part not in module._modules:
                inner = part in ("enc", "dec") and depth == 1
                module._modules[part] = nn.ModuleDict() if inner else Stored("Block", {"note": part})
            module = module._modules[part]
        if path[-1] in ("freqs", "phases"):
            module.register_buffer(path[-1], value)
        else:
            module.register_parameter(path[-1], nn.Parameter(value, requires_grad=False))
    return root.eval()


@contextmanager
def foreign_modules():
    """The modules whose names such pickles hold, for as long as one is written."""

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("the reader called the persistence mechanism")

    made = {
        "torch_utils.persistence": _reconstruct_persistent_obj,
        "dnnlib.util": type("EasyDict", (dict,), {}),
        "training.nets": type("GenerativeDenoiser", (nn.Module,), {}),
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, thing in made.items():
            thing.__module__, thing.__qualname__ = module, thing.__name__
            for name in (module.partition(".")[0], module):
                patch.setitem(sys.modules, name, ModuleType(name))
            setattr(sys.modules[module], thing.__name__, thing)
        yield


def stored(
    kwargs: dict = SMALL,
    conditional: bool = True,
    tensors: dict | None = None,
    change: Callable[[dict, Stored], None] = lambda content, network: None,
    protocol: int = 4,
    persistent: bool = False,
    zipped: bool = False,
) -> bytes:
    """A file as the published ones: the network under ``ema``, and what lies beside it, after a ``change``.

    ``persistent`` is whether the generative denoiser, too, is stored with its source code, and ``zipped`` is by
    torch.save.
    """
    tensors = random_tensors(kwargs, conditional) if tensors is None else tensors
    with foreign_modules():
        easy = sys.modules["dnnlib.util"].EasyDict
        network = wrapper = module_tree(tensors, "PrecondCondition" if conditional else "Precond", kwargs)
        if conditional:
            generative = sys.modules["training.nets"].GenerativeDenoiser
            wrapper = Stored("GenerativeDenoiser") if persistent else generative()
            wrapper.model, wrapper.gamma, wrapper.init_sigma = network, 0.414, 80.0
        encoder = Stored("StandardRGBEncoder", raw_mean=np.array([1.0, 2.0]), scale=np.float32(0.5))
        data = easy(path="faces.zip", use_labels=False)
        content = easy(encoder=encoder, dataset_kwargs=data, loss_fn=None, ema=wrapper.eval())
        change(content, network)
        stream = io.BytesIO()
        torch.save(content, stream) if zipped else stream.write(pickle.dumps(content, protocol=protocol))
        return stream.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def refused(folder: Path, content: bytes, message: str, capsys) -> None:
    """``invsolve convert`` of a file with that content: exit code 2, one line with ``message``, no other file."""
    source = folder / "foreign.pkl"
    source.write_bytes(content)
    before = sorted(folder.rglob("*"))
    assert main(["convert", str(source), "--out", str(folder / "out" / "prior.safetensors")]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("invsolve: error: ")
    assert len(error.splitlines()) == 1
    assert len(error) < 600
    assert error.isascii()
    assert re.search(message, error), error
    assert sorted(folder.rglob("*")) == before
