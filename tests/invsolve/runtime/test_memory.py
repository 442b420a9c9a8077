"""Batches larger than memory: halved until they fit, with the results of the whole."""

from __future__ import annotations

import pytest
import torch
from solver_cases import OPERATORS, SHAPE, TinyNetwork, measurements

from invsolve import Denoiser, GenerativeDenoiser, posterior, solve
from invsolve.runtime.memory import Limit, holders, in_micro_batches
from operators import Identity, Resize


@pytest.fixture(scope="module")
def network_prior() -> GenerativeDenoiser:
    return GenerativeDenoiser(Denoiser(TinyNetwork()))


@pytest.fixture(autouse=True)
def names_of_torch_2_4(monkeypatch):
    monkeypatch.delattr(torch, "OutOfMemoryError", raising=False)


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_micro_batches_cover_all_items_once(size):
    done = []
    in_micro_batches(7, size, lambda some: done.append(list(range(7))[some]), Limit())
    assert [item for some in done for item in some] == list(range(7))
    assert {len(some) for some in done[:-1]} <= {size}


class Greedy:
    """A prior whose memory holds ``room`` images."""

    evaluations = 1

    def __init__(self, prior, room: int) -> None:
        self.prior, self.room, self.asked = prior, room, []

    def sample(self, u, sigma, noise):
        self.asked.append(len(u))
        if len(u) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.prior.sample(u, sigma, noise)


@pytest.mark.parametrize("name", ["a mask per image", "mask per image of a blur", "super-resolution"])
def test_a_batch_that_runs_out_of_memory_is_halved_and_gives_the_same_result(name, network_prior, capsys):
    operator = OPERATORS[name]()
    y = measurements(operator)
    expected = solve(y, operator, prior=network_prior)
    greedy = Greedy(network_prior, 3)
    x = solve(y, operator, prior=greedy, progress=True)
    assert greedy.asked == [8, 4] + 4 * [2] * 4  # two failures, then four micro-batches of four evaluations
    assert (x - expected).abs().max() < 1e-5
    assert "32/32" in capsys.readouterr().err
    solve(y, operator, 1, prior=greedy)
    assert greedy.asked[18:] == 4 * [2]  # as has fitted before
    samples = posterior(y, operator, samples=2, prior=Greedy(network_prior, 3)).samples
    assert (samples - posterior(y, operator, samples=2, prior=network_prior).samples).abs().max() < 1e-5


def test_one_image_that_does_not_fit_is_an_error(network_prior):
    greedy = Greedy(network_prior, 0)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        solve(measurements(Identity(SHAPE), 5), Identity(SHAPE), prior=greedy)
    assert greedy.asked == [5, 3, 2, 1]


def test_one_item_is_tried_again_once_when_others_could_make_room():
    class Graphs:
        released = 0

        def release(self) -> None:
            self.released += 1

    graphs, tried = Graphs(), []

    def work(some: slice) -> None:
        holders.add(graphs)
        tried.append(some.stop - some.start)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        in_micro_batches(3, 2, work, Limit())
    assert tried == [2, 1, 1]
    assert graphs.released == 2


def test_memory_that_runs_out_late_loses_no_finished_image(network_prior):
    """The second micro-batch fails in its third evaluation; the first is not done again."""

    class Late(Greedy):
        def sample(self, u, sigma, noise):
            self.room = 1 if len(self.asked) == 6 else 8
            return super().sample(u, sigma, noise)

    operator = Resize(SHAPE, 2)
    y = measurements(operator)
    late = Late(network_prior, 8)
    x = solve(y, operator, prior=late, batch=4)
    assert late.asked == 4 * [4] + 3 * [4] + 2 * 4 * [2]
    assert (x - solve(y, operator, prior=network_prior)).abs().max() < 1e-5
