"""A diffusers image model with its variance-preserving schedule as our denoiser.

diffusers adds noise to an image ``x0`` in [-1, 1] by ``x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) n`` and tells the
network the timestep ``t``; here ``u = x0 + sigma n`` with the noise level ``sigma``. The two are one up to scale:

    sigma = sqrt((1 - abar) / abar),   x_t = sqrt(abar) u,   abar = 1 / (1 + sigma²).

What the network predicts gives the posterior mean E[x0 | u] (``prediction_type`` of the schedule):

    epsilon         u - sigma epsilon
    sample          the prediction
    v_prediction    abar u - sqrt(1 - abar) v      (v = sqrt(abar) n - sqrt(1 - abar) x0, Salimans and Ho 2022)

It is not clipped to [-1, 1], as the schedulers' ``clip_sample`` does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..priors.denoiser import as_levels
from ..runtime.optional import import_optional

diffusers = import_optional("diffusers")

PREDICTIONS = {  # prediction_type -> (u, prediction, sigma [B, 1, 1, 1]) -> E[x0 | u]
    "epsilon": lambda u, prediction, sigma: u - sigma * prediction,
    "sample": lambda u, prediction, sigma: prediction,
    "v_prediction": lambda u, prediction, sigma: (u - sigma * (1 + sigma**2).sqrt() * prediction) / (1 + sigma**2),
}
ROUNDING = 1e-5  # relative: by so much a noise level may exceed the schedule's last one


class DenoiserFromDiffusers(nn.Module):
    """``denoiser(u, sigma)`` on [-1, 1] from a ``UNet2DModel`` and the schedule it was trained with.

    Noise levels below the schedule's first (0.01 for DDPM's) have timestep 0; above its last (157 for DDPM's), which
    the network was not trained for, the call is refused. Of a network that also predicts a variance (twice the
    channels) the first half is used. ``PosteriorMean`` and ``DiffusionSampler`` make a prior of the result.

    Args:
        model: without classes; image sizes are those that it takes.
        scheduler: any with ``alphas_cumprod`` and a ``prediction_type`` of the three above: DDPMScheduler,
            DDIMScheduler and their relatives.
        interpolate: give the network the timestep of ``sigma`` as a fraction, interpolated in ln sigma, which a network
            with sinusoidal embeddings accepts; otherwise the nearest whole one.

    Raises:
        ValueError: the schedule is not variance-preserving or of an unknown prediction, the network's outputs do not
            fit its inputs, or it has learned embeddings of whole timesteps and ``interpolate`` is set.
    """

    def __init__(
        self, model: diffusers.UNet2DModel, scheduler: diffusers.SchedulerMixin, interpolate: bool = True
    ) -> None:
        super().__init__()
        kind = type(scheduler).__name__
        if not hasattr(scheduler, "alphas_cumprod"):
            raise ValueError(
                f"scheduler is a {kind} without alphas_cumprod but must be variance-preserving (DDPM, DDIM)"
            )
        prediction = scheduler.config.prediction_type
        if prediction not in PREDICTIONS:
            raise ValueError(f"{kind} predicts {prediction!r} but must predict one of {', '.join(PREDICTIONS)}")
        channels, outputs = model.config.in_channels, model.config.out_channels
        if outputs not in (channels, 2 * channels):
            raise ValueError(
                f"model has {channels} channels in and {outputs} out, expected {channels} or {2 * channels}"
            )
        if interpolate and model.config.time_embedding_type == "learned":
            raise ValueError("model has an embedding for each whole timestep: interpolate must be False")
        self.model, self.prediction, self.interpolate = model, prediction, interpolate
        abar = scheduler.alphas_cumprod.double().cpu().numpy()
        abar = abar[abar > 0]  # a schedule rescaled to end in pure noise ends with 0, sigma = infinity
        self.sigmas = np.sqrt((1 - abar) / abar)  # increasing

    def forward(self, u: Tensor, sigma: float | Tensor) -> Tensor:
        """``u`` ``[B, C, H, W]``, its noise level a float or ``[B]``; returns ``[B, C, H, W]``.

        Raises:
            ValueError: ``sigma`` is above the schedule's last noise level.
        """
        sigma = as_levels(sigma, u)
        column = sigma[:, None, None, None]
        dtype = next((p.dtype for p in self.model.parameters()), u.dtype)
        prediction = self.model((u / (1 + column**2).sqrt()).to(dtype), self.timestep(sigma)).sample
        return PREDICTIONS[self.prediction](u, prediction[:, : u.shape[1]].to(u.dtype), column)

    def timestep(self, sigma: Tensor) -> Tensor:
        """The timesteps of noise levels ``[B]``: float32, or int64 where they are not interpolated."""
        levels = sigma.detach().double().cpu().numpy()
        if not (levels <= self.sigmas[-1] * (1 + ROUNDING)).all():
            raise ValueError(
                f"sigma is {levels.max():g} but the model was trained for levels up to {self.sigmas[-1]:g}"
            )
        steps = np.interp(np.log(levels.clip(self.sigmas[0])), np.log(self.sigmas), np.arange(len(self.sigmas)))
        steps = torch.from_numpy(steps).to(sigma.device)
        return steps.float() if self.interpolate else steps.round().long()


def load(name: str | Path, interpolate: bool = True) -> DenoiserFromDiffusers:
    """The denoiser of a saved ``DDPMPipeline`` or ``DDIMPipeline``: a folder, or a repository of the model hub.

    Only safetensors weights are read, never pickled ones.

    Raises:
        OSError, ValueError: what diffusers raises where there is no such pipeline.
    """
    pipeline = diffusers.DDPMPipeline.from_pretrained(name, use_safetensors=True)
    return DenoiserFromDiffusers(pipeline.unet.eval().requires_grad_(False), pipeline.scheduler, interpolate)
