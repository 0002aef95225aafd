"""The test of Meehan, Chaudhuri & Dasgupta (2020) from distances and cells, and how much each clip moves its result."""

from typing import NamedTuple

import numpy as np


def exceeding(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(len(a),) the share of b that is larger than each of a, equal ones counting half; their mean is P(a < b), the AUC."""
    ordered = np.sort(b)
    return 1 - (np.searchsorted(ordered, a, "left") + np.searchsorted(ordered, a, "right")) / (2 * len(b))


class Cell(NamedTuple):
    """generated, held_out: how many clips; closer: P(a generated one is closer to the training clips); z; whether it counts."""

    generated: int
    held_out: int
    closer: float
    z: float
    counts: bool


class Copying(NamedTuple):
    """C_T, its cells, and the influence of each generated and of each held-out clip on it."""

    value: float
    cells: list[Cell]
    influence: np.ndarray
    held_out_influence: np.ndarray


def data_copying(
    ours: np.ndarray, our_cells: np.ndarray, theirs: np.ndarray, their_cells: np.ndarray, least: int
) -> Copying:
    """C_T over the cells that hold more than `least` generated clips and a held-out one.

    ours (M,), theirs (T,): distance of the generated and the held-out clips to the nearest training clip; cells: 0, 1, ...
    Raises ValueError where no cell counts.
    """
    sizes = range(1 + max(our_cells.max(), their_cells.max()))
    cells = [_cell(ours[our_cells == c], theirs[their_cells == c], least) for c in sizes]
    weight = sum(cell.held_out for cell in cells if cell.counts)
    if not weight:
        raise ValueError(f"C_T is undefined: no cell holds a held-out clip and more than {least} generated clips")
    value = sum(cell.held_out * cell.z for cell in cells if cell.counts) / weight

    # A clip moves the ranks in its own cell, how many clips each cell holds (on which Z depends), and if held out the weights.
    influence, others = np.zeros(len(ours)), np.zeros(len(theirs))
    for c, cell in enumerate(cells):
        if not cell.counts:
            continue
        m, n = cell.generated, cell.held_out
        scale, excess = np.sqrt(12 * n * m / (n + m + 1)), 0.5 - cell.closer
        mine, real = our_cells == c, their_cells == c
        for moved, member, size, ranks in (
            (influence, mine, m, 1 - exceeding(ours[mine], theirs[real])),
            (others, real, n, exceeding(theirs[real], ours[mine])),
        ):
            total = len(moved)
            moved[member] += n / weight * scale * total / size * (ranks - ranks.mean())
            moved += n / weight * scale * excess / 2 * (1 / size - 1 / (n + m + 1)) * (total * member - size)
        others += (len(theirs) * real - n) * (cell.z - value) / weight
    return Copying(float(value), cells, influence, others)


def _cell(ours: np.ndarray, theirs: np.ndarray, least: int) -> Cell:
    m, n = len(ours), len(theirs)
    if not m or not n:
        return Cell(m, n, 0.5, 0.0, False)
    closer = float(exceeding(ours, theirs).mean())
    z = ((0.5 - closer) * n * m + 0.5) / np.sqrt(
        n * m * (n + m + 1) / 12
    )  # the half is the published continuity correction
    return Cell(m, n, closer, float(z), m > least)
