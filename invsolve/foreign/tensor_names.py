"""What the published networks call the tensors of ours."""

from __future__ import annotations

from collections.abc import Iterable

from ..networks.unet import UNetConfig

# Parts of names at their ends: ours, theirs.
_ENDS = {"frequencies": "freqs", "attention.conv_qkv": "attn_qkv", "attention.conv_out": "attn_proj"}


def foreign_names(names: Iterable[str], config: UNetConfig, resolution: int) -> dict[str, str]:
    """Their name of each tensor of our ``UNet(config)``; theirs hold the ``resolution`` in pixels of each block."""
    starts = _starts(config, resolution)
    renamed = {}
    for name in names:
        ours = max((start for start in starts if name.startswith(start)), key=len)
        renamed[name] = starts[ours] + name.removeprefix(ours)
        for end, foreign in _ENDS.items():
            renamed[name] = renamed[name].replace(end, foreign)
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
    encoder, decoder_blocks = _blocks(config, resolution)
    for ours, theirs in halves.items():
        starts[f"{ours}."] = f"{theirs}."
        starts[f"{ours}.conv_in."] = f"{theirs}.enc.{resolution}x{resolution}_conv."
        for i, block in enumerate(encoder):
            starts[f"{ours}.blocks.{i}."] = f"{theirs}.enc.{block}."
    for i, block in enumerate(decoder_blocks):
        starts[f"decoder.{i}."] = f"{decoder}.dec.{block}."
    return starts


def _blocks(config: UNetConfig, resolution: int) -> tuple[list[str], list[str]]:
    """Their names of the encoder's and the decoder's blocks, in the order in which they are evaluated."""
    encoder: list[str] = []
    decoder: list[str] = []
    for level, count in enumerate(config.blocks):
        size = f"{resolution >> level}x{resolution >> level}"
        encoder += [f"{size}_down"] if level else []
        encoder += [f"{size}_block{i}" for i in range(count)]
        first = [f"{size}_up"] if level < len(config.blocks) - 1 else [f"{size}_in0", f"{size}_in1"]
        decoder = [*first, *(f"{size}_block{i}" for i in range(count + 1)), *decoder]
    return encoder, decoder
