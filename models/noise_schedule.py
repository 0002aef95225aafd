"""How much noise there is at each step of a diffusion, and which step an amount of noise belongs to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Self

LEAST_SIGNAL = 0.01  # amplitude of the signal at the end of the cosine schedule


@dataclass(frozen=True)
class NoiseSchedule:
    """abar: alpha_bar of steps 0 ... T - 1, falling within (0, 1); a step's noise has the variance 1 - abar."""

    abar: Sequence[float]

    @classmethod
    def linear(cls, T: int, first: float, last: float) -> Self:
        """beta rises linearly from first to last (Ho et al. 2020, section 4)."""
        beta = [first + (last - first) * t / (T - 1) for t in range(T)]
        return cls(tuple(accumulate((1 - b for b in beta), mul)))

    @classmethod
    def cosine(cls, T: int, first: float) -> Self:
        """abar = cos^2 of an angle that rises linearly, from noise of the variance `first` to hardly any signal.

        Nichol & Dhariwal 2021, equation 17; differs: both ends are given, instead of an offset and a largest beta.
        """
        begin, end = math.asin(math.sqrt(first)), math.acos(LEAST_SIGNAL)
        return cls(tuple(math.cos(begin + (end - begin) * t / (T - 1)) ** 2 for t in range(T)))

    def level(self, step: float) -> float:
        """alpha_bar at a step from 0 to T - 1; between whole ones, sqrt(abar) is interpolated linearly."""
        t = min(math.floor(step), len(self.abar) - 2)
        here, there = math.sqrt(self.abar[t]), math.sqrt(self.abar[t + 1])
        return (here + (there - here) * (step - t)) ** 2

    def step(self, level: float) -> float:
        """The fractional step at which alpha_bar is `level`: the inverse of `level` (Kong et al. 2021, appendix B).

        Raises ValueError where training never had so much, or so little, noise.
        """
        first, last = self.abar[0], self.abar[-1]
        if not last * (1 - 1e-9) <= level <= first + 1e-9 * (1 - first):
            raise ValueError(
                f"a noise level of alpha_bar={level:.6g} is outside of what the network was trained for, {last:.6g} to "
                f"{first:.6g}; choose the sampler ancestral, ddim or dpm++, which stay within"
            )
        t = sum(level <= abar for abar in self.abar[1:-1])
        here, there = math.sqrt(self.abar[t]), math.sqrt(self.abar[t + 1])
        return t + (here - math.sqrt(level)) / (here - there)
