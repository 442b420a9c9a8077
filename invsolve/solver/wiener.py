"""The Wiener estimate: a first guess from second-order statistics alone, to start the sampler from.

The prior is the stationary Gaussian of a radial power spectrum, see ``invsolve/priors/spectrum.py``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from operators import LinearOperator, solve_spd
from operators.precision import real_type

from ..priors.spectrum import dct_frequency, power_on_grid
from ..runtime.device import with_float64
from ..runtime.random_streams import NoiseStreams
from .dct import cosine_filter, cosine_transform, inverse_cosine_transform
from .per_operator import once_per_operator

SMALLEST_NOISE = 0.02  # sigma_y is taken to be at least this, for an operator of gain 1
PROBES = 4  # random signs that measure the response of an operator
NEIGHBOURHOOD = 4.0  # pixels or frequencies, standard deviation of the window that a diagonal is averaged over
SMALLEST_RESPONSE = 1e-3  # of the mean: that at any frequency is taken to be at least this
DAMPING = 1e-3  # of the mean colour's equations, relative to their trace
SPARSE = 2 / 3  # of the mean: a neighbourhood measured less than so densely belongs to a hole


def wiener_estimate(
    y: torch.Tensor,
    operator: LinearOperator,
    sigma_y: float,
    spectrum: torch.Tensor,
    tol: float = 1e-4,
    max_iterations: int = 150,
) -> torch.Tensor:
    """The posterior mean of x given ``y = A x + sigma_y n`` under the stationary Gaussian prior: ``m + d`` with

        (A^T A + sigma_y² C^-1) d = A^T (y - A m),

    m being the mean colour of the measurement (:func:`mean_colour`). Solved for the coefficients ``D d`` of its cosine
    transform, in which C is diagonal, by preconditioned conjugate gradients, each image by itself; no network is
    evaluated.

    Args:
        y: measurements ``[B, *operator.out_shape]``, float32 or float64, or complex of these.
        operator: a linear operator from images ``[B, C, H, W]``.
        sigma_y: noise level on [-1, 1]. The estimate uses 0.02 times the operator's gain if it is less: a start for the
            sampler is no better for a finer one, and the system takes the longer to solve the smaller the noise.
        spectrum: radial power spectrum, see ``invsolve/priors/spectrum.py``.
        tol: the relative residual at which an image is finished; in a large hole the error is about 30 times as large.
        max_iterations: where to stop in any case; what has not converged by then is a rougher start, not an error.

    Returns:
        ``[B, C, H, W]``, in y's dtype and on its device.
    """
    power = power_on_grid(spectrum.to(y.device, real_type(y.dtype)), *operator.in_shape[-2:])
    mean = mean_colour(y, operator)
    response = response_of(operator, mean if operator.batch_size else mean[:1])
    variance = (SMALLEST_NOISE**2 * response.gain).clamp(min=sigma_y**2)
    roughness = variance / power

    def normal_matrix(c: torch.Tensor) -> torch.Tensor:
        return cosine_transform(operator.adjoint(operator(inverse_cosine_transform(c)))) + roughness * c

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        c, _ = solve_spd(
            normal_matrix,
            cosine_transform(operator.adjoint(y - operator(mean))),
            preconditioner(response, power, variance),
            tol=tol,
            max_iterations=max_iterations,
        )
    return mean + inverse_cosine_transform(c)


def mean_colour(y: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
    """The constant image m that explains the measurement best, ``[B, C, H, W]``.

    ``m`` minimises ``|A m - y|²`` over one value per channel; where the measurement leaves some of these open (a
    grayscale one tells only a weighted sum), it is the solution of least norm.
    """
    channels = operator.in_shape[0]
    basis = torch.eye(channels, dtype=real_type(y.dtype), device=y.device)[:, None, :, None, None]
    responses = [operator(one.expand(len(y), *operator.in_shape).contiguous()) for one in basis]
    *responses, y = (torch.view_as_real(each).flatten(1) if each.is_complex() else each for each in (*responses, y))
    a = torch.stack([response.flatten(1) for response in responses], dim=1)  # [B, C, measurements]
    precise = {"dtype": torch.float64, "device": with_float64(y.device)}
    gram, moments = (a @ a.mT).to(**precise), (a @ y.flatten(1)[:, :, None]).to(**precise)
    # Iterated Tikhonov regularisation: a pseudo-inverse would make the CPU wait for the device.
    damping = (DAMPING * gram.diagonal(dim1=1, dim2=2).sum(1)).clamp(min=torch.finfo(gram.dtype).tiny)
    inverse, _ = torch.linalg.inv_ex(gram + damping[:, None, None] * torch.eye(channels, **precise))
    colour = torch.zeros_like(moments)
    for _ in range(5):
        colour = colour + inverse @ (moments - gram @ colour)
    colour = colour.to(y)
    return colour[..., None].expand(len(y), *operator.in_shape).contiguous()


@dataclass(frozen=True)
class Response:
    """How well an operator measures each pixel and each frequency: ``B = A^T A`` in a few numbers an image.

    With random signs w (Bekas, Kokiopoulou and Saad 2007), which are the same for every image and every call, so that
    an estimate does not depend on the batch.
    """

    in_space: torch.Tensor  # diagonal of B, averaged over neighbourhoods and channels, [B, 1, H, W]
    in_frequency: torch.Tensor  # diagonal of D B D^T, averaged likewise, [B, 1, H, W]
    gain: torch.Tensor  # mean of B's eigenvalues, weighted by themselves: |B w|² / (w, B w), [B, 1, 1, 1]
    hole: torch.Tensor | None  # 0 to 1 in the middle of a hole, [B, 1, H, W]; None without holes


def response_of(operator: LinearOperator, like: torch.Tensor) -> Response:
    """The response of an operator to images like ``like`` ``[B, C, H, W]``, measured once an operator."""
    key = (like.shape, like.dtype, like.device)
    return once_per_operator(operator, "response", key, lambda: measured_response(operator, like))


def measured_response(operator: LinearOperator, like: torch.Tensor) -> Response:
    """Means over random signs w: of ``w ⊙ B w`` over ``w ⊙ w``, and the same of their transforms."""
    noise = NoiseStreams(0, [0], like.device, like.dtype)
    in_space, in_frequency, square = (torch.zeros_like(like[:, :1]) for _ in range(3))
    energy = total = torch.zeros_like(like[:, :1, :1, :1])
    image = (-3, -2, -1)
    for _ in range(PROBES):
        signs = torch.where(noise(like.shape[1:]) < 0, -1.0, 1.0).to(like).expand_as(like).contiguous()
        answer, wave = operator.adjoint(operator(signs)), cosine_transform(signs)
        in_space += (signs * answer).mean(dim=1, keepdim=True)
        in_frequency += (wave * cosine_transform(answer)).mean(dim=1, keepdim=True)
        square += wave.square().mean(dim=1, keepdim=True)
        energy = energy + answer.square().sum(image, keepdim=True)
        total = total + (signs * answer).sum(image, keepdim=True)
    average = cosine_filter(averaging(NEIGHBOURHOOD, like))
    in_space, in_frequency = average(in_space) / PROBES, average(in_frequency) / average(square)
    mean = in_space.mean(image, keepdim=True).clamp(min=torch.finfo(like.dtype).tiny)
    hole = (1 - in_space / (SPARSE * mean)).clamp(min=0)
    hole = hole * (hole.amax(image, keepdim=True) > 0.5)  # else chance among scattered pixels
    gain = torch.where(total > 0, energy / total.clamp(min=torch.finfo(like.dtype).tiny), 1)
    without = hole.device.type == "cpu" and not hole.any()  # another device is not waited for: zeros change nothing
    return Response(in_space, in_frequency, gain, None if without else hole)


def preconditioner(
    response: Response, power: torch.Tensor, variance: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """An approximate inverse of ``D (A^T A + variance C^-1) D^T``, symmetric positive definite, the sum of two.

    The first, ``(diag(Q) + variance diag(1/P))^-1`` with Q the diagonal of ``D A^T A D^T``, averaged over a
    neighbourhood of each frequency, is all it takes where every neighbourhood of the image is measured about as well as
    another. In a hole it is not so, and the iteration would creep inwards from the border. There ``A^T A`` vanishes and
    the inverse is ``C / variance``: that is the second, between weights that are 1 in the middle of a hole and 0
    wherever the mean of the diagonal of ``A^T A`` over a neighbourhood is at least two thirds of that over all.
    The border holds a hole's content: there is no more power in waves as long as the hole than in those half as long,
    and P is limited to theirs.
    """
    image = (-3, -2, -1)
    least = SMALLEST_RESPONSE * response.in_space.mean(image, keepdim=True).clamp(min=torch.finfo(power.dtype).tiny)
    everywhere = power / (torch.maximum(response.in_frequency, least) * power + variance)
    hole = response.hole
    if hole is None:
        return lambda r: everywhere * r
    side = hole.square().sum(image, keepdim=True).sqrt()
    short = dct_frequency(*power.shape, power.device).to(power) >= (2 / side).clamp(max=0.5)
    limit = torch.where(short, power, 0).amax(dim=(-2, -1), keepdim=True)
    within_holes = cosine_filter(torch.minimum(power, limit) / variance)

    def inverse(r: torch.Tensor) -> torch.Tensor:
        return everywhere * r + cosine_transform(hole * within_holes(hole * inverse_cosine_transform(r)))

    return inverse


def averaging(deviation: float, like: torch.Tensor) -> torch.Tensor:
    """The gain of a mean over a Gaussian neighbourhood of so many pixels, ``[H, W]``."""
    return torch.exp(-2 * (math.pi * deviation * dct_frequency(*like.shape[-2:], like.device)) ** 2).to(like)
