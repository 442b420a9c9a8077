"""How a network is evaluated: in which precision, compiled or not, and as a CUDA graph."""

from __future__ import annotations

import copy
import os
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from operators.precision import full_precision

from ..runtime.cuda_graphs import Recordings

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AUTO = "auto"


@dataclass(frozen=True)
class Inference:
    """Options of a network's evaluation; preconditioning, noise and operators stay in float32.

    ``precision`` is fp32 (without TF32), bf16 or fp16; auto takes bf16 where the processor has instructions for it and
    fp32 elsewhere (see :func:`fast_precisions`), or what INVSOLVE_PRECISION names in the environment. ``compile`` has
    ``torch.compile`` fuse the network's operations, which takes a minute at every new shape of a batch. ``cuda_graphs``
    records the kernels of a call and replays them, which spares small images the launches: of a whole solve, noise
    included, where the operator's prox has a closed form, and elsewhere of the network.

    Raises:
        ValueError: the precision is unknown.
    """

    precision: str = AUTO
    compile: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        check_precision("precision", self.precision)

    def precision_on(self, device: torch.device) -> str:
        """The precision on a device, with a warning where one was asked for that is slow there."""
        fast = fast_precisions(device)
        if self.precision == AUTO:
            chosen = os.environ.get("INVSOLVE_PRECISION", AUTO)
            check_precision("INVSOLVE_PRECISION", chosen)
            return ("bf16" if "bf16" in fast else "fp32") if chosen == AUTO else chosen
        if self.precision not in fast:
            warnings.warn(
                f"this {device.type.upper()} has no instructions for {self.precision}, which takes several times as "
                "long as fp32 here",
                RuntimeWarning,
                stacklevel=3,
            )
        return self.precision


def check_precision(name: str, value: str) -> None:
    if value not in (AUTO, *PRECISIONS):
        raise ValueError(f"{name} is {value!r} but must be one of {', '.join((AUTO, *PRECISIONS))}")


def fast_precisions(device: torch.device) -> set[str]:
    """The precisions that a processor has instructions for: on a CPU bf16 by AVX512-BF16 or AMX, fp16 by AMX-FP16.

    Elsewhere PyTorch's convolutions in these take 3 to 5 times as long as in float32.
    """
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return {"fp32", "fp16"} | ({"bf16"} if has_bf16 else set())
    if device.type != "cpu":
        return {"fp32"}
    tests = {"bf16": ("_is_avx512_bf16_supported", "_is_amx_tile_supported"), "fp16": ("_is_amx_fp16_supported",)}
    available = (lambda: False,)
    return {"fp32"} | {
        precision for precision, names in tests.items() if any(getattr(torch.cpu, name, *available)() for name in names)
    }


def accelerate(network: nn.Module, device: torch.device, inference: Inference) -> nn.Module:
    """The folded network on ``device``, to be evaluated as ``inference`` says; itself where that is plain float32.

    Raises:
        ValueError: CUDA graphs were asked for without CUDA.
    """
    if inference.cuda_graphs and device.type != "cuda":
        raise ValueError(f"CUDA graphs were asked for but the device is {device.type}")
    precision = inference.precision_on(device)
    network = network.to(device)
    if precision != "fp32" or inference.compile or inference.cuda_graphs or device.type == "cuda":  # which has TF32
        return Accelerated(network, PRECISIONS[precision], inference.compile, inference.cuda_graphs)
    return network


class Accelerated(nn.Module):
    """A network in lower precision, compiled or replayed; called as the network itself, float32 in and out.

    Convolutions run in ``dtype`` by autocast, and all weights are kept in it. What needs more stays in float32: the
    embeddings' frequencies and linear layers, the gains, the norms.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, compiled: bool = False, graphs: bool = False):
        super().__init__()
        self.config, self.multiple, self.dtype = network.config, network.multiple, dtype
        if dtype != torch.float32:
            network = copy.deepcopy(network)
            for parameter in network.parameters():
                if parameter.ndim > 1:
                    parameter.data = parameter.data.to(dtype)
        self.network = network
        self._call = torch.compile(network, dynamic=False) if compiled else network
        self.recordings = Recordings() if graphs else None

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        condition: Tensor | None = None,
        c_noise_condition: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """The network's output, in float32."""
        inputs = (x, c_noise, condition, c_noise_condition, labels)
        differentiable = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
        if self.recordings is None or differentiable:
            return self._evaluate(*inputs)
        shapes = tuple(None if value is None else tuple(value.shape) for value in inputs)
        return self.recordings(shapes, self._evaluate, inputs)

    def _evaluate(self, *inputs: Tensor | None) -> Tensor:
        lower = self.dtype != torch.float32
        device = inputs[0].device
        autocast = torch.autocast(device.type, self.dtype, cache_enabled=False) if lower else full_precision(device)
        with autocast:
            return self._call(*inputs).float()
