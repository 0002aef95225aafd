"""Numbers that other programs have given single clips, as columns of their own: VERSA's JSONL.

VERSA (Shi et al. 2024, github.com/wavlab-speech/versa) writes a line of JSON for each utterance: its `key`, and a number for
each metric. Of every metric that is a number on every line this is the mean over the clips, with a normal 95 % interval.

A key is matched to a sample's name, with or without folder and suffix. Every sample needs exactly one line, and every line a
sample: a mean over a part of them would be that of another set. Text (a transcript, a language) is no measure and is left
out, which is told. A number that is missing, infinite or no number on some of the lines is an error.

How these were measured, by which version, and which way is better is not in the file: they are not ranked, and never share a
table with measures of ours. Standard library only.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from statistics import fmean, stdev
from typing import Any

from evaluation.seeds import Z

VERSION = 1
PROTOCOL, SOURCE = "versa", "VERSA"
KEY = "key"
SHOWN = 5  # names in an error


EXPLAINED = f"Given by {SOURCE}, not measured here; not ranked:"


def is_external(key: str) -> bool:
    """Whether a measure is one of these, and belongs apart from ours."""
    return key.startswith(f"{PROTOCOL}/")


@dataclass(frozen=True)
class Imported:
    """values: metric -> its value for every sample, in the order of the samples; text: the fields that are no measures."""

    values: Mapping[str, Sequence[float]]
    text: Sequence[str]


def read_versa(lines: Iterable[str], samples: Sequence[str]) -> Imported:
    """The numbers in VERSA's lines, for samples of these names. Raises ValueError that says what does not fit, and where."""
    records = [_record(line, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not records:
        raise ValueError("it is empty: VERSA writes a line of JSON for each utterance")
    matched = _match([record[KEY] for record in records], samples)
    ordered = [records[row] for row in matched]
    fields = dict.fromkeys(field for record in ordered for field in record if field != KEY)
    text = [field for field in fields if all(isinstance(record.get(field), str) for record in ordered)]
    values = {field: _numbers(field, ordered) for field in fields if field not in text}
    if not values:
        raise ValueError(f"it holds no number: {', '.join(text) or 'nothing'} beside the keys")
    return Imported(values, text)


def scores(imported: Imported, sha256: str) -> dict[str, dict[str, Any]]:
    """`versa/<metric>` -> a Score's JSON: the mean over the clips. sha256: of the file they come from."""
    found = {}
    for field, values in imported.values.items():
        key = f"{PROTOCOL}/{re.sub(r'[^A-Za-z0-9_.+-]+', '_', field)}"
        if key in found:
            raise ValueError(f"{field!r} and another metric would both be called {key}: rename one")
        mean, error = fmean(values), stdev(values) / math.sqrt(len(values))
        found[key] = {
            "key": key,
            "value": mean,
            "low": mean - Z * error,
            "high": mean + Z * error,
            "standard_error": error,
            "method": f"mean over clips, as {SOURCE} gave them; normal",
            "n_reference": 0,
            "n_generated": len(values),
            "better": "",
            "unit": "",
            "version": VERSION,
            "variant": "",
            "details": {"external": SOURCE, "sha256": sha256},
        }
    return found


def _record(line: str, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is no JSON ({error})") from None
    if not isinstance(record, dict) or not isinstance(record.get(KEY), str):
        raise ValueError(f'line {number} is no utterance: VERSA writes {{"{KEY}": "name", "metric": number, ...}}')
    return record


def _match(keys: Sequence[str], samples: Sequence[str]) -> list[int]:
    """For each sample, in order, the line about it."""
    if twice := [key for key, count in Counter(keys).items() if count > 1]:
        raise ValueError(f"{_names(twice)} {'is' if len(twice) == 1 else 'are'} in it more than once")
    spelled: dict[str, set[int]] = {}
    for row, name in enumerate(samples):
        path = PurePosixPath(name)
        for spelling in {name, path.name, path.stem}:
            spelled.setdefault(spelling, set()).add(row)
    line_of: dict[int, int] = {}
    unknown: list[str] = []
    ambiguous: list[str] = []
    for line, key in enumerate(keys):
        rows = spelled.get(key) or spelled.get(PurePosixPath(key).name, set())
        if len(rows) == 1:
            (row,) = rows
            if row in line_of:
                raise ValueError(f"{keys[line_of[row]]!r} and {key!r} are both the sample {samples[row]!r}")
            line_of[row] = line
        else:
            (ambiguous if rows else unknown).append(key)
    if ambiguous:
        raise ValueError(f"{_names(ambiguous)} could be any of several samples: write the whole file name")
    if unknown:
        raise ValueError(
            f"{len(unknown)} of {len(keys)} keys are no samples of this row: {_names(unknown)}. Its samples are called "
            f"{_names(samples)}"
        )
    if missing := [name for row, name in enumerate(samples) if row not in line_of]:
        raise ValueError(
            f"{len(missing)} of {len(samples)} samples have no line: {_names(missing)}. A mean over the others would be of "
            "another set"
        )
    return [line_of[row] for row in range(len(samples))]


def _numbers(field: str, records: Sequence[Mapping[str, Any]]) -> list[float]:
    """The values of one metric. Raises ValueError for the utterances where it is missing, or no finite number."""
    bad = [record for record in records if not _is_number(record.get(field))]
    if bad:
        values = ", ".join(f"{record[KEY]} ({_spelled(record, field)})" for record in bad[:SHOWN])
        raise ValueError(
            f"{field!r} is no number for {len(bad)} of {len(records)} utterances: {values}{', ...' * (len(bad) > SHOWN)}. "
            "Score these again, or take the field out"
        )
    if len(records) < 2:
        raise ValueError("one clip has no interval: at least two are needed")
    return [float(record[field]) for record in records]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _spelled(record: Mapping[str, Any], field: str) -> str:
    return json.dumps(record[field])[:40] if field in record else "missing"


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
