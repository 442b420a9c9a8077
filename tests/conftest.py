"""Shared by all tests: LPIPS weights from beside the repository where they are, and folders of shared data."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["browser_fixtures", "training_fixtures"]  # of tests/cases

SHARED = Path(__file__).resolve().parents[2] / "shared"
LPIPS_TRUNK = SHARED / "lpips" / "alexnet_features.safetensors"

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as invsolve does, for tests that import torch first
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes, which share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("INVSOLVE_PRECISION", "fp32")  # the same figures on every processor
if LPIPS_TRUNK.is_file():
    os.environ.setdefault("INVSOLVE_LPIPS_TRUNK", str(LPIPS_TRUNK))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """torch's own generator at the start of every test, so that none depends on those before it."""
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.manual_seed(0)  # torch.manual_seed takes 8 ms where CUDA is not in use


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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch on one thread: tiny networks train faster so, a busy machine does not stall them, and sums are the same."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory) -> Path:
    """A checkpoint of a very small generative denoiser with random weights: fast, and no good as a prior."""
    import torch

    from invsolve.networks.unet import UNet, UNetConfig
    from invsolve.priors.denoiser import Denoiser
    from invsolve.priors.file import save_denoiser

    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(8, 16), blocks=(1, 1), conditioning="inputs"))
    with torch.no_grad():
        network.gain_out.fill_(0.1)  # 0, as at the start of training, would switch the network off
    spectrum = 1 / (0.01 + torch.linspace(0, 0.7, 64) ** 2)
    path = tmp_path_factory.mktemp("prior") / "tiny.safetensors"
    save_denoiser(path, Denoiser(network), {"license": "none", "data": "none"}, spectrum=spectrum)
    return path
