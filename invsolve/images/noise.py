"""How noisy a picture is."""

from __future__ import annotations

import math
import warnings

from torch import Tensor

LEAST = 0.01  # noise level on [-1, 1], 1.3 of 255: what rounding and compression leave in the cleanest of files


def estimate_noise(image: Tensor) -> float:
    """The standard deviation of white Gaussian noise in an image ``[C, H, W]`` in [-1, 1]: at least ``LEAST``.

    From the median size of its finest diagonal wavelet coefficients (Donoho and Johnstone 1994; scikit-image's
    ``estimate_sigma``), mean over the channels, rounded to two digits. Fine texture counts as noise.
    """
    from skimage.restoration import estimate_sigma

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of flat pictures, which have no coefficients but 0
        found = estimate_sigma(image.cpu().double().numpy(), channel_axis=0, average_sigmas=True)
    return LEAST if not math.isfinite(found) else float(f"{max(found, LEAST):.2g}")
