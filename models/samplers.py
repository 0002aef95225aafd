"""Samplers of diffusion models: from noise to data over a list of noise levels, each in its paper's own form.

A level is its alpha_bar: a sample there is x = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps. Levels rise from noise to data,
and a last one of 1, which is the data itself, needs no evaluation. All three samplers make one evaluation at each other level:

    ancestral       Ho et al. 2020, algorithm 2, over any levels as in Nichol & Dhariwal 2021, section 4; adds noise
    ddim            Song et al. 2021, equation 12 with sigma = 0: first order, deterministic
    dpm_solver_2m   Lu et al. 2022 ("DPM-Solver++"), algorithm 2: second order, deterministic

Nothing is clamped on the way. Coefficients are computed in float64, samples stay in the precision that they came in.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

Predict = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"(x, which level) -> the network's estimates of x_0 and of eps there"


def ancestral(predict: Predict, x: Tensor, levels: Sequence[float], noise: Callable[[], Tensor]) -> Tensor:
    """From x at levels[0] to a sample at levels[-1]; `noise` gives standard normal draws, one for every level but the last.

    Over all levels of training, this is Ho et al.'s chain with sigma_t^2 = (1 - abar_{t-1}) / (1 - abar_t) beta_t.
    """
    for i, (level, target) in enumerate(pairwise(levels)):
        alpha = level / target
        _, eps = predict(x, i)
        x = (x - (1 - alpha) / math.sqrt(1 - level) * eps) / math.sqrt(alpha)
        if target < 1:
            x = x + math.sqrt((1 - target) / (1 - level) * (1 - alpha)) * noise()
    return x


def ddim(predict: Predict, x: Tensor, levels: Sequence[float]) -> Tensor:
    """From x at levels[0] to a sample at levels[-1]."""
    for i, target in enumerate(levels[1:]):
        x_0, eps = predict(x, i)
        x = math.sqrt(target) * x_0 + math.sqrt(1 - target) * eps
    return x


def dpm_solver_2m(predict: Predict, x: Tensor, levels: Sequence[float]) -> Tensor:
    """From x at levels[0] to a sample at levels[-1]: a multistep method in lambda = log(alpha / sigma), on estimates of x_0.

    The first step is of first order, and so is the one to lambda = infinity, which is the last estimate of x_0 itself.
    """
    before: tuple[Tensor, float] | None = None  # the last level's x_0, and the step in lambda that was taken from there
    for i, (level, target) in enumerate(pairwise(levels)):
        x_0, _ = predict(x, i)
        h = log_snr(target) - log_snr(level)
        D = x_0
        if before and math.isfinite(h):
            x_1, h_1 = before
            D = x_0 + h / (2 * h_1) * (x_0 - x_1)
        sigma_s, sigma_t = math.sqrt(1 - level), math.sqrt(1 - target)
        x = sigma_t / sigma_s * x - math.sqrt(target) * math.expm1(-h) * D
        before = x_0, h
    return x


def log_snr(level: float) -> float:
    """lambda = log(alpha / sigma), half the logarithm of the signal-to-noise ratio; infinity for the data itself."""
    return math.inf if level == 1 else (math.log(level) - math.log1p(-level)) / 2


def level_of(log_snr: float) -> float:
    """alpha_bar of a lambda: the inverse of `log_snr`."""
    return 1 / (1 + math.exp(-2 * log_snr))
