"""`invsolve generate`: pictures from noise alone, drawn by a prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..images.files import grid, write_image
from ..priors.denoiser import Denoiser, DiffusionSampler, GenerativeDenoiser, Noise, classes
from ..priors.file import GENERATIVE, load_denoiser
from ..priors.registry import resolve
from ..priors.schedule import karras
from ..runtime.device import choose_device
from ..runtime.random_streams import NoiseStreams

SIGMA_MAX = 80.0  # where the published priors begin
SIGMA_END, EXPONENT = 0.002, 7.0  # of the levels' Karras grid
SIZE = 256  # pixels a side, of pictures by a prior that takes any size
GAP = 2  # white pixels between the pictures of the grid


@dataclass(frozen=True)
class GenerateOptions:
    """What the command line says; see ``invsolve generate --help``."""

    prior: str = "default"
    count: int = 16
    size: int | None = None  # the prior's own, or 256
    steps: int = 16
    levels: Sequence[float] = ()
    label: str | None = None
    seed: int = 0
    out: Path = Path()
    device: str = "auto"
    batch: int = 8


def generate(options: GenerateOptions, say: Callable[[str], None] = print) -> None:
    """Write ``options.count`` pictures and a grid of them; picture i draws from the stream ``(seed, i)`` and no other.

    Raises:
        ValueError: there is no such prior, it has no such class or knows another size only, it is of latents, or the
            levels do not fall or are not for it.
    """
    device = choose_device(options.device)
    denoiser, header, _ = load_denoiser(resolve(options.prior))
    denoiser = denoiser.to(device)
    generative = header["kind"] == GENERATIVE
    if options.levels and not generative:
        raise ValueError(f"{options.prior} is a plain denoiser, whose levels follow from --steps: leave out --levels")
    levels = options.levels or noise_levels(options.steps, first_level(header["record"]))
    check_levels(levels)
    label = class_number(options.label, denoiser.network.config.labels, header["record"].get("classes", []))
    side = picture_size(options, header.get("image_size"))
    shape = (picture_channels(options, denoiser.network.config.image_channels), side, side)
    draw = partial(draw_prior, denoiser, header["gamma"]) if generative else partial(draw_diffusion, denoiser)
    options.out.mkdir(parents=True, exist_ok=True)
    pictures, width = [], len(str(options.count - 1))
    for first in range(0, options.count, options.batch):
        indices = range(first, min(first + options.batch, options.count))
        labels = None if label is None else torch.full((len(indices),), label, device=device)
        noise = NoiseStreams(options.seed, indices, device)
        with torch.no_grad():
            pictures += draw(levels, levels[0] * noise(shape), noise, labels).cpu()
        for i in indices:
            write_image(pictures[i], options.out / f"{i:0{width}d}.png")
    write_image(tile(pictures), options.out / "grid.png")
    say(f"wrote {options.count} pictures and grid.png into {options.out}: {len(levels)} evaluations each")


def picture_size(options: GenerateOptions, known: int | None) -> int:
    """Pixels a side, of a prior that knows images of ``known`` pixels only, or (None) any. Raises ValueError."""
    if known is not None and options.size not in (None, known):
        raise ValueError(f"--size {options.size}: {options.prior} knows images of {known}x{known} pixels only")
    return options.size or known or SIZE


def picture_channels(options: GenerateOptions, channels: int) -> int:
    """``channels``. Raises ValueError where they make no picture."""
    if channels not in (1, 3):
        raise ValueError(f"{options.prior} draws latents of {channels} channels, which are no pictures (1 or 3)")
    return channels


def noise_levels(steps: int, sigma_max: float) -> list[float]:
    """The levels of ``steps`` evaluations: a Karras grid from ``sigma_max`` to 0.002, without its end.

    For 4 steps from 80 these are the published ones, 0, 10, 20 and 30 of a grid of 40, to within a step of that grid.
    """
    return karras(steps + 1, sigma_max, SIGMA_END, EXPONENT)[:steps]


def first_level(record: dict) -> float:
    """The largest noise level that a training of ours trained the prior for; for other priors the published 80.

    What fine-tuning leaves out of the levels that were distilled, the prior still knows.
    """
    level = float(record.get("recipe", {}).get("sigma_max", SIGMA_MAX))
    return max(level, first_level(record["continues"])) if "continues" in record else level


def check_levels(levels: Sequence[float]) -> None:
    falls = all(a > b for a, b in zip(levels, [*levels[1:], 0.0], strict=True))
    if not falls or not all(map(math.isfinite, levels)):
        raise ValueError(f"the levels are {', '.join(f'{s:g}' for s in levels)} but must fall and be above 0")


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


def draw_prior(
    denoiser: Denoiser, gamma: float, levels: Sequence[float], u: Tensor, noise: Noise, labels: Tensor | None
) -> Tensor:
    """One draw from ``u`` at the first level; for every other, noise it to that level and draw again.

    This is the published sampler: each later draw sees ``u``, which says little, together with the noised draw.
    """
    refine = [t / levels[0] for t in levels[1:]]
    return GenerativeDenoiser(denoiser, gamma, refine).sample(u, levels[0], noise, labels)


def draw_diffusion(
    denoiser: Denoiser, levels: Sequence[float], u: Tensor, noise: Noise, labels: Tensor | None
) -> Tensor:
    """The reverse diffusion of a plain denoiser over the same levels, without new noise: it is the better at few."""
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
