"""Time of one evaluation of the published NCVSD FFHQ-256 architecture (random weights): what each way of it saves.

    python benchmarks/inference.py [--size 256] [--batch 4] [--repeat 3] [--threads N] [--lower] [--compile]

On the CPU: the equations as written (weights normalised at every call, softmax(q k') v written out, every constant and
sum a pass of its own), then step by step what the package does: folded weights, fused attention, constants moved into
the weights and work in place, one image at a time. All in float32 and interleaved; the least time of each counts. It is
given in seconds of wall clock and of processor time: the latter says more on a machine that others use. ``--lower``
adds bfloat16, ``--compile`` torch.compile. Where there is CUDA: images per second with each option on and off.
"""

from __future__ import annotations

import argparse
import time
import types

import torch
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


def published(written_out: tuple[type, ...] = (), folded: bool = True) -> UNet:
    """The architecture with random weights, gains of 0.3 and mixing weights of a half."""
    torch.manual_seed(0)
    network = UNet(PUBLISHED)
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
        on_cpu(options)
        if torch.cuda.is_available():
            on_cuda(options)


def inputs(options: argparse.Namespace, device: str = "cpu") -> tuple[Tensor, ...]:
    stream = torch.Generator().manual_seed(1)
    u, condition = torch.randn(2, options.batch, 3, options.size, options.size, generator=stream).to(device)
    return (
        u,
        torch.full((options.batch,), 0.707, device=device),
        condition,
        torch.full((options.batch,), 0.5).to(device),
    )


def on_cpu(options: argparse.Namespace) -> None:
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
    call = inputs(options)
    for denoiser in ways.values():  # caches, compilation
        denoiser(*(value[:1] for value in call))
    wall, processor, outputs = {}, {}, {}
    for _ in range(options.repeat):
        for label, denoiser in ways.items():
            start = time.perf_counter(), time.process_time()
            outputs[label] = denoiser(*call)
            wall[label] = min(wall.get(label, float("inf")), time.perf_counter() - start[0])
            processor[label] = min(processor.get(label, float("inf")), time.process_time() - start[1])
    first = next(iter(ways))
    print(f"one evaluation, batch {options.batch}, {options.size}x{options.size}, {options.threads} threads:\n")
    print("| way | s | s of processor | times as fast (of processor) | largest difference |")
    print("|---|---|---|---|---|")
    for label in ways:
        ratios = f"{wall[first] / wall[label]:.2f} ({processor[first] / processor[label]:.2f})"
        difference = (outputs[label] - outputs[first]).abs().max().item()
        print(f"| {label} | {wall[label]:.2f} | {processor[label]:.2f} | {ratios} | {difference:.1e} |")


def on_cuda(options: argparse.Namespace) -> None:
    device = torch.device("cuda")
    call = inputs(options, "cuda")
    print(f"\nimages per second on {torch.cuda.get_device_name()}, batch {options.batch}:\n")
    print("| precision | written out | folded, fused | compiled | CUDA graph | both |\n|---|---|---|---|---|---|")
    for precision in ("fp32", "bf16", "fp16"):
        row = [throughput(accelerate(published((Block, Attention), False), device, Inference(precision)), call)]
        for compiled, graphs in ((False, False), (True, False), (False, True), (True, True)):
            row.append(throughput(accelerate(published(), device, Inference(precision, compiled, graphs)), call))
        print(f"| {precision} | {' | '.join(f'{rate:.1f}' for rate in row)} |", flush=True)


def throughput(network: nn.Module, call: tuple[Tensor, ...], seconds: float = 2.0) -> float:
    """Images per second, in the fastest of five rounds after a warm-up."""
    denoiser, best, rounds = Denoiser(network), 0.0, 5
    for _ in range(3):
        denoiser(*call)
    for _ in range(rounds):
        torch.cuda.synchronize()
        start, images = time.perf_counter(), 0
        while time.perf_counter() - start < seconds / rounds:
            denoiser(*call)
            torch.cuda.synchronize()
            images += len(call[0])
        best = max(best, images / (time.perf_counter() - start))
    return best


if __name__ == "__main__":
    main()
