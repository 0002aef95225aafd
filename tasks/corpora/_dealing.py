"""Who goes into which split, where nobody has said: by fractions, evenly of all labels, in the order of a hash."""

import hashlib
from collections.abc import Sequence

from tasks.corpora.base import SPLITS


def deal(
    units: Sequence[str], groups: Sequence[str], validation_fraction: float, test_fraction: float, seed: int
) -> list[str]:
    """The split of each row. Rows of one unit (a file, a speaker) stay together; groups: the label of each row, or "".

    The fractions are exact over all units, up to rounding, and each group of three or more has a unit in every split,
    even if that comes to more. The order of the rows does not matter. Raises ValueError where there are too few.
    """
    members: dict[str, set[str]] = {group: set() for group in sorted(groups)}
    for unit, label in zip(units, groups, strict=True):
        members[label].add(unit)
    sizes = [len(group) for group in members.values()]
    count = sum(sizes)
    validation = max(1, round(validation_fraction * count))
    test = min(max(1, round(test_fraction * count)), count - validation - 1)
    # one of every group is kept for training, and of those with three, one for validation
    tests = _shares(test, test_fraction, sizes, [max(0, size - 2 + (size == 2)) for size in sizes])
    rest = [size - taken - 1 for size, taken in zip(sizes, tests, strict=True)]
    validations = _shares(validation, validation_fraction, sizes, rest)
    if not (sum(tests) and sum(validations)):
        raise ValueError(
            f"{count} files or speakers ({max(sizes)} at most of one label) cannot fill training, validation and test; "
            "give at least 3 of a label"
        )
    split: dict[str, str] = {}
    for group, first, second in zip(members.values(), tests, validations, strict=True):
        order = sorted(group, key=lambda unit: hashlib.sha256(f"{seed}/{unit}".encode()).digest())
        split |= dict.fromkeys(order, "train")
        split |= dict.fromkeys(order[:first], "test")
        split |= dict.fromkeys(order[first : first + second], "validation")
    return [split[unit] for unit in units]


def deal_by_length(
    files: Sequence[str], lengths: Sequence[float], validation_fraction: float, test_fraction: float, seed: int
) -> list[str]:
    """The split of each of three or more files, so that the fractions are those of all audio, as nearly as whole files can.

    In the order of a hash, a file is taken where it fits; where none does, the one that comes closest. Every split has one
    file at least.
    """
    size = dict(zip(files, lengths, strict=True))
    left = sorted(size, key=lambda file: hashlib.sha256(f"{seed}/{file}".encode()).digest())
    split = dict.fromkeys(files, "train")
    for name, fraction, others in (("test", test_fraction, 2), ("validation", validation_fraction, 1)):
        room, most = fraction * sum(lengths), len(left) - others
        taken: list[str] = []
        for file in left:
            if len(taken) < most and size[file] <= 1.05 * room:
                taken.append(file)
                room -= size[file]
        taken = taken or [min(left, key=lambda file: abs(size[file] - room))]
        split |= dict.fromkeys(taken, name)
        left = [file for file in left if file not in taken]
    return [split[file] for file in files]


def _shares(total: int, fraction: float, sizes: list[int], most: list[int]) -> list[int]:
    """How many each group gives to a split of `total`: by its size, the largest remainders rounded up, at most `most`.

    A group of three or more gives one at least, even if that comes to more than `total`.
    """
    least = [int(size >= len(SPLITS)) for size in sizes]
    wanted = [fraction * size for size in sizes]
    given = [max(low, min(int(want), high)) for low, want, high in zip(least, wanted, most, strict=True)]
    while sum(given) != total:
        step = 1 if sum(given) < total else -1
        free = [g for g in range(len(sizes)) if (given[g] < most[g] if step == 1 else given[g] > least[g])]
        if not free:
            break
        given[max(free, key=lambda g: step * (wanted[g] - given[g]))] += step
    return given
