"""The leaderboard as text: markdown to read in a terminal or a README, csv for a spreadsheet, LaTeX for a paper, json for
machines (`evaluation/schema/leaderboard.schema.json` describes every field).

They hold the same numbers. The markdown shows value ± half of the 95 % interval; csv and json carry every number
with its interval, method, counts, direction, version, and the path and digest of the artifact that it came from.
Nothing here depends on the clock or the machine: the same rows give the same bytes.

Differs from what the field does (one number in bold per column): controls and published rows stand apart, ranks are
intervals, and rows that cannot be told apart share theirs.
"""

import json
import math
import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation import external, latex
from evaluation.differences import differences
from evaluation.disagreement import disagreements
from evaluation.seeds import merge_seeds
from evaluation.spreadsheet import format_csv
from evaluation.standings import ALARM, Standing, complete_metrics, headline, main_columns, standings
from evaluation.wording import (
    ALARMS,
    alarms,
    apart,
    count,
    explained,
    footnotes,
    half_width,
    heading,
    inapplicable,
    letters,
    rank,
    sections,
    shown,
    shown_digits,
    traps,
    unmeasured,
    verdict,
)  # fmt: skip

FORMAT = 1
NAME_WIDTHS = (44, 30, 22, 16)
"""How far row names are cut, in turn, before a column of the terminal table is given up."""


def write_leaderboard(
    rows: Iterable[Mapping[str, Any]],
    metrics: Sequence[Mapping[str, Any]],
    folder: Path,
    judge: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> list[Path]:
    """Write leaderboard.md, .csv, .json, .tex and leaderboard-all.tex into the folder; each replaces the old one at once.

    rows: leaderboard rows, one per training seed or already merged. metrics: dicts with key, name, unit, better,
    digits, doc, headline, version, in display order. judge: which corpus and classifier all numbers rest on. notes: what a
    reader must know. Raises ValueError where rows cannot share a leaderboard.
    """
    rows = merge_seeds(rows)
    known = complete_metrics(rows, metrics)
    lines = standings(rows, known)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "leaderboard.md": format_markdown(lines, known, notes),
        "leaderboard.csv": format_csv(lines),
        "leaderboard.json": format_json(lines, known, judge),
        "leaderboard.tex": latex.format_main(lines, known),
        "leaderboard-all.tex": latex.format_all(lines, known),
    }
    for name, text in texts.items():
        replace_text(folder / name, text)
    return [folder / name for name in texts]


def format_table(rows: Iterable[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]], width: int = 100) -> str:
    """The leaderboard as plain aligned text of at most `width` columns: the closing words of a run."""
    rows = merge_seeds(rows)
    known = complete_metrics(rows, metrics)
    lines = standings(rows, known)
    columns, _ = main_columns(known)
    key = headline(known)
    for taken in range(len(columns), 0, -1):
        for name_width in NAME_WIDTHS:
            marks = footnotes(lines, columns[:taken])
            table = _text_table(lines, columns[:taken], key, name_width, marks)
            if max(map(len, table)) <= width or (taken == 1 and name_width == NAME_WIDTHS[-1]):
                left_out = ", ".join(column["name"] for column in columns[taken:])
                words = [*alarms(lines), *unmeasured(lines, columns[0])]
                words += [f"{letter}: {text}" for letter, text in letters(marks).items()]
                words += [f"also measured, in leaderboard.md: {left_out}"] if left_out else []
                if any(line.cells[key].tied for line in lines):
                    words.append("a rank such as 1–2 is a tie: the interval of the difference holds zero")
                words += [*apart(lines, key), *filter(None, [traps(lines)]), *inapplicable(known, 3)]
                wrapped = [line for text in words for line in textwrap.wrap(text, width, subsequent_indent="   ")]
                return "\n".join([text[:width] for text in table] + wrapped)
    raise AssertionError("the narrowest table is always returned")


def format_markdown(lines: Sequence[Standing], metrics: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> str:
    """The leaderboard in markdown, its columns padded so that it reads well without being rendered."""
    main, more = main_columns(metrics)
    key = headline(metrics)
    by_key = {metric["key"]: metric for metric in metrics}
    parts = ["# Leaderboard", _escape(verdict(lines, by_key[key])), *map(_escape, alarms(lines))]
    parts += map(_escape, unmeasured(lines, by_key[key]))
    marks = footnotes(lines, metrics)
    for section, label, chosen in sections(lines, key):
        parts.append(f"## {section.capitalize()}" + (f", {label}" if label else ""))
        if text := explained(section, chosen):
            parts.append(text)
        parts.append(_markdown_table(chosen, main, key, marks, ranked=section == "models"))
        absent = [metric for metric in more if metric.get("not_applicable") and section == "models"]
        known = [metric for metric in more if any(line.cells[metric["key"]].value is not None for line in chosen)]
        ours = [metric for metric in known if not external.is_external(metric["key"])]
        theirs = [metric for metric in known if metric not in ours]
        for text, listed in (("More measures of the same samples:", ours + absent), (external.EXPLAINED, theirs)):
            if listed:
                parts += [text, _measures_table(chosen, listed, marks)]
        if section == "published":
            parts.append("\n".join(f"- {_escape(line.title)}: {_escape(line.row.get('note', ''))}" for line in chosen))
    if told := disagreements(lines, metrics):
        parts.append("## v1 and the published script")
        parts.append(_escape(" ".join(told)))
    parts.append("\n".join(f"[{letter}] {_escape(text)}  " for letter, text in letters(marks).items()))
    parts += map(_escape, (*inapplicable(metrics), *notes))
    parts.append(
        "Values are ± half of the 95 % interval. A rank such as 1–2 is a tie: the interval of the difference holds "
        "zero. NFE is the number of network evaluations for one sample. " + ALARMS + " "
        "Every number, with its interval, counts, version and source: leaderboard.csv and leaderboard.json."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def format_json(
    lines: Sequence[Standing], metrics: Sequence[Mapping[str, Any]], judge: Mapping[str, str] | None = None
) -> str:
    """The machine twin. Numbers that JSON lacks are the strings "inf", "-inf", "nan"."""
    rows = []
    for line in lines:
        hidden = ("runs", "scores", "source", "digest", "paired")
        row = {key: value for key, value in line.row.items() if key not in hidden}
        scores = {}
        for key, cell in line.cells.items():
            about = {name: value for name, value in vars(cell).items() if name not in ("runs", "comparable", "counts")}
            about["likelihood_space"] = about.pop("space")
            about |= dict(zip(("n_reference", "n_generated"), cell.counts, strict=True))
            scores[key] = about | {"runs": [{**run["score"], **_without(run, "score")} for run in cell.runs]}
        rows.append({**row, "title": line.title, "seeds": line.seeds, "alarms": line.alarms, "scores": scores})
    page = {"format": FORMAT, "judge": dict(judge or {}), "sorted_by": headline(metrics)}
    page |= {"metrics": list(metrics), "rows": rows}
    page["differences"] = list(differences(lines, main_columns(metrics)[0]))
    return json.dumps(_plain_json(page), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def replace_text(path: Path, text: str) -> None:
    """Write the file beside its place and move it there, so that a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _text_table(
    lines: Sequence[Standing],
    columns: Sequence[Mapping[str, Any]],
    key: str,
    name_width: int,
    marks: Mapping[tuple[str, str], list[tuple[str, str]]],
) -> list[str]:
    about = ["NFE"] if any(line.row.get("nfe") is not None for line in lines) else []
    table: list[list[str]] = [["rank", "row", *map(heading, columns), *about]]
    parts = [part for part in sections(lines, key) if part[0] not in ("traps", "published")]
    rules = []
    for label, line in [(label, line) for _, label, chosen in parts for line in chosen]:
        if any(line is chosen[0] for _, _, chosen in parts):
            rules.append((len(table), f"── {label} " if label else ""))
        name = "".join(letter if letter.isprintable() else " " for letter in line.title)
        name = name if len(name) <= name_width else name[: name_width - 1] + "…"
        name = f"{ALARM} {name}" if line.alarms else name
        name += " (conditional)" if line.mark else ""
        name += f" ({len(line.seeds)} seeds)" if len(line.seeds) > 1 else ""
        values = [_value(line, column, marks, "{}") for column in columns]
        evaluations = [count(line.row.get("nfe")) for _ in about]
        table.append([rank(line.cells[key]) or "·", name, *values, *evaluations])
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    printed = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in table]
    for position, label in reversed(rules):
        printed.insert(position, label.ljust(sum(widths) + 2 * (len(widths) - 1), "─"))
    return printed


def _markdown_table(
    lines: Sequence[Standing],
    columns: Sequence[Mapping[str, Any]],
    key: str,
    marks: Mapping[tuple[str, str], list[tuple[str, str]]],
    ranked: bool,
) -> str:
    about = ("parameters", "nfe", "count")
    head = ["rank"] if ranked else []
    head += ["row", *(_escape(heading(column)) for column in columns), "parameters", "NFE", "samples", "seeds"]
    table = [head]
    for line in lines:
        texts = [rank(line.cells[key]) or "–"] if ranked else []
        texts.append(_escape(line.marked) + (" (imported)" if line.kind == "imported" else ""))
        for column in columns:
            texts.append(_value(line, column, marks))
        seeds = "–" if line.kind == "published" else str(len(line.seeds))
        table.append([*texts, *(count(line.row.get(name)) for name in about), seeds])
    return _grid(table)


def _measures_table(
    lines: Sequence[Standing],
    metrics: Sequence[Mapping[str, Any]],
    marks: Mapping[tuple[str, str], list[tuple[str, str]]],
) -> str:
    """A line for each measure and a column for each row: there are many more measures than rows."""
    head = ["measure", *(_escape(line.marked) for line in lines)]
    return _grid([head, *([_escape(heading(m)), *(_value(line, m, marks) for line in lines)] for m in metrics)])


def _grid(table: Sequence[Sequence[str]]) -> str:
    widths = [max(3, *(len(row[column]) for row in table)) for column in range(len(table[0]))]
    printed = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in table
    ]
    printed.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(printed)


def _value(
    line: Standing,
    metric: Mapping[str, Any],
    marks: Mapping[tuple[str, str], list[tuple[str, str]]],
    style: str = "[{}]",
) -> str:
    cell = line.cells[metric["key"]]
    digits = shown_digits(cell, int(metric.get("digits", 3)))
    value = shown(cell, metric)
    notes = " ".join(style.format(letter) for letter, _ in marks.get((line.name, metric["key"]), ()))
    return " ".join(text for text in (value, half_width(cell, digits), notes) if text)


def _escape(text: str) -> str:
    """Text that markdown shows as it is: no cell ends early, no tag starts."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return re.sub(r"([\\|`*_\[]|<(?=[A-Za-z/!?]))", r"\\\1", text)


def _without(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


def _plain_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain_json(item) for key, item in value.items()}
    return [_plain_json(item) for item in value] if isinstance(value, list | tuple) else value
