"""How a network is evaluated: in which precision, compiled or not, and as a CUDA graph."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from operators.precision import full_precision

from ..runtime.memory import holders

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
GRAPHS = 4  # shapes that keep a CUDA graph: each holds the activations of its own


@dataclass(frozen=True)
class Inference:
    """Options of a network's evaluation; preconditioning, noise and operators stay in float32.

    ``precision`` is fp32 (without TF32), bf16 or fp16; None takes fp32 on a CPU, where results are to be reproducible,
    and bf16 on a GPU that has it. ``compile`` has ``torch.compile`` fuse the network's operations, which takes a minute
    at every new shape of a batch. ``cuda_graphs`` records a call's kernels and replays them, which spares small images
    the launches.

    Raises:
        ValueError: the precision is unknown.
    """

    precision: str | None = None
    compile: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        if self.precision not in (None, *PRECISIONS):
            raise ValueError(f"precision is {self.precision!r} but must be one of {', '.join(PRECISIONS)}")


def accelerate(network: nn.Module, device: torch.device, inference: Inference) -> nn.Module:
    """The folded network on ``device``, to be evaluated as ``inference`` says; itself where that is plain float32.

    Raises:
        ValueError: CUDA graphs were asked for without CUDA.
    """
    if inference.cuda_graphs and device.type != "cuda":
        raise ValueError(f"CUDA graphs were asked for but the device is {device.type}")
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    precision = inference.precision or ("bf16" if has_bf16 else "fp32")
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
        self._graphs: dict[tuple, _Graph] | None = {} if graphs else None

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
        if self._graphs is None or differentiable:
            return self._evaluate(*inputs)
        key = tuple(None if x is None else tuple(x.shape) for x in inputs)
        with torch.cuda.device(x.device):  # streams belong to the current device, which may be another
            if key not in self._graphs:
                if len(self._graphs) == GRAPHS:
                    del self._graphs[next(iter(self._graphs))]  # the oldest
                holders.add(self)
                with torch.no_grad():
                    self._graphs[key] = _Graph(self._evaluate, inputs)
            return self._graphs[key](inputs)

    def release(self) -> None:
        """Forget the recorded graphs, whose memory nothing else can use; the next calls record new ones."""
        self._graphs = {}

    def _evaluate(self, *inputs: Tensor | None) -> Tensor:
        lower = self.dtype != torch.float32
        device = inputs[0].device
        autocast = torch.autocast(device.type, self.dtype, cache_enabled=False) if lower else full_precision(device)
        with autocast:
            return self._call(*inputs).float()


class _Graph:
    """The kernels of one call, recorded at fixed addresses; for use where the current device is that of the inputs."""

    def __init__(self, call, inputs: tuple[Tensor | None, ...]):
        self.inputs = [None if x is None else x.clone() for x in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # compilation, and the choice of the convolutions' algorithms, cannot be recorded
                call(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):  # its own default belongs to the device of its first use
            self.output = call(*self.inputs)

    def __call__(self, inputs: tuple[Tensor | None, ...]) -> Tensor:
        for own, given in zip(self.inputs, inputs, strict=True):
            if own is not None:
                own.copy_(given)
        self.graph.replay()
        return self.output.clone()  # the next replay overwrites it
