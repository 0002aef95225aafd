"""The noise of sample i is a function of (seed, i), and training streams are functions of what they are for."""

import numpy as np
import torch

from models.randomness import SampleRandom, generator


def test_noise_does_not_depend_on_how_samples_are_split() -> None:
    whole = SampleRandom(7)
    parts = [SampleRandom(7, 0), SampleRandom(7, 3), SampleRandom(7, 4)]
    for draw in ("uniform", "normal"):
        at_once = getattr(whole, draw)(9, 5, 2)
        in_parts = [getattr(part, draw)(count, 5, 2) for part, count in zip(parts, (3, 1, 5), strict=True)]
        assert torch.equal(at_once, torch.cat(in_parts))


def test_later_draws_continue_each_samples_own_stream() -> None:
    long, short = SampleRandom(1), SampleRandom(1)
    short.uniform(2, 3)
    assert torch.equal(long.uniform(5, 6)[:2, 3:], short.uniform(2, 3))


def test_samples_and_seeds_differ() -> None:
    noise = SampleRandom(0).uniform(50, 4)
    assert len(torch.unique(noise)) == noise.numel()
    assert not torch.equal(SampleRandom(1).uniform(50, 4), noise)


def test_distributions() -> None:
    uniform = SampleRandom(3).uniform(40, 5000)
    normal = SampleRandom(3).normal(40, 5000)
    assert uniform.dtype == torch.float64
    assert normal.dtype == torch.float32
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.005
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.01
    between_samples = np.corrcoef(normal.numpy())[~np.eye(40, dtype=bool)]
    assert abs(between_samples).max() < 0.1


def test_global_state_is_neither_read_nor_written() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = SampleRandom(5).normal(2, 3), torch.rand(3, generator=generator(5, "step", 1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    np.random.seed(99)
    second = SampleRandom(5).normal(2, 3), torch.rand(3, generator=generator(5, "step", 1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_generators_are_functions_of_their_words() -> None:
    words: list[tuple[int | str, ...]] = [
        (0,),
        (1,),
        ("0",),
        (0, "step"),
        (0, "step", 1),
        (0, "step", 11),
        (0, "step", 1, 1),
    ]
    draws = [torch.rand((), generator=generator(*w)).item() for w in words]
    assert len(set(draws)) == len(words)
    assert draws == [torch.rand((), generator=generator(*w)).item() for w in words]
