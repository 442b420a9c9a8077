"""`invsolve generate`: pictures from noise alone, sampled from a prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ..data.sources import Source
from ..data.training_set import center_crops
from ..images.files import grid, resized, write_image
from ..images.frechet import frechet_distance, load_features
from ..images.metrics import SMALLEST_LPIPS, LpipsUnavailableError
from ..priors.denoiser import Denoiser, DiffusionSampler, GenerativeDenoiser, Noise, classes
from ..priors.file import GENERATIVE, load_denoiser
from ..priors.registry import SAMPLERS, resolve
from ..priors.schedule import karras
from ..priors.training_record import largest_sigma
from ..runtime.device import choose_device
from ..runtime.printing import counted, say
from ..runtime.random_streams import NoiseStreams
from ..specs.options import GenerateOptions

SIGMA_END, EXPONENT = 0.002, 7.0  # of the noise levels' Karras grid
SIZE = 256  # pixels a side, of pictures by a prior that takes any size
GAP = 2  # white pixels between the pictures of the grid


def generate(options: GenerateOptions, say: Callable[[str], None] = say) -> None:
    """Write ``options.count`` pictures and a grid of them; picture i depends on the stream ``(seed, i)`` and no other.

    Raises:
        ValueError: there is no such prior, it has no such class or knows another size only, it is of latents, the noise
            levels do not fall or are not for it, or there are no pictures or no weights to compare with.
    """
    device = choose_device(options.device)
    denoiser, header, _ = load_denoiser(resolve(SAMPLERS.get(options.prior, options.prior)))
    denoiser = denoiser.to(device)
    network, record = denoiser.network.config, header["record"]
    generative = header["kind"] == GENERATIVE
    if options.levels and not generative:
        raise ValueError(f"{options.prior} is a plain denoiser, whose levels follow from --steps: leave out --levels")
    levels = options.levels or noise_levels(options.steps, largest_sigma(record))
    if any(a <= b for a, b in pairwise(levels)):
        raise ValueError(f"the levels are {', '.join(f'{s:g}' for s in levels)} but must fall")
    label = class_number(options.label, network.labels, record.get("classes", []))
    known = header.get("image_size")  # the only size that the prior knows, or None
    if known is not None and options.size not in (None, known):
        raise ValueError(f"--size {options.size}: {options.prior} knows images of {known}x{known} pixels only")
    if network.image_channels not in (1, 3):
        channels = network.image_channels
        raise ValueError(f"{options.prior} is a prior of latents of {channels} channels, no pictures (1 or 3)")
    side = options.size or known or SIZE
    sample = partial(ancestral, denoiser, header["gamma"]) if generative else partial(reverse_diffusion, denoiser)

    distance = None if options.compare is None else comparison(options.compare, side, options.lpips_trunk, device)

    options.out.mkdir(parents=True, exist_ok=True)
    pictures, width = [], len(str(options.count - 1))
    for first in range(0, options.count, options.batch):
        indices = range(first, min(first + options.batch, options.count))
        labels = None if label is None else torch.full((len(indices),), label, device=device)
        noise = NoiseStreams(options.seed, indices, device)
        u = levels[0] * noise((network.image_channels, side, side))
        with torch.no_grad():
            pictures += sample(levels, u, noise, labels).cpu()
        for i in indices:
            write_image(pictures[i], options.out / f"{i:0{width}d}.png")
    write_image(tile(pictures), options.out / "grid.png")
    evaluations = counted(len(levels), "network evaluation")
    say(f"wrote {counted(options.count, 'picture')} and grid.png into {options.out}: {evaluations} each")
    if distance is not None:
        say(distance(pictures))


def comparison(path: Path, side: int, trunk: Path | None, device: torch.device) -> Callable[[list[Tensor]], str]:
    """Says how far pictures ``[C, side, side]`` are from those of a folder or a zip file; reads these at once.

    Raises:
        ValueError: there are fewer than two, or AlexNet's weights are not to be had.
    """
    try:
        features = load_features(trunk, device)
    except LpipsUnavailableError as error:
        raise ValueError(f"--compare: {error}") from None
    if side < SMALLEST_LPIPS:
        raise ValueError(f"--compare: needs pictures of {SMALLEST_LPIPS} or more pixels a side, and these have {side}")
    source = Source(path)
    if len(source.names) < 2:
        raise ValueError(f"--compare {path}: needs 2 or more pictures, and it has {len(source.names)}")
    true = np.concatenate([features(square(picture, side)) for picture in source.decoded()])

    def distance(pictures: list[Tensor]) -> str:
        own = np.concatenate([features(picture[None]) for picture in pictures])
        found = frechet_distance(own, true)
        return f"Frechet distance of AlexNet's features from the {len(true)} pictures of {path}: {found:.3g}"

    return distance


def square(picture: np.ndarray, side: int) -> Tensor:
    """The central square of a picture ``[3, H, W]``, resized to ``[1, 3, side, side]`` in [-1, 1]."""
    return resized(center_crops([picture], min(picture.shape[1:]), torch.device("cpu")), (side, side))


def noise_levels(steps: int, sigma_max: float) -> list[float]:
    """The noise levels of ``steps`` evaluations: a Karras grid from ``sigma_max`` to 0.002, without its end.

    For 4 steps from 80 these are the published ones, 0, 10, 20 and 30 of a grid of 40, to within a step of that grid.
    """
    return karras(steps + 1, sigma_max, SIGMA_END, EXPONENT)[:steps]


def class_number(label: str | None, count: int, names: Sequence[str]) -> int | None:
    """The class of a name or a number; None for no class. Raises ValueError where the prior has no such class."""
    if label is None:
        return None
    if not count:
        raise ValueError(f"--label {label}: the prior has no classes")
    number = names.index(label) if label in names else int(label) if label.isdecimal() else count
    if number >= count:
        known = f"0 to {count - 1}{' or one of ' if names else ''}{', '.join(names)}"
        raise ValueError(f"--label {label}: the prior has no such class; expected {known}")
    return number


def ancestral(
    denoiser: Denoiser, gamma: float, levels: Sequence[float], u: Tensor, noise: Noise, labels: Tensor | None
) -> Tensor:
    """A sample conditioned on ``u`` at the first noise level, then re-noised to each other level and sampled again.

    This is the published sampler: each later sample sees ``u``, which says little, together with the re-noised one.
    """
    refine = [t / levels[0] for t in levels[1:]]
    return GenerativeDenoiser(denoiser, gamma, refine).sample(u, levels[0], noise, labels)


def reverse_diffusion(
    denoiser: Denoiser, levels: Sequence[float], u: Tensor, noise: Noise, labels: Tensor | None
) -> Tensor:
    """The reverse diffusion of a plain denoiser over the noise levels, without new noise: it is the better at few."""
    plain = partial(denoiser, **classes(labels))
    diffusion = DiffusionSampler(plain, len(levels), stochastic=False, sigma_min=levels[-1], exponent=EXPONENT)
    return diffusion.sample(u, levels[0], noise)


def tile(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures ``[C, H, W]`` of one size in a nearly square grid, white between them and after the last."""
    columns = math.ceil(math.sqrt(len(pictures)))
    blank = torch.ones_like(pictures[0])
    padded = [*pictures, *[blank] * (-len(pictures) % columns)]
    framed = [pad(picture, (0, GAP, 0, GAP), value=1.0) for picture in padded]
    return grid([framed[i : i + columns] for i in range(0, len(framed), columns)])[:, :-GAP, :-GAP]
