r"""The leaderboard for a paper: booktabs tables in LaTeX, to be \input where they are wanted.

`format_main` is the main table: a line per row, with rank intervals, values ± half of the 95 % interval and footnotes.
`format_all` has every number: a line per measure and row, as a longtable that breaks across pages.

Needs booktabs, and longtable for the second. Pure ASCII where a row's name is: compiles with pdfLaTeX, XeLaTeX and LuaLaTeX.
Names in scripts beyond Latin stay as they are, and need the latter two.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evaluation.standings import NOT_APPLICABLE, Standing, headline, main_columns
from evaluation.wording import (
    count,
    explained,
    footnotes,
    half_width,
    heading,
    inapplicable,
    letters,
    number,
    rank,
    sections,
    shown_digits,
)

SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"}
SPECIAL |= {">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"} | {letter: f"\\{letter}" for letter in "&%$#_{}"}
SIGNS = {
    "±": r"$\pm$", "−": "$-$", "∞": r"$\infty$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "→": r"$\rightarrow$",
    "–": "--", "—": "---", "…": r"\ldots{}", "×": r"$\times$", "·": r"$\cdot$", "≤": r"$\leq$", "≥": r"$\geq$",
    "²": "$^2$", "½": r"$\frac{1}{2}$", "μ": r"$\mu$", "κ": r"$\kappa$", "⚠": r"\textbf{!}", "’": "'", "“": "``",
    "”": "''", "\u00a0": "~", "\u202f": r"\,", "∑": r"$\sum$", "Δ": r"$\Delta$",
}  # fmt: skip


def escape(text: str) -> str:
    """The text as LaTeX shows it: no command starts, no column or line ends."""
    shown = []
    for letter in text:
        printable = letter if letter.isprintable() or letter in SIGNS else " "
        shown.append(SIGNS.get(printable) or SPECIAL.get(printable, printable))
    return "".join(shown)


def format_main(lines: Sequence[Standing], metrics: Sequence[Mapping[str, Any]]) -> str:
    """The main table, a booktabs `tabular`, and its footnotes."""
    columns, _ = main_columns(metrics)
    key, marks = headline(metrics), footnotes(lines, columns)
    head = ["rank", "", *map(heading, columns), "samples"]
    body: list[str] = []
    told: dict[str, None] = {}
    for section, label, members in sections(lines, key):
        chosen = [line for line in members if section != "published" or _has_any(line, columns)]
        if not chosen:
            continue
        title = section.capitalize() + (f", {label}" if label else "")
        body.append(rf"\midrule \multicolumn{{{len(head)}}}{{@{{}}l@{{}}}}{{\emph{{{escape(title)}}}}} \\")
        body += [_line(line, columns, key, marks) for line in chosen]
        if text := explained(section, chosen):
            told.setdefault(rf"\emph{{{escape(title)}}}: {escape(text)}")
    notes = [rf"\textsuperscript{{{letter}}}~{escape(text)}" for letter, text in letters(marks).items()]
    notes += told
    notes += map(escape, inapplicable(metrics))
    notes.append(
        r"Values are $\pm$ half of the 95\,\% interval. A rank such as 1--2 is a tie: the difference may be zero."
    )
    return "\n".join(
        [
            r"% Earshot's leaderboard. In the preamble: \usepackage{booktabs}; here, or inside a table: \input{leaderboard}",
            rf"\begin{{tabular}}{{@{{}}ll{'r' * (len(columns) + 1)}@{{}}}}",
            r"\toprule",
            _joined(map(escape, head)),
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\smallskip\noindent{\footnotesize " + r" \\ ".join(notes) + r"\par}",
            "",
        ]
    )


def format_all(lines: Sequence[Standing], metrics: Sequence[Mapping[str, Any]]) -> str:
    """Every measure of every row, with interval, rank interval and counts: a `longtable`."""
    head = [r"row", "value", r"95 % interval", "rank", "reference", "generated"]
    body = []
    for metric in metrics:
        absent = metric.get("not_applicable", "")
        measured = [line for line in lines if line.cells[metric["key"]].value is not None]
        if not measured and not absent:
            continue
        unit = f", {metric['unit']}" if metric.get("unit") else ""
        title = rf"\textbf{{{escape(heading(metric))}}}{escape(unit)} \texttt{{{escape(metric['key'])}}}"
        body.append(rf"\midrule \multicolumn{{{len(head)}}}{{@{{}}l}}{{{title}}} \\* ")
        if absent:
            words = escape(f"{NOT_APPLICABLE}: {absent}")
            body.append(rf"\multicolumn{{{len(head)}}}{{@{{}}l}}{{{words}}} \\")
        for line in measured:
            cell = line.cells[metric["key"]]
            digits = shown_digits(cell, int(metric.get("digits", 3)))
            interval = "" if cell.low is None else f"[{number(cell.low, digits)}, {number(cell.high, digits)}]"
            texts = [line.marked, number(cell.value, digits), interval, rank(cell), *map(count, cell.counts)]
            body.append(_joined(map(escape, texts)))
    return "\n".join(
        [
            r"% Every number of Earshot's leaderboard. In the preamble: \usepackage{booktabs,longtable}",
            r"\begin{longtable}{@{}lrrlrr@{}}",
            r"\toprule",
            _joined(map(escape, head)),
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *body,
            r"\end{longtable}",
            "",
        ]
    )


def _line(
    line: Standing,
    columns: Sequence[Mapping[str, Any]],
    key: str,
    marks: Mapping[tuple[str, str], list[tuple[str, str]]],
) -> str:
    title = line.marked + (" (imported)" if line.kind == "imported" else "")
    title += f" ({len(line.seeds)} seeds)" if len(line.seeds) > 1 else ""
    texts = [escape(rank(line.cells[key])), escape(title)]
    for column in columns:
        cell = line.cells[column["key"]]
        digits = shown_digits(cell, int(column.get("digits", 3)))
        value = escape(" ".join(filter(None, (number(cell.value, digits), half_width(cell, digits)))))
        notes = ",".join(letter for letter, _ in marks.get((line.name, column["key"]), ()))
        texts.append(value + (rf"\textsuperscript{{{notes}}}" if notes else ""))
    return _joined([*texts, escape(count(line.row.get("count")))])


def _has_any(line: Standing, columns: Sequence[Mapping[str, Any]]) -> bool:
    return any(line.cells[column["key"]].value is not None for column in columns)


def _joined(cells: Iterable[str]) -> str:
    """A line of the table. One that began with a bracket would be an option of the line break before it."""
    line = " & ".join(cells)
    return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"
