import numpy as np
import pytest
import torch

from invsolve.runtime.random_streams import NoiseStreams, stream_key


def test_an_image_has_the_same_noise_alone_in_a_batch_and_in_any_order():
    together = NoiseStreams(7, [0, 1, 2, 3])
    shuffled = NoiseStreams(7, [3, 1])
    alone = NoiseStreams(7, [1])
    for shape in [(3, 5, 4), (2,), (3, 5, 4)]:
        batch, pair, single = together(shape), shuffled(shape), alone(shape)
        assert batch.shape == (4, *shape)
        assert torch.equal(batch[1], single[0])
        assert torch.equal(pair, batch[[3, 1]])


def test_precision_does_not_change_the_stream():
    single = NoiseStreams(0, [4, 9])((3, 8, 8))
    double = NoiseStreams(0, [4, 9], dtype=torch.float64)((3, 8, 8))
    assert double.dtype == torch.float64
    assert torch.equal(single.double(), double)


def test_successive_calls_advance_each_stream():
    streams = NoiseStreams(0, [0])
    whole = NoiseStreams(0, [0])((12,))
    assert torch.equal(torch.cat([streams((5,)), streams((7,))], dim=1), whole)


def test_the_noise_is_a_fixed_function_of_its_key():
    # Pinned values: a change here changes every published result, whatever the platform.
    expected = torch.tensor([-0.43334982, -0.71520609, -1.85849833])
    assert torch.allclose(NoiseStreams(1, [(2, 3)])((3,))[0], expected, atol=1e-7)


def test_keys_are_distinct_where_naive_mixing_collides():
    seeds = (-1, 0, 1, 10, 2**32, 2**32 + 1)
    indices = (-1, 0, 1, 10, (0, 0), (1, 0), (2**32,))
    keys = [stream_key(seed, index) for seed in seeds for index in indices]
    assert len(set(keys)) == len(keys)
    assert stream_key(3, 5) == stream_key(3, (5,)) == stream_key(3, np.int64(5))


def test_streams_are_standard_normal_and_uncorrelated():
    n, images = 4000, 64
    noise = NoiseStreams(3, [(i // 8, i % 8) for i in range(images)], dtype=torch.float64)((n,))
    gram = noise @ noise.T / n
    # Off-diagonal entries have standard deviation 1/sqrt(n), diagonal ones sqrt(2/n): 5 of them for 64² entries.
    assert (gram - torch.eye(images)).abs().max() < 5 * (2 / n) ** 0.5
    assert noise.mean(dim=1).abs().max() < 5 / n**0.5


@pytest.mark.parametrize(("seed", "index"), [(0.5, 0), (0, 1.0), (0, "1"), (0, [1, 2]), (None, 0)])
def test_keys_that_are_not_integers_are_refused(seed, index):
    with pytest.raises(TypeError, match="integers"):
        NoiseStreams(seed, [index])


def test_integer_dtype_is_refused():
    with pytest.raises(TypeError, match="floating-point"):
        NoiseStreams(0, [0], dtype=torch.int64)
