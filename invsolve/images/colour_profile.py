"""ICC profiles: colours of a file -> sRGB, which the priors know and which files without a profile are taken for."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

NEAR = 1 / 255  # colours that differ no more are the same: a profile that changes none by more is that of sRGB


@lru_cache
def srgb_profile() -> bytes:
    """An ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def is_srgb(profile: bytes) -> bool:
    """Whether a profile of three channels leaves all colours as they are. Raises RuntimeError where it is damaged."""
    steps = np.linspace(0, 1, 9, dtype=np.float32)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    return float(np.abs(to_srgb(colours, profile) - colours).max()) <= NEAR


def to_srgb(values: np.ndarray, profile: bytes) -> np.ndarray:
    """Values in [0, 1], float32 ``[H, W, 1]`` or ``[H, W, 3]``, of a profile's colours as sRGB; what is beyond is cut.

    In floating point: of 8 or 16 bits, nothing is lost. Raises RuntimeError where the profile is damaged or has
    another number of channels.
    """
    import imagecodecs

    gray = values.shape[2] == 1
    found = imagecodecs.cms_transform(
        np.ascontiguousarray(values[..., 0] if gray else values),
        profile,
        srgb_profile(),
        colorspace="gray" if gray else "rgb",
        outcolorspace="rgb",
        outdtype=np.float32,
    ).clip(0, 1)
    return found[..., 1:2] if gray else found


def cmyk_to_rgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """A CMYK picture as RGB: by its profile, in sRGB, or without one by Pillow's rule of thumb."""
    if profile is None:
        return picture.convert("RGB")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
