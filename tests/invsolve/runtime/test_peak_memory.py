"""The most memory in use while something is done."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from invsolve.runtime import peak_memory
from invsolve.runtime.peak_memory import PeakMemory

MEGABYTES = 200


def use(device: torch.device) -> None:
    torch.ones(MEGABYTES * 250_000, device=device).sum().item()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone says it")
def test_what_was_used_and_given_back_counts_until_it_begins_anew():
    cpu = torch.device("cpu")
    use(cpu)
    before = PeakMemory(cpu)
    low = before.bytes()
    use(cpu)
    high = before.bytes()
    assert 0.9e6 * MEGABYTES < high - low < 1.2e6 * MEGABYTES
    assert PeakMemory(cpu).bytes() < high - 0.9e6 * MEGABYTES


def test_it_is_unknown_where_the_system_does_not_say(monkeypatch, tmp_path):
    monkeypatch.setattr(peak_memory, "PROCESS", tmp_path / "absent")
    assert PeakMemory(torch.device("cpu")).bytes() is None
    assert PeakMemory(torch.device("meta")).bytes() is None


@pytest.mark.cuda
def test_on_a_gpu_it_is_what_torch_allocated():
    device = torch.device("cuda")
    use(device)
    memory = PeakMemory(device)
    low = memory.bytes()
    use(device)
    assert 0.9e6 * MEGABYTES < memory.bytes() - low < 1.2e6 * MEGABYTES
