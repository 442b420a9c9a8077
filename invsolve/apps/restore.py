"""Restore observed pictures in batches: their operators, settings and priors, each made once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from operators import Operator, Quantized, without_zero_border

from ..images.mask_and_kernel import read_kernel
from ..networks.inference import Inference
from ..priors.denoiser import PosteriorMean, Prior
from ..priors.gray import GrayPrior
from ..priors.reflected import with_reflection
from ..priors.registry import load_prior
from ..priors.watched import Seen, Watched
from ..runtime.random_streams import MEASUREMENT, NoiseStreams, stream_index
from ..solver.defaults import default_settings, honoured, posterior_settings, task_settings
from ..solver.noise_level import estimate_sigma, finest_level
from ..solver.solve import posterior, solve
from ..solver.wiener import wiener_estimate
from ..specs.degradations import Shape
from ..specs.options import RunOptions
from ..specs.settings import Settings
from ..specs.task import Task
from .finish import Finish
from .observe import Observation, shared_mask
from .outputs import Result

Value = TypeVar("Value")

TOGETHER = 2**21  # pixels of clean images, or samples, restored at a time on a CPU: more take more memory, no less time
ALMOST_NONE = 1e-6  # noise level that stands for none where the last sample is not to be projected onto A x = y
PROJECTIONS = 4  # onto what rounds to the measurement and onto [-1, 1]
KEPT = 2**30  # bytes of operators that are kept for further pictures


class Kept(Generic[Value]):
    """Values by key, made once as long as all that is kept takes at most ``KEPT`` bytes, else every time."""

    def __init__(self, size: Callable[[Value], int]):
        self.size, self.left = size, KEPT
        self.values: dict[Hashable, Value] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        if key in self.values:
            return self.values[key]
        value = make()
        if self.size(value) <= self.left:
            self.left -= self.size(value)
            self.values[key] = value
        return value


class Restorer:
    """What restores the pictures of one run. ``seen``, if any, is given each sample of the prior.

    Raises:
        ValueError: kernel, mask or prior cannot be used.
    """

    def __init__(
        self,
        task: Task,
        options: RunOptions,
        device: torch.device,
        note: Callable[[str], None],
        seen: Seen | None = None,
    ):
        self.task, self.options, self.device, self.note = task, options, device, note
        self.kernel = None if options.kernel is None else without_zero_border(read_kernel(options.kernel))
        if options.mask is not None and not options.mask.is_dir():
            shared_mask(options.mask)  # refused here where it cannot be used
        inference = Inference(options.precision, options.compile, options.cuda_graphs)
        prior = load_prior(options.prior, device, inference, options.tile)
        self.unwatched = prior if options.simulate else with_reflection(prior)  # simulations are those of a benchmark
        self.prior: Prior = self.unwatched if seen is None else Watched(self.unwatched, seen)
        self.gray_prior = GrayPrior(self.prior)
        self.finish = Finish(task, options, self.kernel)
        self._operators: Kept[Operator] = Kept(lambda operator: sum(part.nbytes for part in operator.buffers()))
        self._settings: Kept[Settings] = Kept(lambda settings: 0)

    def operator_for(self, observed: Observation) -> Operator:
        """The operator of a picture. Raises ValueError where mask, kernel and picture do not fit each other."""

        def make() -> Operator:
            if observed.jpeg is not None:
                return observed.jpeg.operator().to(self.device)
            shape: Shape = tuple(observed.y.shape)
            clean = shape if self.options.simulate else self.task.image_shape(shape, self.kernel)
            try:
                return self.task.make_operator(clean, observed.mask, self.kernel, self.options.seed).to(self.device)
            except ValueError as error:
                raise ValueError(f"{self.task.name} on {observed.job.source}: {error}") from None

        return self._operators.get(observed.key, make)

    def noise_level(self, y: Tensor, mask: Tensor | None) -> float:
        """That of a picture ``[C, H, W]``: by the prior's samples, if it has any and no pixels are missing."""
        y = y[None].to(self.device)
        if mask is not None or isinstance(self.unwatched, PosteriorMean):
            return finest_level(y, mask)
        return estimate_sigma(y, self.unwatched)

    def prior_for(self, operator: Operator) -> Prior:
        return self.gray_prior if operator.in_shape[0] == 1 else self.prior

    def settings_for(self, observed: Observation, operator: Operator) -> Settings:
        """The task's settings for the picture's noise, as far as the prior honours them, or else the solver's own.

        Samples of the posterior have the latter.
        """

        def make() -> Settings:
            prior = self.prior_for(operator)
            sampled = self.options.samples is not None
            tuned = None if sampled else task_settings(self.task, self.options.steps, prior, observed.sigma_y)
            if tuned is None or not self.task.degradation.resembles(observed.mask):
                choose = posterior_settings if sampled else default_settings
                return choose(operator, self.task.noise_or_level(operator, observed.sigma_y), prior)
            kept = honoured(tuned, prior)
            if kept != tuned:
                lacking = "has no over-noising: the task's gamma and sigma_inflation are left out"
                self.note(f"the prior {self.options.prior} {lacking}")
            return kept

        return self._settings.get((observed.key, observed.sigma_y), make)

    def together(self, operator: Operator) -> int:
        """How many clean images of one shape are restored at a time; at least one."""
        _, height, width = operator.in_shape
        on_cpu = self.device.type == "cpu"
        return min(self.options.batch, max(1, TOGETHER // (height * width))) if on_cpu else self.options.batch

    def __call__(self, batch: Sequence[Observation], progress: bool = False) -> list[Result]:
        """Degrade if asked to, and restore pictures of one operator and one noise level."""
        first, options = batch[0], self.options
        operator = self.operator_for(first)
        names = [observed.job.name for observed in batch]
        keys = [stream_index(name) for name in names]
        images = torch.stack([observed.y for observed in batch]).to(self.device)
        model = self.task.noise(operator)
        y, truth = images, [None] * len(images)
        if options.simulate:
            noise = NoiseStreams(options.seed, [(key, MEASUREMENT) for key in keys], self.device)
            y, truth = operator.measure(images, self.task.noise_or_level(operator, first.sigma_y), noise), images
        elif first.jpeg is not None:
            y = torch.stack([observed.jpeg.measurement(operator) for observed in batch])
        how = {"steps": options.steps, "sigma_y": first.sigma_y, "prior": self.prior_for(operator), "noise": model}
        how |= {"seed": options.seed, "settings": self.settings_for(first, operator), "indices": keys}
        how["progress"] = progress and sys.stderr.isatty()
        blends = first.mask is not None and first.sigma_y == 0 and not options.simulate
        if blends:
            how["sigma_y"] = ALMOST_NONE

        def fitted(x: Tensor) -> Tensor:
            if first.jpeg is not None:
                return within(x, y, operator, model)
            return blend(x, y, operator, how["prior"]) if blends else x

        pictures = [one.y for one in batch] if first.jpeg is not None else operator.viewed(y)
        if options.samples is None:
            parts = zip(batch, fitted(solve(y, operator, **how)), pictures, truth, strict=True)
        else:
            found = posterior(y, operator, options.samples, batch=self.together(operator), **how)
            samples = torch.stack([fitted(x) for x in found.samples], dim=1)  # [B, K, C, H, W]
            std, mean = torch.std_mean(samples, dim=1)
            parts = zip(batch, samples[:, 0], pictures, truth, samples, mean, std, strict=True)
        return [self.finish(Result(*part)) for part in parts]


def within(x: Tensor, y: Tensor, operator: Operator, model: Quantized) -> Tensor:
    """Images on [-1, 1] that round to their measurements: projected onto the one and the other in turn."""
    low, high = model.interval(y)
    for _ in range(PROJECTIONS):
        x = operator.project_within(x.clamp(-1, 1), low, high)
    return x.clamp(-1, 1)


def blend(x: Tensor, y: Tensor, operator: Operator, prior: Prior) -> Tensor:
    """Images made to fit what was measured without noise, without a step at the border of what was not.

    ``x + W (y - A x)``, W being the Wiener estimate: near the border it carries what x lacks of the observed pixels
    on into the hole. Less than a projection onto A x = y alone it shows where that was, and LPIPS around scratches and
    16-pixel holes is 5 to 8 % lower.
    """
    spectrum = getattr(prior, "spectrum", None)
    if spectrum is None:
        return x
    return x + wiener_estimate(operator.observed(y) - operator(x), operator, 0.0, spectrum)
