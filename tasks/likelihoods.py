"""How likely samples are under the model that drew them: from our own draws, from a table beside imported ones, or not at all.

The table of imported samples is a CSV with a line for each, its file name and its log-likelihood in nats, with or without a
heading: `likelihood.csv` in their folder, or any file that is named. Rows of a `.npy` are named by their number, from 0.
That samples were saved in the order of their likelihood is believed only where somebody says so.
"""

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

SIDECAR = "likelihood.csv"
NAMES = ("name", "file", "file_name", "filename", "path", "row")
VALUES = ("log_likelihood_nats", "log_likelihood", "loglikelihood", "log_prob", "nats")


def read(path: Path) -> dict[str, float]:
    """File name -> log-likelihood in nats.

    Raises ValueError for a file that is no such table, a name that is there twice, or a value that is no finite number.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read the likelihoods {path}: {error}") from error
    name, value, first = _columns(lines, path)
    found: dict[str, float] = {}
    for number, line in enumerate(lines[first:], first + 1):
        if len(line) <= max(name, value):
            raise ValueError(
                f"{path}, line {number}: a file name and a log-likelihood are needed, not {','.join(line)!r}"
            )
        key, nats = _plain(line[name]), _number(line[value])
        if nats is None:
            raise ValueError(
                f"{path}, line {number}: the log-likelihood of {line[name]} is {line[value]!r}, no finite number"
            )
        if key in found:
            raise ValueError(f"{path}, line {number}: {line[name]} is there twice")
        found[key] = nats
    return found


def match(names: Iterable[str], table: Mapping[str, float], path: Path) -> list[float]:
    """The log-likelihood of every sample. Raises ValueError that names the samples that the table lacks."""
    names = list(names)
    missing = [name for name in names if _plain(name) not in table]
    if missing:
        lacking, there = (", ".join(few[:3]) + (", ..." if len(few) > 3 else "") for few in (missing, list(table)))
        raise ValueError(
            f"{path} gives no likelihood for {len(missing)} of {len(names)} samples: {lacking}. It has {there or 'none'}; "
            "the names must be those of the files"
        )
    return [table[_plain(name)] for name in names]


def _columns(lines: list[list[str]], path: Path) -> tuple[int, int, int]:
    """(the column of names, that of values, the first line that is no heading)."""
    if not lines:
        raise ValueError(f"the likelihoods {path} are an empty file")
    heading = [cell.strip().lower() for cell in lines[0]]
    name, value = (next((heading.index(word) for word in words if word in heading), None) for words in (NAMES, VALUES))
    if name is not None and value is not None:
        return name, value, 1
    if len(heading) == 2 and _number(heading[1]) is not None:
        return 0, 1, 0
    raise ValueError(
        f"the likelihoods {path} begin with {','.join(lines[0])!r}: a heading like name,log_likelihood_nats is needed, or "
        "two columns without one"
    )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _plain(name: str) -> str:
    """The name without its folder: `wavs/a.wav` and `a.wav` are one. `row 3` of an array is `3`."""
    return name.strip().replace("\\", "/").rpartition("/")[2].removeprefix("row ")
