"""Time of one evaluation of the published NCVSD FFHQ-256 architecture (random weights): what each way of it saves.

    python benchmarks/inference.py [--size 256] [--batch 4] [--repeat 3] [--threads N] [--lower] [--compile]

The equations as written (weights normalised at every call, softmax(q k') v written out, every constant and
sum a pass of its own), then step by step what the package does: folded weights, fused attention, constants moved into
the weights and work in place, one image at a time. All in float32 and interleaved; the medians count, in seconds of
wall clock and of processor time: the latter says more on a machine that others use. ``--lower`` adds bfloat16,
``--compile`` torch.compile. ``benchmarks/cuda.py`` is for a GPU.
"""

from __future__ import annotations

import argparse
import types

import torch
from timing import in_turn, medians, ratios
from torch import Tensor, nn
from torch.nn import functional as F

from invsolve.networks.blocks import ENCODER, Attention, Block
from invsolve.networks.inference import Inference, accelerate
from invsolve.networks.layers import RESIDUAL, MPConv, fold, mp_silu, mp_sum, normalize, pixel_norm
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.tiled import Tiled

PUBLISHED = UNetConfig(
    widths=(128, 256, 384, 512),
    blocks=(3, 3, 3, 3),
    haar=0,
    bottom_attention=True,
    wide_up=True,
    conditioning="encoder",
)


def written_out_attention(self: Attention, x: Tensor) -> Tensor:
    """EDM2 figure 21 with the matrix of all pairs of pixels."""
    qkv = self.conv_qkv(x).unflatten(1, (self.heads, -1, 3)).flatten(4)
    q, k, v = normalize(qkv, dim=2).unbind(3)
    weights = torch.einsum("bhcq,bhck->bhqk", q, k / q.shape[2] ** 0.5).softmax(dim=3)
    return self.conv_out(torch.einsum("bhqk,bhck->bhcq", weights, v).reshape(x.shape))


def written_out_block(self: Block, x: Tensor, emb: Tensor) -> Tensor:
    """EDM2 figure 21, an operation a line."""
    if self.resample == "down":
        x = F.avg_pool2d(x, 2)
    elif self.resample == "up":
        x = F.interpolate(x, scale_factor=2, mode="nearest")
    if self.flavor == ENCODER:
        x = pixel_norm(x if self.conv_skip is None else self.conv_skip(x))
    y = self.conv_res0(mp_silu(x))
    scale = self.emb_linear(emb, gain=self.emb_gain) + 1
    y = self.conv_res1(mp_silu(y * scale[:, :, None, None]))
    if self.flavor != ENCODER and self.conv_skip is not None:
        x = self.conv_skip(x)
    x = mp_sum(x, y, RESIDUAL)
    if self.attention is not None:
        x = mp_sum(x, self.attention(x), RESIDUAL)
    return x.clip(-256, 256)


def published(written_out: tuple[type, ...] = (), folded: bool = True, config: UNetConfig = PUBLISHED) -> UNet:
    """The architecture with random weights, gains of 0.3 and mixing weights of a half."""
    torch.manual_seed(0)
    network = UNet(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(0.5 if "mix" in name else 0.3)
    for module in network.modules():
        if Block in written_out and isinstance(module, MPConv):
            module.scale = 1.0
        for kind, forward in ((Attention, written_out_attention), (Block, written_out_block)):
            if kind in written_out and isinstance(module, kind):
                module.forward = types.MethodType(forward, module)
    if folded:
        fold(network)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--lower", action="store_true")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.no_grad():
        compare(options)


def inputs(batch: int, size: int, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    """What a conditional denoiser is called with: two noisy images and their levels."""
    stream = torch.Generator().manual_seed(1)
    u, condition = torch.randn(2, batch, 3, size, size, generator=stream).to(device)
    levels = torch.tensor([0.707, 0.5], device=device).repeat(batch, 1)
    return u, levels[:, 0], condition, levels[:, 1]


def compare(options: argparse.Namespace) -> None:
    cpu = torch.device("cpu")
    ways: dict[str, nn.Module] = {
        "the equations as written": Denoiser(published((Block, Attention), folded=False)),
        "+ folded weights": Denoiser(published((Block, Attention))),
        "+ fused attention": Denoiser(published((Block,))),
        "+ constants in the weights, in place": Denoiser(published()),
        "+ one image at a time": Tiled(Denoiser(published()), options.size, options.size // 4),
    }
    extras = [["bf16", False]] * options.lower + [["fp32", True]] * options.compile
    extras += [["bf16", True]] * (options.lower and options.compile)
    for precision, compiled in extras:
        label = f"{precision}{', compiled' * compiled}, one image at a time"
        network = accelerate(published(), cpu, Inference(precision, compiled))
        ways[label] = Tiled(Denoiser(network), options.size, options.size // 4)
    call, outputs = inputs(options.batch, options.size), {}

    def evaluate(label: str) -> None:
        outputs[label] = ways[label](*call)

    times = in_turn({label: lambda label=label: evaluate(label) for label in ways}, options.repeat)
    first = next(iter(ways))
    print(f"one evaluation, batch {options.batch}, {options.size}x{options.size}, {options.threads} threads:\n")
    print("| way | s | s of processor | times as fast (of processor) | largest difference |")
    print("|---|---|---|---|---|")
    for label in ways:
        wall, processor = medians(times[label])
        faster = "{:.2f} ({:.2f})".format(*ratios(times[first], times[label]))
        difference = (outputs[label] - outputs[first]).abs().max().item()
        print(f"| {label} | {wall:.2f} | {processor:.2f} | {faster} | {difference:.1e} |")


if __name__ == "__main__":
    main()
