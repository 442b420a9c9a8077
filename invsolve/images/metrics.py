"""How close a restored picture is to the true one: PSNR and SSIM (scikit-image), LPIPS (the lpips package)."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

from ..runtime.optional import import_with_torchvision

DATA_RANGE = 2.0  # of images on [-1, 1]
TRUNK_VARIABLE = "INVSOLVE_LPIPS_TRUNK"
SMALLEST_SSIM = 11  # pixels: the side of SSIM's Gaussian window
SMALLEST_LPIPS = 32  # pixels: below this nothing is left after AlexNet's poolings
DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer

Metric = Callable[[torch.Tensor, torch.Tensor], list[float | None]]


class LpipsUnavailableError(RuntimeError):
    """LPIPS cannot be computed here; the message says why, in one line."""


def psnr(x: torch.Tensor, truth: torch.Tensor) -> list[float | None]:
    """Peak signal-to-noise ratio in dB of each image of ``x`` ``[B, C, H, W]`` in [-1, 1], clipped to that range.

    ``10 log10(4 / mean |x - truth|²)``; None where the two are equal and the ratio is infinite.
    """
    from skimage.metrics import peak_signal_noise_ratio

    pairs = zip(_pixels(x), _pixels(truth), strict=True)
    return [None if (a == b).all() else float(peak_signal_noise_ratio(b, a, data_range=DATA_RANGE)) for a, b in pairs]


def ssim(x: torch.Tensor, truth: torch.Tensor) -> list[float | None]:
    """Structural similarity of each image, mean over the channels, with the Gaussian window of Wang et al. 2004.

    Images ``[B, C, H, W]`` in [-1, 1]; None where a side is shorter than that window.
    """
    from skimage.metrics import structural_similarity

    if min(x.shape[-2:]) < SMALLEST_SSIM:
        return [None] * len(x)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = zip(_pixels(x), _pixels(truth), strict=True)
    return [float(structural_similarity(b, a, data_range=DATA_RANGE, channel_axis=0, **window)) for a, b in pairs]


def load_metrics(trunk: Path | None, device: torch.device, say: Callable[[str], None]) -> dict[str, Metric]:
    """PSNR, SSIM and, where AlexNet's weights are to be had, LPIPS; else it says why not and goes without."""
    metrics: dict[str, Metric] = {"psnr": psnr, "ssim": ssim}
    try:
        metrics["lpips"] = load_lpips(trunk, device)
    except LpipsUnavailableError as error:
        say(f"LPIPS unavailable: {error}")
    return metrics


def load_lpips(trunk: str | Path | None = None, device: torch.device | str = "cpu") -> Metric:
    """LPIPS (Zhang et al. 2018, AlexNet, version 0.1) as a function of two batches ``[B, C, H, W]`` in [-1, 1].

    The linear weights come with the lpips package. The trunk, torchvision's ImageNet AlexNet, is read from ``trunk``
    (safetensors or a state dict, with ``features.*`` keys), else from the file that the environment variable
    INVSOLVE_LPIPS_TRUNK names, else downloaded once by torchvision. The function gives None for images with a side
    below 32 pixels, for which AlexNet has no last layer.

    Raises:
        LpipsUnavailableError: there is no trunk file and no download, or torchvision does not work.
        ValueError: the trunk file is missing, or is not AlexNet's.
    """
    network = alexnet_for_lpips(trunk, device)

    def lpips(x: torch.Tensor, truth: torch.Tensor) -> list[float | None]:
        if min(x.shape[-2:]) < SMALLEST_LPIPS:
            return [None] * len(x)
        return _compared(network, x, truth, device).flatten().tolist()

    return lpips


def load_lpips_map(
    trunk: str | Path | None = None, device: torch.device | str = "cpu"
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """:func:`load_lpips` before its mean over the pixels: maps ``[B, 1, H, W]`` for images with sides of 32 or more."""
    network = alexnet_for_lpips(trunk, device, spatial=True)
    return lambda x, truth: _compared(network, x, truth, device)


def _compared(network: torch.nn.Module, x: torch.Tensor, truth: torch.Tensor, device) -> torch.Tensor:
    with torch.no_grad():
        return network(*(image.to(device, torch.float32).clamp(-1, 1) for image in (x, truth)))


def alexnet_for_lpips(trunk: str | Path | None, device: torch.device | str, spatial: bool = False) -> torch.nn.Module:
    """The network of lpips, with AlexNet as its ``net``; ``trunk`` and errors are those of :func:`load_lpips`."""
    trunk = trunk or os.environ.get(TRUNK_VARIABLE) or None  # a variable that is empty counts as one that is not set
    weights = None if trunk is None else _read_trunk(Path(trunk))
    try:
        package = import_with_torchvision("lpips")
        with _quiet_download(), _Uninitialised():
            network = package.LPIPS(net="alex", pnet_rand=weights is not None, verbose=False, spatial=spatial)
    except (ImportError, OSError, RuntimeError) as error:  # URLError and timeouts are OSErrors
        reason = " ".join(str(error).split()).strip("<>")
        if isinstance(error, OSError):
            reason = f"no download of AlexNet ({reason}); give its weights by --lpips-trunk or {TRUNK_VARIABLE}"
        raise LpipsUnavailableError(reason) from None
    if weights is not None:
        _load_trunk(network.net, weights, Path(trunk))
    return network.to(device).requires_grad_(False)


class _Uninitialised(TorchFunctionMode):
    """Layers are made with arbitrary weights: to sample the 57 million of AlexNet takes longer than to load them."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        given = kwargs or {}
        return given["tensor"] if function is torch.nn.init.kaiming_uniform_ else function(*args, **given)


def _pixels(images: torch.Tensor) -> Iterator:
    """Each image as a float64 array in [-1, 1]."""
    return iter(images.detach().cpu().double().clamp(-1, 1).numpy())


def _read_trunk(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise ValueError(f"LPIPS trunk {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors has its own exception type, torch.load raises half a dozen
        reason = "not tensors alone" if isinstance(error, pickle.UnpicklingError) else str(error).split("\n")[0]
        raise ValueError(f"LPIPS trunk {path}: cannot be read as safetensors or a state dict ({reason})") from None
    if not isinstance(weights, dict):
        raise ValueError(f"LPIPS trunk {path}: expected a state dict, found {type(weights).__name__}")
    return weights


def _load_trunk(alexnet: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Copy ``features.N.*`` into lpips's AlexNet, which keeps the layers' numbers: ``sliceK.N.*``."""
    with torch.no_grad():
        for name, parameter in alexnet.named_parameters():
            key = "features." + name.split(".", 1)[1]
            found = weights.get(key)
            if not isinstance(found, torch.Tensor) or found.shape != parameter.shape:
                shape = "nothing" if found is None else tuple(getattr(found, "shape", ()))
                expected = tuple(parameter.shape)
                raise ValueError(f"LPIPS trunk {path}: not AlexNet: {key} is {shape}, expected {expected}")
            parameter.copy_(found)


@contextmanager
def _quiet_download() -> Iterator[None]:
    """Give up a download that gets no answer, keep its progress off stdout, and drop deprecation warnings."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        socket.setdefaulttimeout(before)
