"""deepinv's denoisers and linear physics as ours, and ours as deepinv's.

What differs between the two sides:

- Images are in [-1, 1] here, in [0, 1] there, so a noise level of an image is half as large there.
- A physics is linear and does not care, but its measurements do: those of images in [0, 1] are ``(y + A 1) / 2``,
  with half the noise (``measurement_to_01``, ``measurement_from_01``).
- deepinv weighs the data in a proximal map, we weigh the distance to ``v``: ``lam = 1 / gamma``.

Definitions of deepinv (0.5) that coincide with one here, to rounding:

    Denoising()                                            Identity(shape)
    Inpainting(shape, mask)                                Mask(shape, mask)
    Blur(k, "circular"), BlurFFT(shape, k)                 CircularConvolution(shape, k)
    Blur(k, "replicate"), Blur(k, "constant")              Convolution(shape, k, "replicate"), (shape, k, "zero")
    Downsampling(shape, k, factor)                         BlurDecimate(shape, k, factor)
    Decolorize(3, srf="flat")                              Grayscale(shape, "mean")
    gaussian_blur((size, size), std)                       gaussian_kernel(size, std)

Kernels are convolved (not correlated) and centred on tap ``h // 2`` by both; ``k`` is ``[1, 1|C, h, w]`` there. And
those that differ: ``Blur(k, "reflect")`` does not repeat the edge pixel, our ``reflect`` does; ``Blur(k, "valid")``
cuts the edges off. ``Downsampling(shape, "bicubic", factor)`` has the weights of our ``Resize``, but goes round at the
edges, which ``Resize`` reflects, and centres output pixel i at ``factor i + 1/2`` instead of
``factor (i + 1/2) - 1/2``: at a factor of 4 it looks one pixel further up and left. ``Decolorize(3)`` has the
weights of ``Grayscale(shape, "rec601")`` up to 5e-5; its ``prox_l2`` drops the part of ``z`` that A does not see.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from operators import FunctionOperator, LinearOperator

from ..priors.denoiser import Noise, Prior
from ..runtime.optional import import_optional
from ..runtime.random_streams import NoiseStreams

deepinv = import_optional("deepinv")

OurDenoiser = Callable[[Tensor, float | Tensor], Tensor]


class DenoiserFromDeepinv(nn.Module):
    """A deepinv denoiser ``model(x, sigma)`` on [0, 1] as a denoiser ``denoiser(u, sigma)`` on [-1, 1].

    ``D(u; sigma) = 2 model((u + 1) / 2, sigma / 2) - 1``. Not clipped, unless the model does it. ``PosteriorMean`` and
    ``DiffusionSampler`` make a prior of it. Keep to noise levels that the model was trained for: the ``sigma_max`` of
    ``Settings``, 2 by default, is 1 there.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, u: Tensor, sigma: float | Tensor) -> Tensor:
        """``u`` ``[B, C, H, W]``, its noise level a float or ``[B]``; returns ``[B, C, H, W]``."""
        return 2 * self.model((u + 1) / 2, sigma / 2) - 1


class DenoiserToDeepinv(deepinv.models.Denoiser):
    """A posterior mean ``denoiser(u, sigma)`` on [-1, 1], such as ``Denoiser``, as a deepinv denoiser on [0, 1]."""

    def __init__(self, denoiser: OurDenoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """``x`` ``[B, C, H, W]``; ``sigma`` on [0, 1]: a number, ``[B]`` or ``[B, 1, 1, 1]``."""
        return (self.denoiser(2 * x - 1, 2 * _sigmas(sigma, x)) + 1) / 2


class PriorToDeepinv(deepinv.models.Denoiser):
    """A prior, of which one call is one sample of ``p(x | u)``, as a deepinv denoiser on [0, 1].

    Args:
        prior: with ``sample(u, sigma, noise)``, on [-1, 1].
        seed: of one stream for each image. Every call has the same noise and is a function of its input, as
            plug-and-play iterations need it to converge.
        generator: gives new noise at every call instead, as a posterior sampler needs it.
    """

    def __init__(self, prior: Prior, seed: int = 0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.prior, self.seed, self.generator = prior, seed, generator

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """``x`` ``[B, C, H, W]``; ``sigma`` on [0, 1], the same for all images (ValueError otherwise)."""
        sigmas = _sigmas(sigma, x)
        if (sigmas != sigmas[0]).any():
            raise ValueError(f"sigma is {sigmas.tolist()} but a sample needs one noise level for all images")
        return (self.prior.sample(2 * x - 1, 2 * sigmas[0].item(), self._noise(x)) + 1) / 2

    def _noise(self, x: Tensor) -> Noise:
        if self.generator is None:
            return NoiseStreams(self.seed, range(len(x)), x.device, x.dtype)
        where = {"generator": self.generator, "device": self.generator.device}
        return lambda shape: torch.randn(len(x), *shape, **where).to(x)


class OperatorFromDeepinv(FunctionOperator):
    """A deepinv ``LinearPhysics`` as our operator: A and A^T are the physics', the prox runs conjugate gradients.

    The physics belongs to the operator from then on and moves with it. Its noise model stays behind: for Gaussian
    noise pass ``sigma_y = 2 physics.noise_model.sigma`` to ``solve``. One of our operators with the same definition
    (see the module's list) has an exact prox and is faster.

    Args:
        physics: with parameters shared by all images.
        in_shape: of the images, ``(C, H, W)``.

    Raises:
        TypeError: it is not a ``LinearPhysics``; ValueError: it does not take images of that shape, gives several
            tensors, has parameters for each image, is not linear, or its ``A_adjoint`` is not the adjoint of its ``A``.
    """

    def __init__(self, physics: deepinv.physics.LinearPhysics, in_shape: tuple[int, int, int]) -> None:
        if not isinstance(physics, deepinv.physics.LinearPhysics):
            raise TypeError(f"physics is a {type(physics).__name__} but must be a deepinv LinearPhysics")
        example = _like(physics).new_zeros(1, *in_shape)
        try:
            y = physics.A(example)
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f"physics does not take one image {(1, *in_shape)}: {error}") from None
        if not isinstance(y, Tensor):
            raise ValueError(f"physics gives a {type(y).__name__} but must give one tensor of measurements")
        if len(y) != 1:
            raise ValueError(f"physics has parameters for {len(y)} images but must share them between all images")
        super().__init__(in_shape, physics.A, physics.A_adjoint, example)
        self.physics = physics


class OperatorToDeepinv(deepinv.physics.LinearPhysics):
    """An operator of ours as a deepinv ``LinearPhysics``, with our proximal map and pseudo-inverse.

    Its noise is Gaussian of standard deviation ``sigma_y / 2``: what ``sigma_y``, on the scale [-1, 1], is for
    deepinv's images in [0, 1]. (Unlike ``LinearOperator.measure``, deepinv then adds noise to the missing pixels of a
    ``Mask`` too, which every map of the operator ignores.)
    """

    def __init__(self, operator: LinearOperator, sigma_y: float = 0.0) -> None:
        super().__init__(noise_model=deepinv.physics.GaussianNoise(sigma_y / 2))
        self.operator, self.img_size = operator, operator.in_shape
        like = _like(operator)
        self.to(like.device, like.dtype)

    def A(self, x: Tensor) -> Tensor:
        return self.operator(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(y)

    def A_dagger(self, y: Tensor) -> Tensor:
        """A^+ y, the least-squares solution of least norm."""
        return self.operator.pinv(y)

    def prox_l2(self, z: Tensor | float | None, y: Tensor, gamma: float | Tensor) -> Tensor:
        """argmin_u gamma/2 |A u - y|² + 1/2 |u - z|²: our prox with ``lam = 1 / gamma``.

        ``z`` may be a number, for a constant image, or None for 0; ``gamma`` is a number or a tensor of one for each
        image.
        """
        if not isinstance(z, Tensor):
            z = y.new_full((len(y), *self.operator.in_shape), 0.0 if z is None else z)
        return self.operator.prox(z, y, 1 / gamma)


def measurement_to_01(y: Tensor, operator: LinearOperator) -> Tensor:
    """What ``operator`` measures of the image in [0, 1] when it measures ``y`` of the one in [-1, 1]: (y + A 1) / 2."""
    return (y + operator(y.new_ones(len(y), *operator.in_shape))) / 2


def measurement_from_01(y: Tensor, operator: LinearOperator) -> Tensor:
    """The inverse of ``measurement_to_01``: 2 y - A 1. Noise of standard deviation s becomes 2 s."""
    return 2 * y - operator(y.new_ones(len(y), *operator.in_shape))


def _like(module: nn.Module) -> Tensor:
    """A tensor of a module's dtype and on its device."""
    return next((b for b in module.buffers() if b.is_floating_point()), torch.empty(0))


def _sigmas(sigma: float | Tensor, x: Tensor) -> Tensor:
    """deepinv's noise levels, a number or a tensor of one or B of them in any shape, as ``[B]``."""
    return torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1).expand(len(x))
