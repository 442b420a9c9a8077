"""What the reader makes of unusual but harmless pickles."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from hostile_cases import legacy, tensor_of

from invsolve.foreign.torch_file import read_foreign


def read(folder: Path, value: object, protocol: int) -> object:
    path = folder / "foreign.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return read_foreign(path)


@pytest.mark.parametrize("stride", [1, 7, 2**62, 2**63, 2**100])
def test_the_stride_of_a_dimension_of_size_1_does_not_matter(tmp_path, stride):
    storage = legacy(torch.arange(6.0)._typed_storage())
    found = read(tmp_path, tensor_of(storage, 0, (3, 1, 2), (2, stride, 1)), 4)
    assert torch.equal(found, torch.arange(6.0).reshape(3, 1, 2))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_the_file_holds_once_is_within_its_budget(tmp_path, protocol):
    """Sets are lists and bytes are texts in old protocols; a storage's bytes become a tensor's, twice their size."""
    weights = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    stored = {"tensor": tensor_of(legacy(weights._typed_storage()), 0, (20_000,), (1,)), "set": set(range(20_000))}
    found = read(tmp_path, stored | {"bytes": bytes(range(256))}, protocol)
    assert torch.equal(found["tensor"], weights)
    assert (found["set"], found["bytes"]) == (set(range(20_000)), bytes(range(256)))
