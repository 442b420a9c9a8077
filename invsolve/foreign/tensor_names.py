"""What the published networks call the tensors of ours."""

from __future__ import annotations

from collections.abc import Iterable

from ..networks.unet import UNetConfig

# The ends of names: ours, theirs.
_ENDS = {
    "frequencies": "freqs",
    "attention.conv_qkv.weight": "attn_qkv.weight",
    "attention.conv_out.weight": "attn_proj.weight",
}


def foreign_names(names: Iterable[str], config: UNetConfig, resolution: int) -> dict[str, str]:
    """Their name of each tensor of our ``UNet(config)``; theirs hold the ``resolution`` in pixels of each block."""
    starts = _starts(config, resolution)
    renamed = {}
    for name in names:
        ours = max((start for start in starts if name.startswith(start)), key=len)
        rest = name.removeprefix(ours)
        end = next((end for end in _ENDS if rest.endswith(end)), "")
        renamed[name] = starts[ours] + rest.removesuffix(end) + _ENDS.get(end, "")
    return renamed


def _starts(config: UNetConfig, resolution: int) -> dict[str, str]:
    """The starts of names: ours to theirs. A name's is the longest that fits.

    An unconditional network is one ``unet``; a conditional one an encoder ``enc``, a decoder ``dec`` that also holds
    its own embedding and the mixing weights, and the control encoder ``ctrl``.
    """
    conditional = config.conditioning == "encoder"
    halves = {"encoder": "enc", "control": "ctrl"} if conditional else {"encoder": "unet"}
    decoder = "dec" if conditional else "unet"
    starts = {
        "": "",
        "embedding.": f"{decoder}.",
        "mix_input.weight": f"{decoder}.additional_x_weight",
        "mix_skips.weight": f"{decoder}.additional_skips_weight",
        "conv_out.": f"{decoder}.out_conv.",
        "gain_out": f"{decoder}.out_gain",
    }
    for ours, theirs in halves.items():
        starts[f"{ours}."] = f"{theirs}."
        starts[f"{ours}.conv_in."] = f"{theirs}.enc.{resolution}x{resolution}_conv."
        for i, block in enumerate(_encoder_blocks(config, resolution)):
            starts[f"{ours}.blocks.{i}."] = f"{theirs}.enc.{block}."
    for i, block in enumerate(_decoder_blocks(config, resolution)):
        starts[f"decoder.{i}."] = f"{decoder}.dec.{block}."
    return starts


def _encoder_blocks(config: UNetConfig, resolution: int) -> list[str]:
    names = []
    for level, count in enumerate(config.blocks):
        size = f"{resolution >> level}x{resolution >> level}"
        names += [f"{size}_down"] if level else []
        names += [f"{size}_block{i}" for i in range(count)]
    return names


def _decoder_blocks(config: UNetConfig, resolution: int) -> list[str]:
    names = []
    for level, count in reversed(list(enumerate(config.blocks))):
        size = f"{resolution >> level}x{resolution >> level}"
        names += [f"{size}_up"] if level < len(config.blocks) - 1 else [f"{size}_in0", f"{size}_in1"]
        names += [f"{size}_block{i}" for i in range(count + 1)]
    return names
