"""CUDA graphs: the kernels of a call, recorded once for its shapes and replayed, without the CPU between them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from contextvars import ContextVar

import torch
from torch import Tensor

from .memory import holders

GRAPHS = 4  # that are kept of one owner: each holds the memory of its call
WARM_UP = 3  # calls before the recorded one: compilation and the choice of algorithms cannot be recorded

_recording = ContextVar("recording", default=False)


class Recordings:
    """The last calls recorded for one owner, by key: replayed where the key is known, recorded where it is not.

    Calls are made as they are within one that is being recorded, and where they cannot be recorded: one that looks at
    values, or copies from the CPU. That is warned of once.
    """

    def __init__(self) -> None:
        self.recorded: dict[Hashable, Recorded | None] = {}  # None: cannot be

    def __call__(self, key: Hashable, call: Callable[..., Tensor], inputs: Sequence[Tensor | None]) -> Tensor:
        """``call(*inputs)``. The key must tell all that the call's kernels depend on but the values of the inputs."""
        if _recording.get():
            return call(*inputs)
        device = next(value.device for value in inputs if value is not None)
        with torch.cuda.device(device):  # streams belong to the current device, which may be another
            if key not in self.recorded:
                if len(self.recorded) == GRAPHS:
                    del self.recorded[next(iter(self.recorded))]  # the oldest
                holders.add(self)
                self.recorded[key] = _record(call, inputs)
            recorded = self.recorded[key]
            return call(*inputs) if recorded is None else recorded(inputs)

    def release(self) -> None:
        """Forget the graphs, whose memory nothing else can use; the next calls record new ones."""
        self.recorded = {}


class Recorded:
    """The kernels of one call, at fixed addresses; for use where the current device is that of the inputs."""

    def __init__(self, call: Callable[..., Tensor], inputs: Sequence[Tensor | None]) -> None:
        self.inputs = [None if value is None else value.clone() for value in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                call(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):  # its own default belongs to the device of its first use
            self.output = call(*self.inputs)

    def __call__(self, inputs: Sequence[Tensor | None]) -> Tensor:
        for own, given in zip(self.inputs, inputs, strict=True):
            if own is not None:
                own.copy_(given)
        self.graph.replay()
        return self.output.clone()  # the next replay overwrites it


def _record(call: Callable[..., Tensor], inputs: Sequence[Tensor | None]) -> Recorded | None:
    token = _recording.set(True)
    try:
        with torch.no_grad():
            return Recorded(call, inputs)
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        warnings.warn(f"a call is not recorded as a CUDA graph: {reason}", RuntimeWarning, stacklevel=2)
        return None
    finally:
        _recording.reset(token)
