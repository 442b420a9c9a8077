"""deepinv's denoisers and physics as ours, ours as deepinv's: against deepinv itself and against closed forms."""

from __future__ import annotations

import importlib
import math
import sys

import pytest
import torch

from invsolve import Denoiser, DiffusionDraw, GaussianPrior, MeanDraw, Settings, posterior, solve
from invsolve.imports import import_optional
from invsolve.noise import NoiseStreams
from invsolve.prior import GenerativeDenoiser
from operators import (
    BlurDecimate,
    CircularConvolution,
    Composition,
    Convolution,
    GaussianBlur,
    Grayscale,
    Identity,
    LinearOperator,
    Mask,
    Resize,
    gaussian_kernel,
    random_mask,
)

try:
    deepinv = import_optional("deepinv")
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

from invsolve.adapters.deepinv import (
    DenoiserFromDeepinv,
    DenoiserToDeepinv,
    OperatorFromDeepinv,
    OperatorToDeepinv,
    PriorToDeepinv,
    measurement_from_01,
    measurement_to_01,
)

physics = deepinv.physics
pytestmark = pytest.mark.filterwarnings("ignore:Using implicit_backward_solver")

SHAPE = (3, 16, 12)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def kernel(rows: int, columns: int) -> torch.Tensor:
    """Positive taps around a dominant one, unlike its mirror images."""
    taps = torch.rand(rows, columns, generator=seeded(1))
    taps[rows // 2, columns // 2] += 2
    return taps / taps.sum()


def four(taps: torch.Tensor) -> torch.Tensor:
    return taps[None, None]


MASK = random_mask(SHAPE[1:], 0.5, seed=0)
ODD, EVEN, MIXED = kernel(3, 5), kernel(4, 4), kernel(4, 3)
STD2 = gaussian_kernel(15, 2.0).float()

PAIRS = {  # deepinv's and ours, of one definition
    "denoising": lambda: (physics.Denoising(), Identity(SHAPE)),
    "inpainting": lambda: (physics.Inpainting(SHAPE, mask=MASK), Mask(SHAPE, MASK)),
    "blur circular odd": lambda: (physics.Blur(four(ODD), "circular"), CircularConvolution(SHAPE, ODD)),
    "blur circular even": lambda: (physics.Blur(four(EVEN), "circular"), CircularConvolution(SHAPE, EVEN)),
    "blur replicate odd": lambda: (physics.Blur(four(ODD), "replicate"), Convolution(SHAPE, ODD, "replicate")),
    "blur replicate mixed": lambda: (physics.Blur(four(MIXED), "replicate"), Convolution(SHAPE, MIXED, "replicate")),
    "blur zero": lambda: (physics.Blur(four(EVEN), "constant"), Convolution(SHAPE, EVEN, "zero")),
    "blur by FFT": lambda: (physics.BlurFFT(SHAPE, four(MIXED)), CircularConvolution(SHAPE, MIXED)),
    "gaussian blur": lambda: (
        physics.Blur(deepinv.physics.functional.gaussian_blur((7, 7), 1.5), "replicate"),
        GaussianBlur(SHAPE, 1.5, 7, "replicate"),
    ),
    "downsampling 2x": lambda: (physics.Downsampling(SHAPE, four(ODD), 2), BlurDecimate(SHAPE, ODD, 2)),
    "downsampling 4x": lambda: (physics.Downsampling(SHAPE, four(EVEN), 4), BlurDecimate(SHAPE, EVEN, 4)),
    "decolorize flat": lambda: (physics.Decolorize(3, srf="flat"), Grayscale(SHAPE, "mean")),
    "decolorize": lambda: (physics.Decolorize(3), Grayscale(SHAPE, physics.Decolorize(3).srf.flatten().tolist())),
}


@pytest.fixture(params=PAIRS, scope="module")
def pair(request) -> tuple[physics.LinearPhysics, LinearOperator]:
    return PAIRS[request.param]()


def test_operators_agree_with_deepinv(pair):
    theirs, ours = (side.float() for side in pair)
    x, y = random(2, *SHAPE), random(2, *ours.out_shape, seed=1)
    adapted = OperatorFromDeepinv(theirs, SHAPE)
    assert adapted.out_shape == ours.out_shape
    for forward in (theirs.A, adapted):
        assert (forward(x) - ours(x)).abs().max() < 1e-5
    for adjoint in (theirs.A_adjoint, adapted.adjoint):
        assert (adjoint(y) - ours.adjoint(y)).abs().max() < 1e-5


@pytest.mark.parametrize("lam", [0.01, 0.5, 3.0])
def test_all_proximal_maps_are_one(pair, lam):
    """Ours in closed form, ours through deepinv, deepinv's, and conjugate gradients on deepinv's physics."""
    theirs, ours = (side.double() for side in pair)
    v, y = random(2, *SHAPE).double(), random(2, *ours.out_shape, seed=1).double()
    u = ours.prox(v, y, lam)
    assert (ours.adjoint(ours(u) - y) + lam * (u - v)).abs().max() < 1e-6  # the definition
    assert (OperatorToDeepinv(ours).prox_l2(v, y, 1 / lam) - u).abs().max() < 1e-12
    assert (OperatorFromDeepinv(theirs, SHAPE).prox(v, y, lam) - u).abs().max() < 1e-5
    iterations = (
        {} if isinstance(theirs, physics.DecomposablePhysics) else {"solver": "lsqr", "max_iter": 500, "tol": 1e-9}
    )
    error = theirs.prox_l2(v, y, 1 / lam, **iterations) - u
    if isinstance(theirs, physics.Decolorize):  # which drops what A does not see
        error = ours(error)
    assert error.abs().max() < 1e-5


def test_a_level_for_each_image_and_numbers_for_images():
    ours = CircularConvolution(SHAPE, ODD)
    v, y, gamma = random(2, *SHAPE), random(2, *SHAPE, seed=1), torch.tensor([0.5, 4.0])
    theirs = OperatorToDeepinv(ours)
    together = theirs.prox_l2(v, y, gamma)
    for b in range(2):
        alone = theirs.prox_l2(v[b : b + 1], y[b : b + 1], gamma[b].item())
        assert (together[b] - alone[0]).abs().max() < 1e-6
    assert torch.equal(theirs.prox_l2(0.25, y, 2.0), theirs.prox_l2(torch.full_like(y, 0.25), y, 2.0))
    assert torch.equal(theirs.prox_l2(None, y, 2.0), theirs.prox_l2(torch.zeros_like(y), y, 2.0))


@pytest.mark.parametrize("direction", ["to deepinv", "from deepinv", "there and back"])
def test_the_adapters_pass_the_dot_test(pair, direction):
    theirs, ours = (side.double() for side in pair)
    x, y = random(2, *SHAPE).double(), random(2, *ours.out_shape, seed=1).double()
    if direction == "to deepinv":
        adapted = OperatorToDeepinv(ours)
        forward, adjoint = adapted.A(x), adapted.A_adjoint(y)
        assert adapted.adjointness_test(x) < 1e-10  # deepinv's own dot test
    else:
        theirs = theirs if direction == "from deepinv" else OperatorToDeepinv(ours).double()
        adapted = OperatorFromDeepinv(theirs, SHAPE)
        forward, adjoint = adapted(x), adapted.adjoint(y)
    error = (forward * y).flatten(1).sum(1) - (x * adjoint).flatten(1).sum(1)
    assert (error.abs() / (forward.flatten(1).norm(dim=1) * y.flatten(1).norm(dim=1))).max() < 1e-10


OURS = {
    "resize": lambda: Resize(SHAPE, 4),
    "composition": lambda: Grayscale((3, 8, 6)) @ Resize(SHAPE, 2),
    "mask": lambda: Mask(SHAPE, MASK),
}


@pytest.mark.parametrize("name", OURS)
def test_there_and_back_is_the_same_operator(name):
    ours = OURS[name]().double()
    back = OperatorFromDeepinv(OperatorToDeepinv(ours), SHAPE)
    v, y = random(2, *SHAPE).double(), random(2, *ours.out_shape, seed=1).double()
    assert back.out_shape == ours.out_shape
    assert torch.equal(back(v), ours(v))
    assert torch.equal(back.adjoint(y), ours.adjoint(y))
    for lam in (0.0, 0.1):
        assert (back.prox(v, y, lam) - ours.prox(v, y, lam)).abs().max() < 1e-8
    assert (OperatorToDeepinv(ours).A_dagger(y) - LinearOperator.pinv(back, y)).abs().max() < 1e-8


def test_where_the_definitions_differ_the_difference_is_the_documented_one():
    shape = (3, 48, 48)
    x = torch.rand(1, *shape, generator=seeded(0)) * 2 - 1
    inside = (..., slice(3, -3), slice(3, -3))
    theirs, ours = physics.Blur(four(ODD), "reflect").A(x), Convolution(shape, ODD, "reflect")(x)
    assert (theirs - ours)[inside].abs().max() < 1e-5
    assert (theirs - ours).abs().max() > 0.1
    for factor in (2, 4):
        theirs, shift = physics.Downsampling(shape, "bicubic", factor), 1 - factor // 2
        moved, ours = theirs.A(x.roll((shift, shift), (2, 3))), Resize(shape, factor)(x)
        assert (moved - ours)[inside].abs().max() < 1e-5
        assert (moved - ours).abs().max() > 0.01
        assert (theirs.A(x) - BlurDecimate(shape, theirs.filter[0], factor)(x)).abs().max() < 1e-5
    difference = physics.Decolorize(3).srf.flatten() - Grayscale(SHAPE, "rec601").weights.flatten()
    assert 1e-5 < difference.abs().max() < 5e-5


def test_our_cubic_is_matlabs_by_deepinvs_account():
    x = torch.rand(1, 3, 24, 32, generator=seeded(0))
    theirs = deepinv.physics.functional.imresize_matlab(x, scale=1 / 4)
    assert (theirs - Resize((3, 24, 32), 4)(x)).abs().max() < 1e-5


@pytest.mark.parametrize("name", OURS)
def test_measurements_change_scale(name):
    ours = OURS[name]().double()
    x = random(2, *SHAPE).double()
    y = ours(x)
    y01 = ours((x + 1) / 2)
    assert (measurement_to_01(y, ours) - y01).abs().max() < 1e-12
    assert (measurement_from_01(y01, ours) - y).abs().max() < 1e-12


def test_noise_has_half_the_level_there():
    theirs = OperatorToDeepinv(Identity((1, 100, 100)), sigma_y=0.5)
    torch.manual_seed(0)
    noise = theirs(torch.zeros(4, 1, 100, 100))
    assert noise.std().item() == pytest.approx(0.25, rel=5 / (2 * noise.numel()) ** 0.5)
    assert OperatorToDeepinv(Identity((1, 4, 4)))(torch.ones(1, 1, 4, 4)).equal(torch.ones(1, 1, 4, 4))


class NotLinear(physics.LinearPhysics):
    def A(self, x):
        return x**2 + 1

    def A_adjoint(self, y):
        return y


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: torch.nn.Identity(), TypeError, "physics is a Identity but must be a deepinv LinearPhysics"),
        (lambda: physics.Inpainting(SHAPE, torch.ones(4, *SHAPE)), ValueError, "parameters for 4 images"),
        (lambda: physics.Blur(torch.ones(4, 1, 3, 3), "circular"), ValueError, "does not take one image .* b=4"),
        (lambda: physics.Inpainting(SHAPE, torch.ones(3, 16, 13)), ValueError, r"one image \(1, 3, 16, 12\): .*13"),
        (lambda: physics.StackedLinearPhysics([physics.Denoising()] * 2), ValueError, "gives a TensorList"),
        (NotLinear, ValueError, "forward is not linear"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_operator_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        OperatorFromDeepinv(make(), SHAPE)


class MeanModel(deepinv.models.Denoiser):
    """The exact posterior mean for x ~ N(m, C) on [0, 1]: m + C (C + sigma² I)^-1 (u - m)."""

    def __init__(self, mean: torch.Tensor, covariance: torch.Tensor) -> None:
        super().__init__()
        self.mean, self.covariance = mean, covariance

    def forward(self, x, sigma):
        levels = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1, 1)
        total = self.covariance + levels**2 * torch.eye(len(self.covariance), dtype=x.dtype)
        away = (x - self.mean).flatten(1)[..., None]
        return self.mean + (self.covariance @ total.inverse() @ away).reshape(x.shape)


SMALL = (1, 4, 4)


@pytest.fixture(scope="module")
def gaussian() -> GaussianPrior:
    root = torch.randn(16, 16, generator=seeded(1), dtype=torch.float64) / 4
    mean = torch.randn(*SMALL, generator=seeded(2), dtype=torch.float64) / 4
    return GaussianPrior(mean, root @ root.T)


@pytest.fixture(scope="module")
def model(gaussian) -> MeanModel:
    covariance = gaussian.axes @ gaussian.variances.diag() @ gaussian.axes.T
    return MeanModel((gaussian.mean + 1) / 2, covariance / 4)


@pytest.mark.parametrize("sigma", [0.05, 1.5, torch.tensor([0.1, 0.7], dtype=torch.float64)])
def test_a_deepinv_denoiser_is_ours_on_the_other_scale(gaussian, model, sigma):
    u = random(2, *SMALL).double()
    assert (DenoiserFromDeepinv(model)(u, sigma) - gaussian(u, sigma)).abs().max() < 1e-12
    x, half = (u + 1) / 2, sigma / 2
    assert (DenoiserToDeepinv(gaussian)(x, half) - model(x, half)).abs().max() < 1e-12
    assert (DenoiserFromDeepinv(DenoiserToDeepinv(gaussian))(u, sigma) - gaussian(u, sigma)).abs().max() < 1e-12
    assert (DenoiserToDeepinv(DenoiserFromDeepinv(model))(x, half) - model(x, half)).abs().max() < 1e-12


def test_gradients_pass_through_the_denoisers(gaussian, model):
    u = random(2, *SMALL).double().requires_grad_()
    for adapted in (DenoiserFromDeepinv(model), DenoiserFromDeepinv(DenoiserToDeepinv(gaussian))):
        found, wanted = (torch.autograd.grad(d(u, 0.3).square().sum(), u)[0] for d in (adapted, gaussian))
        assert (found - wanted).abs().max() < 1e-12


@pytest.mark.parametrize("shape", [(), (1,), (2,), (2, 1, 1, 1)])
def test_deepinvs_shapes_of_a_noise_level(gaussian, model, shape):
    x = random(2, *SMALL).double()
    assert (DenoiserToDeepinv(gaussian)(x, torch.full(shape, 0.2)) - model(x, torch.tensor(0.2))).abs().max() < 1e-7


class Network(torch.nn.Module):
    """A small random network with the contract of a conditional one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = torch.nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x, level, condition, condition_level):
        return torch.tanh(self.mix(torch.cat([x, condition], dim=1)) + level[:, None, None, None])


def test_a_generative_prior_draws_with_a_seed_or_a_generator():
    prior = GenerativeDenoiser(Denoiser(Network()), refine=(0.5,))
    x = torch.rand(3, *SHAPE, generator=seeded(0))
    adapted = PriorToDeepinv(prior, seed=5)
    wanted = (prior.draw(2 * x - 1, 0.4, NoiseStreams(5, range(3))) + 1) / 2
    for sigma in (0.2, torch.tensor(0.2), torch.full((3, 1, 1, 1), 0.2)):
        assert (adapted(x, sigma) - wanted).abs().max() < 1e-6  # every call has the same noise
    assert (adapted(x[:1], 0.2) - wanted[:1]).abs().max() < 1e-6  # whatever the batch
    assert (PriorToDeepinv(prior, seed=6)(x, 0.2) - wanted).abs().max() > 0.01
    fresh = PriorToDeepinv(prior, generator=seeded(7))
    first, second = fresh(x, 0.2), fresh(x, 0.2)
    assert (first - second).abs().max() > 0.01
    assert torch.equal(PriorToDeepinv(prior, generator=seeded(7))(x, 0.2), first)
    with pytest.raises(ValueError, match=r"sigma is \[.*\] but a draw needs one level"):
        adapted(x, torch.tensor([0.1, 0.2, 0.2]))


def test_solve_with_a_deepinv_denoiser_and_physics_has_the_closed_form_posterior(gaussian, model):
    """y = A x + n with x ~ N(m, C): E[x | y] = m + C A^T (A C A^T + s² I)^-1 (y - A m)."""
    s, samples, shape = 0.3, 2000, SMALL
    theirs = physics.Downsampling(shape, four(kernel(3, 3)), 2).double()
    operator = OperatorFromDeepinv(theirs, shape)
    matrix = operator(torch.eye(16, dtype=torch.float64).reshape(16, *shape)).flatten(1).T
    covariance = 4 * model.covariance
    y = operator(random(1, *shape, seed=3).double())
    gain = covariance @ matrix.T @ torch.linalg.inv(matrix @ covariance @ matrix.T + s**2 * torch.eye(4).double())
    mean = gaussian.mean.flatten() + gain @ (y.flatten() - matrix @ gaussian.mean.flatten())
    std = (covariance - gain @ matrix @ covariance).diagonal().sqrt()
    prior = DiffusionDraw(DenoiserFromDeepinv(model), evaluations=12, exponent=3.0, sigma_min=0.02)
    settings = Settings(sigma_max=1.5, sigma_min=0.15)
    found = posterior(y, operator, samples, 12 * 40, s, prior, settings=settings, batch=samples)
    # Monte Carlo errors of 5 standard deviations, beside a tenth for the finite schedules.
    assert ((found.mean.flatten() - mean).abs() / std).max() < 0.1 + 5 / math.sqrt(samples)
    assert (found.std.flatten() / std - 1).abs().max() < 0.1 + 5 / math.sqrt(2 * samples)


@pytest.mark.parametrize("draw", [MeanDraw, lambda denoiser: DiffusionDraw(denoiser, 2)])
def test_solve_with_an_untrained_deepinv_network(draw):
    """A real architecture: what it gives is a function of each image alone and keeps to the measurement."""
    torch.manual_seed(0)
    network = deepinv.models.DRUNet(3, 3, nc=(8, 8, 8, 8), nb=1, pretrained=None)
    prior = draw(DenoiserFromDeepinv(network))
    operator = OperatorFromDeepinv(physics.Inpainting(SHAPE, mask=MASK), SHAPE)
    y = operator(random(3, *SHAPE))
    x = solve(y, operator, 4, 0.05, prior)
    last = solve(y[2:], operator, 4, 0.05, prior, indices=[2])
    assert (x[2:] - last).abs().max() < 1e-4
    assert isinstance(operator @ operator, Composition)


def test_deepinvs_own_iteration_runs_on_our_operator_and_prior(gaussian):
    """deepinv's plug-and-play half-quadratic splitting, with the maps of both libraries, comes to the same image."""
    operator = Resize(SMALL, 2).double()
    there = OperatorToDeepinv(operator, sigma_y=0.1)
    denoiser = DenoiserToDeepinv(gaussian)
    y = measurement_to_01(operator(random(1, *SMALL, seed=4).double()), operator)
    build = deepinv.optim.optim_builder
    loop = build(
        "HQS",
        prior=deepinv.optim.PnP(denoiser),
        data_fidelity=deepinv.optim.L2(),
        max_iter=20,
        params_algo={"stepsize": 1.5, "g_param": 0.1},
        custom_init=lambda y, physics: {"est": (physics.A_adjoint(y), physics.A_adjoint(y))},
    )
    found = loop(y, there)
    x = operator.adjoint(y)
    for _ in range(20):
        x = (gaussian(2 * operator.prox(x, y, 1 / 1.5) - 1, 0.2) + 1) / 2
    assert (found - x).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["deepinv", "diffusers"])
def test_without_the_library_the_message_says_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"invsolve.adapters.{name}", raising=False)
    with pytest.raises(ImportError) as caught:
        importlib.import_module(f"invsolve.adapters.{name}")
    assert str(caught.value) == f'{name} is not installed: pip install "invsolve[{name}]"'


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_adapters_move_to_a_gpu(pair):
    theirs, ours = pair
    adapted = OperatorFromDeepinv(theirs.float(), SHAPE).cuda()
    x = random(2, *SHAPE).cuda()
    assert (adapted(x) - ours.float().cuda()(x)).abs().max() < 1e-4
    assert (OperatorToDeepinv(ours.float().cuda()).A(x) - adapted(x)).abs().max() < 1e-4
