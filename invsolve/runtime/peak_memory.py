"""The most memory that is in use at a time while something is done."""

from __future__ import annotations

from pathlib import Path

import torch

PROCESS = Path("/proc/self")
NEW_PEAK = "5"  # written to clear_refs, sets the peak to what is resident now; see proc(5)
PEAK = "VmHWM:"  # in kB


class PeakMemory:
    """From when it is made on: on CUDA what torch has allocated on the device, networks included.

    On the CPU the process's resident memory, of which Python and its libraries are some 0.3 GB. Linux alone says it.
    """

    def __init__(self, device: torch.device):
        self.device, self._known = device, device.type == "cuda"
        if self._known:
            torch.cuda.reset_peak_memory_stats(device)
        elif device.type == "cpu":
            try:
                (PROCESS / "clear_refs").write_text(NEW_PEAK)
            except OSError:  # no Linux, or not allowed
                return
            self._known = True

    def bytes(self) -> int | None:
        """None where the system does not say."""
        if not self._known:
            return None
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        lines = (PROCESS / "status").read_text().splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith(PEAK)), None)
