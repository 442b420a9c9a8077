"""Shared by all tests: LPIPS weights from beside the repository where they are, and folders of shared data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
LPIPS_TRUNK = SHARED / "lpips" / "alexnet_features.safetensors"

if LPIPS_TRUNK.is_file():
    os.environ.setdefault("INVSOLVE_LPIPS_TRUNK", str(LPIPS_TRUNK))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data folder beside the repository; tests that want it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared data folder does not lie beside the repository")
    return SHARED


@pytest.fixture(scope="session")
def lpips_trunk() -> Path:
    """AlexNet's weights in a file."""
    if not LPIPS_TRUNK.is_file():
        pytest.skip("AlexNet's weights do not lie beside the repository (shared/lpips)")
    return LPIPS_TRUNK
