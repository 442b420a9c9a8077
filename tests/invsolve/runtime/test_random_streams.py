import math
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from invsolve.runtime.philox import box_muller, philox
from invsolve.runtime.random_streams import IN_CACHE, NoiseStreams, fused_normals, key_words, stream_key


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


def test_the_noise_is_that_of_numpys_integers_in_the_order_of_the_calls():
    # A call takes whole blocks of four words; the first normals of all words come before the second ones.
    streams, words = NoiseStreams(1, [(2, 3)]), np.random.Philox(key=stream_key(1, (2, 3)))
    for shape in [(3, 7), (1,), (2 * IN_CACHE + 24,)]:
        count = math.prod(shape)
        integers = words.random_raw(4 * -(-count // 8))
        high, low = (integers >> 32).astype(np.uint32).view(np.int32), integers.astype(np.uint32).view(np.int32)
        radius = np.sqrt(-2 * np.log((np.abs(high.astype(np.float64)) + 0.5) / 2**31))
        angle = np.pi * low / 2**31
        expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
        np.testing.assert_allclose(streams(shape)[0].numpy().ravel(), expected, rtol=1e-5, atol=1e-5)


def test_the_noise_is_a_fixed_function_of_its_key():
    # Pinned values: a change here changes every published result, whatever the platform.
    expected = torch.tensor([-1.1366197, 0.9150931, -0.9511443])
    assert torch.allclose(NoiseStreams(1, [(2, 3)])((3,))[0], expected, atol=1e-6)


@pytest.mark.parametrize("first", [0, 1, 12345])
def test_philox_in_tensor_operations_gives_numpys_integers(first):
    keys = [0, 1, 2**128 - 1, stream_key(0, 0), stream_key(-5, (3, 2**40))]
    words = philox(key_words(keys), first, 50).numpy().view(np.uint64)
    for key, row in zip(keys, words, strict=True):
        np.testing.assert_array_equal(row, np.random.Philox(key=key).random_raw(4 * (first + 50))[4 * first :])


def test_the_normals_of_extreme_integers_are_finite():
    words = torch.tensor([[0, -1, 2**63 - 1, -(2**63), 2**32, 2**31]])
    for normals in box_muller(words):
        assert normals.isfinite().all()
        assert normals.abs().max() < 7


@pytest.mark.skipif(find_spec("triton") is None, reason="without Triton")
def test_the_kernel_gives_the_same_normals():
    # Interpreted on the CPU, in a process of its own because Triton decides when it is imported.
    code = """
import torch
from invsolve.runtime.philox import box_muller, philox
from invsolve.runtime.philox_triton import fused_normals
keys = torch.tensor([[1, 2], [-(2**63), -1]])
for first, blocks in (0, 300), (7, 1):
    expected = torch.cat(box_muller(philox(keys, first, blocks)), dim=1)
    torch.testing.assert_close(fused_normals(keys, first, blocks), expected, rtol=1e-4, atol=1e-4)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TRITON_INTERPRET": "1"})


@pytest.mark.cuda
def test_cuda_makes_the_noise_of_the_cpu_in_one_kernel():
    assert fused_normals(torch.device("cuda")) is not None
    for index in 0, 1:
        on_cpu, on_cuda = (NoiseStreams(3, [index, 5], device) for device in ("cpu", "cuda"))
        for shape in [(3, 64, 64), (7,), (3, 300, 300)]:
            torch.testing.assert_close(on_cuda(shape).cpu(), on_cpu(shape), rtol=1e-4, atol=1e-3)


@pytest.mark.cuda
def test_cuda_without_the_kernel_makes_the_same_noise(monkeypatch):
    monkeypatch.setattr("invsolve.runtime.random_streams.fused_normals", lambda device: None)
    on_cpu, on_cuda = (NoiseStreams(3, [1, 5], device) for device in ("cpu", "cuda"))
    for shape in [(3, 64, 64), (7,)]:
        torch.testing.assert_close(on_cuda(shape).cpu(), on_cpu(shape), rtol=1e-4, atol=1e-4)


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
