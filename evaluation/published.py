"""Numbers that others have published on SC09, as leaderboard rows: `evaluation/published.json`, with the source of each.

They stand beside measured rows and are never ranked with them. FID and AM of the published script are those of protocol v1,
and its mIS is an estimate of v1's from 10,000 pairs: these appear in both protocols' columns. Its IS is another quantity
(`sashimi/is`). Mean opinion scores have columns of their own. No published number comes with an interval that counts what
it should, so none is shown.

Left out: what could not be read in a public document, and papers that used another classifier (DiffWave's own table).
"""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("published.json")
KEYS = {
    "nll": ("v1/nll",),
    "fid": ("v1/fid", "sashimi/fid"),
    "is": ("sashimi/is",),
    "mis": ("v1/mis", "sashimi/mis"),
    "am": ("v1/am", "sashimi/am"),
    "mos_quality": ("published/mos/quality",),
    "mos_intelligibility": ("published/mos/intelligibility",),
    "mos_diversity": ("published/mos/diversity",),
}
"""Which columns a published number belongs in."""
SPACE = "8-bit mu-law, min-max scaled per clip"
WARNINGS = {"v1/mis": "As published: an estimate from 10,000 random pairs of clips, which scatters by some 4 %."}
ANOTHER_TRAINING = (
    "Published numbers come from the release's own training of the classifier, these from another one of the same recipe: "
    "distances of two trainings differ by more than their intervals."
)


@cache
def table() -> dict[str, Any]:
    """The data file: corpus, sources, marks, rows."""
    page: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"), parse_float=Decimal)
    return page


def rows(metrics: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The published rows, with the scores that have a column among `metrics`, and their mean opinion scores."""
    page, known = table(), {metric["key"]: metric for metric in [*metrics, *OPINIONS]}
    return [_row(entry, page, known) for entry in page["rows"]]


def columns() -> list[dict[str, Any]]:
    """What the mean opinion scores are, in the form of `Metric.to_json`: columns that measured rows do not have."""
    return [dict(column) for column in OPINIONS]


def of_release(name: str) -> dict[str, float]:
    """What was published of a set of the release: "train", "test", "2048-wavegan"; {} for others."""
    found = (entry["scores"] for entry in table()["rows"] if entry.get("release") == name)
    return {name: float(value) for name, value in next(found, {}).items()}


def absent(why: str) -> str:
    """The line in place of the rows, where numbers of another judge, or of another corpus, would mislead."""
    return f"The {len(table()['rows'])} published SC09 results (evaluation/published.json) are not shown: {why}."


def _row(entry: Mapping[str, Any], page: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    source = "; ".join(page["sources"][name] for name in entry["sources"])
    marks = entry.get("marks", [])
    explained = [f"{mark}: {page['marks'][mark]}" for mark in marks]
    scores = {
        key: _score(known[key], value, entry["count"])
        for name, value in entry["scores"].items()
        for key in KEYS[name]
        if key in known
    }
    return {
        "name": f"published/{entry['name']}",
        "title": entry["title"] + (f" [{', '.join(marks)}]" if marks else ""),
        "kind": "published",
        "model": None,
        "preset": None,
        "draw": None,
        "count": entry["count"],
        "parameters": entry["parameters"],
        "nfe": None,
        "conditional": entry.get("conditional", ""),
        "marks": marks,
        "note": ". ".join(text.rstrip(".") for text in (source, entry.get("note", ""), "; ".join(explained)) if text)
        + ".",
        "reasons": {key: "not published" for key in known if key not in scores},
        "runs": [{"seed": None, "trained": "", "source": f"published: {source}", "digest": "", "scores": scores}],
    }


def _score(metric: Mapping[str, Any], value: Decimal, count: int | None) -> dict[str, Any]:
    key = metric["key"]
    details: dict[str, Any] = {"decimals": -int(value.as_tuple().exponent)}
    if key == "v1/nll":
        details["likelihood_space"] = SPACE
    if key in WARNINGS:
        details["warnings"] = [WARNINGS[key]]
    return {
        "key": key,
        "value": float(value),
        "low": None,
        "high": None,
        "standard_error": None,
        "method": "as published",
        "n_reference": None,
        "n_generated": None if key == "v1/nll" else count,
        "better": metric["better"],
        "unit": metric["unit"],
        "version": None,
        "variant": "/".join(key.split("/")[2:]),
        "details": details,
    }


def _opinion(name: str, doc: str) -> dict[str, Any]:
    about: dict[str, Any] = {"key": f"published/mos/{name}", "name": f"MOS {name}", "version": None, "better": "higher"}
    return about | {
        "unit": "1 to 5",
        "digits": 2,
        "headline": False,
        "doc": doc,
        "needs": [],
        "needs_reference": [],
        "minimum": 0,
    }


OPINIONS = (
    _opinion("quality", "Mean opinion score of the sound; clips chosen by the classifier's confidence."),
    _opinion(
        "intelligibility", "Mean opinion score of how clear the digit is; clips chosen by the classifier's confidence."
    ),
    _opinion("diversity", "Mean opinion score of how many speakers there seem to be on a page of ten clips."),
)
