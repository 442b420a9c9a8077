"""``benchmarks/results``: the figures in the repository are those of its priors, tasks and tuned settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from invsolve.bench.run_file import difference
from invsolve.bench.runner import definitions, prepare
from invsolve.specs.options import BenchOptions

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"
FOLDERS = sorted(record.parent for record in RESULTS.glob("*/run.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_they_were_measured_with_what_is_here(folder):
    """A setting or weights changed without a new measurement would be found here, and one measured but not written."""
    run = json.loads((folder / "run.json").read_text())
    networks = {name: run[name]["name"] for name in ("prior", "denoiser") if name in run}
    recorded = run["definitions"]
    methods_of: dict[tuple[str, ...], list[str]] = {}  # by their tasks: a method may have been run at some alone
    for method, tasks in recorded.items():
        methods_of.setdefault((*tasks,), []).append(method)
    assert {*recorded} == {*run["methods"]}
    for tasks, methods in methods_of.items():
        options = BenchOptions(folder, folder, tasks, (*methods,), run["options"]["steps"], **networks)
        jobs, loaded = prepare(options, torch.device("cpu"))
        found = definitions(jobs, [(run["options"]["size"],) * 2], loaded, "any")
        for method in methods:
            for task in tasks:
                was = recorded[method][task]
                was |= {"precision": "any"} if "precision" in was else {}
                assert difference(was, found[method][task]) is None
