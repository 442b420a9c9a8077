"""deepinv's physics as our operators and ours as deepinv's, against deepinv's own definitions and dot test."""

from __future__ import annotations

import pytest
import torch
from adapter_cases import SHAPE, random, seeded

from invsolve.runtime.optional import import_optional
from operators import (
    BlurDecimate,
    CircularConvolution,
    Convolution,
    GaussianBlur,
    Grayscale,
    Identity,
    LinearOperator,
    Mask,
    Resize,
    random_mask,
)

try:
    deepinv = import_optional("deepinv")
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

from invsolve.adapters.deepinv import (
    OperatorFromDeepinv,
    OperatorToDeepinv,
    measurement_from_01,
    measurement_to_01,
)

physics = deepinv.physics


def kernel(rows: int, columns: int) -> torch.Tensor:
    """Positive taps around a dominant one, unlike its mirror images."""
    taps = torch.rand(rows, columns, generator=seeded(1))
    taps[rows // 2, columns // 2] += 2
    return taps / taps.sum()


def four(taps: torch.Tensor) -> torch.Tensor:
    return taps[None, None]


MASK = random_mask(SHAPE[1:], 0.5, seed=0)
ODD, EVEN, MIXED = kernel(3, 5), kernel(4, 4), kernel(4, 3)

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


@pytest.mark.cuda
def test_the_adapters_move_to_a_gpu():
    for make in PAIRS.values():
        theirs, ours = make()
        x = random(2, *SHAPE)
        wanted = ours(x)
        assert (OperatorFromDeepinv(theirs, SHAPE).cuda()(x.cuda()).cpu() - wanted).abs().max() < 1e-4
        assert (OperatorToDeepinv(ours.cuda()).A(x.cuda()).cpu() - wanted).abs().max() < 1e-4
