"""Results as files: what a leaderboard.json, or the metrics.json of an evaluation, says of every row. Standard library only."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEADERBOARD, METRICS = "leaderboard.json", "metrics.json"
ONE = "the evaluation"  # what the only row of an evaluation is called, whatever its model


class IncomparableError(ValueError):
    """A file that is no result, or names that it does not have: what, and what to do."""


@dataclass(frozen=True)
class Result:
    """What a file holds. rows: name -> measure -> number, each with the fields of a Score's JSON, and `conditional`.

    alarms: name -> the sentences of its alarms; none of traps, which are made to raise them.
    """

    path: str
    judge: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]]
    metrics: Sequence[Mapping[str, Any]]
    single: bool
    alarms: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read(path: Path) -> Result:
    """The result in a leaderboard.json, in the metrics.json of an evaluation, or in a folder with one of them.

    Raises IncomparableError where there is none, or the file is something else.
    """
    file = path
    if path.is_dir():
        found = [path / name for name in (LEADERBOARD, METRICS) if (path / name).is_file()]
        if not found:
            raise IncomparableError(
                f"{path} holds neither {LEADERBOARD} nor {METRICS}: give a file, or the folder it is in"
            )
        file = found[0]
    try:
        page = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise IncomparableError(f"{file} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise IncomparableError(f"{file} is no JSON: {error}") from None
    page = page if isinstance(page, dict) else {}
    try:
        if isinstance(page.get("rows"), list):
            rows = {row["name"]: _scores(row["scores"], row.get("conditional")) for row in page["rows"]}
            told = {row["name"]: _alarms(row) for row in page["rows"]}
            return Result(str(file), page.get("judge") or {}, rows, page["metrics"], False, told)
        if isinstance(page.get("rows"), dict):  # the controls
            rows = {name: _scores(row["scores"]) for name, row in page["rows"].items()}
            told = {name: _alarms(row) for name, row in page["rows"].items()}
            return Result(str(file), page.get("judge") or {}, rows, (), False, told)
        if isinstance(page.get("scores"), dict):
            rows, told = {ONE: _scores(page["scores"])}, {ONE: _alarms(page)}
            return Result(str(file), page.get("judge") or {}, rows, (), True, told)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise IncomparableError(f"{file} is damaged: {type(error).__name__} {error}") from None
    raise IncomparableError(
        f"{file} holds no scores: give a {LEADERBOARD}, or the {METRICS} of an evaluation (.../4-evaluation-*/{METRICS})"
    )


def _scores(scores: Mapping[str, Mapping[str, Any]], conditional: str | None = "") -> dict[str, dict[str, Any]]:
    """The numbers of one row, with what a Score keeps in its details in one place with what a leaderboard's cell shows."""
    found = {}
    for key, score in scores.items():
        details = score.get("details") or {}
        about = {
            "conditional": conditional or "",
            "likelihood_space": details.get("likelihood_space", ""),
            "target": details.get("target"),
        }
        read = {**about, **score}
        for name in ("value", "standard_error", "target"):
            read[name] = None if read.get(name) is None else float(read[name])  # "inf" and "nan" are texts in JSON
        found[key] = read
    return found


def _alarms(row: Mapping[str, Any]) -> list[str]:
    """Of all measures of a row; a leaderboard has them in the score (`alarms`), an evaluation in its details (`alarm`)."""
    found = []
    for score in row["scores"].values() if row.get("role") != "trap" else ():
        told = score.get("alarms") or (score.get("details") or {}).get("alarm") or ()
        found += [told] if isinstance(told, str) else [str(text) for text in told]
    return found
