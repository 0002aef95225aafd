"""The leaderboard's part of the page: the table with its plot of intervals and ranks, and the list of every number."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from evaluation.report import tracks
from evaluation.report.looks import Look
from evaluation.standings import Cell, Standing, main_columns
from evaluation.wording import (
    APART,
    count,
    explained,
    footnotes,
    half_width,
    heading,
    letters,
    number,
    rank,
    sections,
    shown_digits,
)


def table(
    lines: Sequence[Standing], metrics: Sequence[Mapping[str, Any]], key: str, looks: Mapping[str, Look]
) -> dict[str, Any]:
    columns = [c for c in main_columns(metrics)[0] if "@" not in c["key"] or c["key"].partition("@")[0] == key]
    marks = footnotes(lines, columns)
    titles = {line.name: line.marked for line in lines}
    # A model that was ranked against no other leads nothing.
    keys = [column["key"] for column in columns]
    first = next(metric for metric in metrics if metric["key"] == key)
    ours = [line for line in lines if line.kind != "published" and line.row.get("role") != "dataset"]
    track = tracks.column(ours, first)
    places = tracks.ranks(lines, key)
    ranked = Counter((k, line.cells[k].comparable) for k in keys for line in lines if line.cells[k].rank is not None)
    shown: list[dict[str, Any]] = []
    for section, label, chosen in sections(lines, key):
        made = [
            _line(line, columns, key, marks, titles, ranked)
            | {"look": looks[line.name], "place": places.get(line.name)}
            | {"dot": track.marks.get(line.name) if track else None}
            for line in chosen
        ]
        title = section.capitalize() + (f", {label}" if label else "")
        text = explained(section, chosen) or (APART if label and not shown else "")
        shown.append({"name": section, "title": title, "label": label, "explained": text, "lines": made})
    return {
        "columns": [
            {
                "name": c["name"],
                "heading": heading(c),
                "doc": c.get("doc", ""),
                "unit": c.get("unit", ""),
                "key": c["key"],
            }
            for c in columns
        ],
        "track": track,
        "protocols": len({column["key"].split("/")[0] for column in columns}) > 1,
        "sections": shown,
        "footnotes": letters(marks),
        "given": any(line.mark for line in lines),
        "alarmed": any(line.alarms for line in lines),
        "ties": any(line.cells[key].tied for line in lines if line.cells[key].rank),
    }


def _line(
    line: Standing,
    columns: Sequence[Mapping[str, Any]],
    key: str,
    marks: Mapping[tuple[str, str], list[tuple[str, str]]],
    titles: Mapping[str, str],
    ranked: Mapping[tuple[str, tuple[Any, ...]], int],
) -> dict[str, Any]:
    cells = []
    for column in columns:
        cell, digits = line.cells[column["key"]], int(column.get("digits", 3))
        cells.append(
            {
                "value": number(cell.value, shown_digits(cell, digits)),
                "half": half_width(cell, shown_digits(cell, digits)),
                "tip": _tip(cell, digits),
                "sort": "" if cell.value is None or not math.isfinite(cell.value) else repr(float(cell.value)),
                "marks": marks.get((line.name, column["key"]), []),
                "first": cell.rank is not None and cell.rank[0] == 1 and ranked[column["key"], cell.comparable] > 1,
            }
        )
    first = line.cells[key]
    tied = ", ".join(titles[name] for name in first.tied)
    named = [str(line.row.get(key) or "") for key in ("model", "preset")] if line.kind == "measured" else []
    about = [name for name in named if name and name.lower() not in line.title.lower()]
    if line.row.get("parameters"):
        about.append(f"{line.row['parameters']:,} parameters")
    return {
        "title": line.title,
        "mark": line.mark,
        "alarms": line.alarms,
        "about": " · ".join(about),
        "note": line.row.get("note", ""),
        "imported": line.kind == "imported",
        "rank": rank(first),
        "rank_sort": first.rank[0] + first.rank[1] / 1000 if first.rank else "",
        "tied": f"not told apart from {tied}" if tied else "",
        "cells": cells,
        "nfe": count(line.row.get("nfe")),
        "nfe_sort": "" if line.row.get("nfe") is None else line.row["nfe"],
        "count": count(line.row.get("count")),
        "count_sort": line.row.get("count") or "",
        "seeds": len(line.seeds) if line.kind != "control" else 0,
    }


def _tip(cell: Cell, digits: int) -> str:
    if cell.value is None:
        return cell.reason
    texts = []
    if cell.low is not None and cell.high is not None:
        texts.append(f"95 % interval [{number(cell.low, digits + 1)}, {number(cell.high, digits + 1)}]")
    if len(cell.runs) > 1:
        each = ", ".join(f"{run['seed']}: {number(run['score']['value'], digits)}" for run in cell.runs)
        texts.append(f"mean over training seeds ({each}), standard deviation {number(cell.spread, digits + 1)}")
    kinds = zip(("reference", "generated"), cell.counts, strict=True)
    texts += [f"{count(clips)} {kind} clips" for kind, clips in kinds if clips]
    texts.append(f"version {cell.version}" if cell.version is not None else "")
    return "; ".join(text for text in texts if text)


def numbers(lines: Iterable[Standing], metrics: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Every number there is, one per row, measure and seed; what they have in common once: lines tell sources and methods by
    their places, from 1 on, in the lists of these.
    """
    sources: dict[str, int] = {}
    methods: dict[str, int] = {}
    found = list(_numbers(lines, metrics))
    for one in found:
        for name, seen in (("source", sources), ("method", methods)):
            one[name] = seen.setdefault(one[name], len(seen) + 1) if one[name] else ""
    linked = [(source, artifact_link(source)) for source in sources]
    return {"lines": found, "sources": linked, "methods": list(methods)}


def _numbers(lines: Iterable[Standing], metrics: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    metrics = list(metrics)
    for line in lines:
        for metric in metrics:
            digits = int(metric.get("digits", 3)) + 1
            for run in line.cells[metric["key"]].runs:
                score = run["score"]
                yield {
                    "title": line.marked,
                    "seed": run["seed"],
                    "key": metric["key"],
                    "value": number(score["value"], digits),
                    "low": number(score.get("low"), digits),
                    "high": number(score.get("high"), digits),
                    "method": score.get("method", ""),
                    "n_reference": count(score.get("n_reference")),
                    "n_generated": count(score.get("n_generated")),
                    "version": score.get("version", ""),
                    "source": run["source"],
                }


def artifact_link(path: str) -> str:
    """Where the artifact lies, seen from the report's folder; "" for a path not plainly below the corpus."""
    parts = path.split("/")
    return "" if not path or path.startswith("/") or ".." in parts or ":" in parts[0] else "../" + quote(path) + "/"
