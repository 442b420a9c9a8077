import pytest
import torch
from skimage import data

from invsolve.priors.spectrum import dct_frequency, power_on_grid, radial_spectrum
from invsolve.solver.dct import cosine_filter, cosine_transform
from invsolve.solver.wiener import (
    PROBES,
    SMALLEST_NOISE,
    averaging,
    mean_colour,
    measured_response,
    preconditioner,
    response_of,
    wiener_estimate,
)
from operators import CircularConvolution, GaussianBlur, Grayscale, Identity, Mask, Resize, box_mask, motion_kernel

SHAPE = (3, 10, 9)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def natural_spectrum(bins: int = 64) -> torch.Tensor:
    """A profile like that of photographs: from 250 at the lowest frequencies down to 1e-3."""
    return 250 / (1 + (torch.arange(bins, dtype=torch.float64) / 0.7) ** 2.7)


def random_mask(shape: tuple[int, ...], missing: float, seed: int) -> torch.Tensor:
    return (torch.rand(shape, generator=seeded(seed), dtype=torch.float64) > missing).double()


def small_operators() -> dict:
    kernel = torch.rand(3, 3, generator=seeded(1), dtype=torch.float64)
    return {
        "mask": Mask(SHAPE, random_mask((10, 9), 0.6, 2)),
        "mask of its own for each image": Mask(SHAPE, random_mask((2, 1, 10, 9), 0.6, 3)),
        "hole": Mask(SHAPE, 1 - torch.nn.functional.pad(torch.ones(6, 6, dtype=torch.float64), (2, 1, 2, 2))),
        "blur": GaussianBlur(SHAPE, 1.2, boundary="reflect").double(),
        "convolution": CircularConvolution(SHAPE, kernel / kernel.sum()).double(),
        "super-resolution": Resize(SHAPE, 2).double(),
        "grayscale": Grayscale(SHAPE).double(),
    }


def dense(linear, shape: tuple[int, ...], batch: int, position: int) -> torch.Tensor:
    """The matrix of a map on the image at ``position`` of a batch."""
    size = torch.Size(shape).numel()
    columns = []
    for unit in torch.eye(size, dtype=torch.float64):
        columns.append(linear(unit.reshape(1, *shape).expand(batch, *shape).contiguous())[position].flatten())
    return torch.stack(columns, dim=1)


def test_the_default_device_does_not_matter():
    """`meta` has no numbers: nothing that has any may be made there."""
    operator, pictures = Resize(SHAPE, 2), torch.rand(2, *SHAPE, generator=seeded(5))
    y, spectrum = operator(pictures), radial_spectrum(pictures, 16)
    expected = wiener_estimate(y, operator, 0.05, spectrum)
    with torch.device("meta"):
        assert torch.equal(radial_spectrum(pictures, 16), spectrum)
        assert torch.equal(wiener_estimate(y, operator, 0.05, spectrum), expected)


@pytest.mark.parametrize("name", small_operators())
@pytest.mark.parametrize("sigma_y", [0.05, 0.5])
def test_wiener_estimate_against_a_dense_solve(name, sigma_y):
    operator = small_operators()[name].double()
    x = torch.randn(2, *SHAPE, generator=seeded(4), dtype=torch.float64)
    y = operator(x)
    power = power_on_grid(natural_spectrum(), *SHAPE[1:])
    estimate = wiener_estimate(y, operator, sigma_y, natural_spectrum(), tol=1e-12, max_iterations=2000)
    mean = mean_colour(y, operator)
    covariance = dense(cosine_filter(power), SHAPE, 1, 0)
    for b in range(2):
        a = dense(operator, SHAPE, 2, b)
        data_covariance = a @ covariance @ a.T + sigma_y**2 * torch.eye(len(a), dtype=torch.float64)
        residual = y[b].flatten() - a @ mean[b].flatten()
        expected = mean[b].flatten() + covariance @ a.T @ torch.linalg.solve(data_covariance, residual)
        assert (estimate[b].flatten() - expected).abs().max() < 1e-7


@pytest.mark.parametrize("name", small_operators())
def test_mean_colour_is_the_best_constant_image(name):
    operator = small_operators()[name].double()
    y = operator(torch.randn(2, *SHAPE, generator=seeded(5), dtype=torch.float64) + 0.5)
    mean = mean_colour(y, operator)
    constants = torch.eye(3, dtype=torch.float64)[:, :, None, None].expand(3, *SHAPE)
    for b in range(2):
        a = dense(operator, SHAPE, 2, b) @ constants.flatten(1).T
        expected = torch.linalg.lstsq(a, y[b].flatten(), driver="gelsd").solution  # of least norm where a is deficient
        assert (mean[b] - expected[:, None, None]).abs().max() < 1e-10


@pytest.mark.parametrize("name", small_operators())
def test_preconditioner_is_symmetric_positive_definite(name):
    operator = small_operators()[name].double()
    like = torch.zeros(2, *SHAPE, dtype=torch.float64)
    power, variance = power_on_grid(natural_spectrum(), *SHAPE[1:]), torch.tensor(0.0025, dtype=torch.float64)
    inverse = preconditioner(measured_response(operator, like), power, variance)
    matrix = dense(inverse, SHAPE, 2, 1)
    assert (matrix - matrix.T).abs().max() < 1e-10 * matrix.abs().max()
    assert torch.linalg.eigvalsh(matrix)[0] > 0


@pytest.mark.parametrize("name", small_operators())
def test_the_response_against_dense_matrices(name):
    operator = small_operators()[name].double()
    like = torch.zeros(2, *SHAPE, dtype=torch.float64)
    response = measured_response(operator, like)
    in_space, in_frequency = response.in_space, response.in_frequency
    matrix = dense(lambda x: operator.adjoint(operator(x)), SHAPE, 2, 1)
    transform = dense(cosine_transform, SHAPE, 1, 0)
    average = cosine_filter(averaging(4.0, like))
    for found, exact in ((in_space, matrix), (in_frequency, transform @ matrix @ transform.T)):
        diagonal = average(exact.diagonal().reshape(SHAPE).mean(0))
        assert found.shape == (2, 1, *SHAPE[1:])
        assert (found[1, 0] - diagonal).abs().max() < 0.3 * diagonal.max()
    if "mask" in name or name == "hole":  # diagonal in space
        assert (in_space[1, 0] - average(matrix.diagonal().reshape(SHAPE)[0])).abs().max() < 1e-12
    powers = torch.linalg.eigvalsh(matrix)
    gain = powers.square().sum() / powers.sum()
    assert response.gain.shape == (2, 1, 1, 1)
    assert abs(response.gain[1] / gain - 1) < (1e-12 if "mask" in name or name == "hole" else 0.25)


def test_the_diagonal_in_frequency_is_the_response_of_a_blur():
    shape = (3, 96, 128)
    operator = GaussianBlur(shape, 1.0, boundary="reflect").double()
    in_frequency = measured_response(operator, torch.zeros(1, *shape, dtype=torch.float64)).in_frequency
    response = torch.exp(-((2 * torch.pi * dct_frequency(*shape[1:])) ** 2))  # of A^T A: the square of A's
    assert (in_frequency[0, 0] - response).abs().max() < 0.03


def test_one_pixel_and_images_without_a_second_row():
    for shape in ((1, 1, 1), (1, 2, 2), (3, 1, 7)):
        operator = Identity(shape).double()
        y = torch.rand(2, *shape, generator=seeded(16), dtype=torch.float64)
        estimate = wiener_estimate(y, operator, 0.05, natural_spectrum())
        assert (estimate - y).abs().max() < 0.1


def photograph(size: int) -> torch.Tensor:
    picture = torch.from_numpy(data.astronaut()[: 2 * size, 100 : 100 + 2 * size].copy()).permute(2, 0, 1)[None]
    return torch.nn.functional.avg_pool2d(picture.double() / 127.5 - 1, 2)


@pytest.mark.parametrize("kind", ["gaussian", "motion", "super-resolution"])
def test_thirty_iterations_are_enough_for_a_blur(kind):
    x = photograph(128).float()
    shape, kernel = tuple(x.shape[1:]), motion_kernel(31, 0.5, 0)
    operator = {
        "gaussian": lambda: GaussianBlur(shape, 2.0, boundary="reflect"),
        "motion": lambda: CircularConvolution(shape, kernel),
        "super-resolution": lambda: Resize(shape, 4),
    }[kind]()
    y, spectrum = operator(x), radial_spectrum(x)
    estimate = wiener_estimate(y, operator, 0.05, spectrum)
    assert torch.equal(estimate, wiener_estimate(y, operator, 0.05, spectrum, max_iterations=30))


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("70 % missing", random_mask((128, 128), 0.7, 6)),
        ("a box missing", box_mask((128, 128), (64, 64)).double()),
    ],
)
def test_forty_float32_iterations_are_enough_on_a_picture(name, mask):
    x = photograph(128)
    spectrum = radial_spectrum(x)
    operator = Mask(tuple(x.shape[1:]), mask)
    y = operator.double()(x) + 0.05 * torch.randn(x.shape, generator=seeded(7), dtype=torch.float64) * operator.mask
    exact = wiener_estimate(y, operator, 0.05, spectrum, tol=1e-9, max_iterations=1000)
    estimate = wiener_estimate(y.float(), operator.float(), 0.05, spectrum, max_iterations=40)
    assert estimate.dtype == torch.float32
    assert torch.equal(estimate, wiener_estimate(y.float(), operator.float(), 0.05, spectrum))  # it had converged
    assert (estimate - exact).square().mean().sqrt() < 0.005
    # And the exact solution is worth having: it beats the mean colour on the missing pixels by far.
    missing = (1 - mask).expand_as(x) > 0
    error, flat_error = ((exact - x)[missing].square().mean(), (mean_colour(y, operator.double()) - x)[missing])
    assert error < (0.1 if name == "70 % missing" else 0.6) * flat_error.square().mean()


def test_a_noiseless_measurement_is_solved_at_the_smallest_noise():
    operator = small_operators()["mask"].double()
    y = operator(torch.randn(1, *SHAPE, generator=seeded(8), dtype=torch.float64))
    noiseless = wiener_estimate(y, operator, 0.0, natural_spectrum())
    smallest = wiener_estimate(y, operator, SMALLEST_NOISE, natural_spectrum())
    assert (noiseless - smallest).abs().max() < 1e-10
    assert (noiseless - wiener_estimate(y, operator, 2 * SMALLEST_NOISE, natural_spectrum())).abs().max() > 1e-3


@pytest.mark.parametrize("name", small_operators())
@pytest.mark.parametrize("sigma_y", [0.05, 0.0])
@pytest.mark.parametrize("c", [0.1, 0.001])
def test_equivalent_problems_have_one_estimate(name, sigma_y, c):
    operator = small_operators()[name].double()
    y = operator(torch.randn(2, *SHAPE, generator=seeded(17), dtype=torch.float64))
    expected = wiener_estimate(y, operator, sigma_y, natural_spectrum())
    found = wiener_estimate(c * y, c * operator, c * sigma_y, natural_spectrum())
    assert (found - expected).abs().max() < 1e-6 * expected.abs().max()


def test_the_response_is_measured_once_until_the_operator_changes(monkeypatch):
    operator, calls = small_operators()["mask"], []
    monkeypatch.setattr(operator, "adjoint", lambda y: calls.append(1) or Mask.adjoint(operator, y))
    like = torch.zeros(1, *SHAPE)
    first = response_of(operator, like)
    assert response_of(operator, like) is first
    operator.mask.fill_(1.0)
    assert response_of(operator, like).in_space.min() > 0.99
    assert len(calls) == 2 * PROBES


def test_an_image_has_the_same_estimate_alone_and_in_a_batch():
    operator = Mask(SHAPE, random_mask((4, 1, 10, 9), 0.6, 9)).double()
    y = operator(torch.randn(4, *SHAPE, generator=seeded(10), dtype=torch.float64))
    together = wiener_estimate(y, operator, 0.05, natural_spectrum())
    alone = wiener_estimate(y[2:3], operator.select([2]), 0.05, natural_spectrum())
    assert (together[2] - alone[0]).abs().max() < 1e-12


def test_opposite_borders_do_not_meet():
    """A picture dark on the left and bright on the right goes on dark where its first columns are missing."""
    x = torch.linspace(-0.8, 0.8, 32, dtype=torch.float64).expand(1, 3, 32, 32)
    mask = torch.ones(32, 32, dtype=torch.float64)
    mask[:, :3] = 0
    operator = Mask(tuple(x.shape[1:]), mask).double()
    estimate = wiener_estimate(operator(x), operator, 0.05, natural_spectrum())
    assert (estimate - x)[..., :3].abs().max() < 0.15


def test_nothing_measured_gives_the_mean_of_the_prior():
    operator = Mask(SHAPE, torch.zeros(10, 9)).double()
    y = torch.zeros(1, *SHAPE, dtype=torch.float64)
    assert torch.equal(wiener_estimate(y, operator, 0.05, natural_spectrum()), y)


@pytest.mark.parametrize("size", [(16, 16), (15, 22), (64, 33)])
def test_power_on_grid_samples_the_profile_at_any_size(size):
    frequency = torch.linspace(0, 0.5**0.5, 200, dtype=torch.float64)
    power = power_on_grid((-9 * frequency).exp(), *size)  # linear in the logarithm: interpolated exactly
    vertical, horizontal = (torch.arange(n, dtype=torch.float64) / (2 * n) for n in size)
    expected = (-9 * torch.hypot(vertical[:, None], horizontal)).exp()
    assert (power / expected - 1).abs().max() < 1e-6


def test_mean_power_is_the_variance_of_a_pixel():
    spectrum = natural_spectrum()
    power = power_on_grid(spectrum, 32, 32)
    n = 2000
    noise = torch.randn(n, 1, 32, 32, generator=seeded(11), dtype=torch.float64)
    variance = cosine_filter(power.sqrt())(noise).square().mean()
    assert abs(variance - power.mean()) < 5 * (2 * power.square().mean() / 32**2 / n) ** 0.5


def test_radial_spectrum_recovers_that_of_a_stationary_process():
    bins = 24
    frequency = torch.linspace(0, 0.5**0.5, bins, dtype=torch.float64)
    true = 1 / (0.003 + frequency**2)
    noise = torch.randn(300, 2, 64, 64, generator=seeded(12), dtype=torch.float64)
    pictures = cosine_filter(power_on_grid(true, 64, 64).sqrt())(noise)[..., 12:52, 8:56]  # away from the mirrors
    measured = radial_spectrum(pictures, bins)
    assert measured.shape == (bins,)
    # From the third sample on: below, the window and the lost mean blur what 40 pixels can tell.
    assert (measured[3:] / true[3:] - 1).abs().max() < 0.15


def test_white_noise_has_a_flat_spectrum_of_its_variance():
    noise = 0.3 * torch.randn(200, 1, 32, 32, generator=seeded(13), dtype=torch.float64)
    # From the third sample on: the mean, which is gone, takes some of the lowest frequencies with it.
    assert (radial_spectrum(noise, 16)[2:] / 0.09 - 1).abs().max() < 0.1


def test_borders_do_not_leak_into_the_high_frequencies():
    """A ramp jumps from border to border; without a window its spectrum would fall as slowly as ``f^-2``."""
    ramp = torch.linspace(-1, 1, 64, dtype=torch.float64).expand(1, 1, 64, 64)
    measured = radial_spectrum(ramp + torch.linspace(-1, 1, 64, dtype=torch.float64)[:, None], 16)
    assert measured[8:].max() < 1e-6 * measured.max()


def test_pictures_of_several_sizes_and_batches_of_them_count_alike():
    pictures = torch.randn(3, 3, 24, 24, generator=seeded(14))
    together, one_by_one = radial_spectrum([pictures], 16), radial_spectrum(iter(pictures), 16)
    assert (together / one_by_one - 1).abs().max() < 1e-6
    assert (radial_spectrum([pictures[0], torch.randn(1, 17, 31)], 200) > 0).all()


@pytest.mark.parametrize(
    ("pictures", "message"),
    [([], "pictures"), ([torch.ones(3, 16, 16)], "constant"), ([torch.randn(3, 4, 16)], "4x16 is too small")],
)
def test_what_gives_no_spectrum_is_refused(pictures, message):
    with pytest.raises(ValueError, match=message):
        radial_spectrum(pictures)
