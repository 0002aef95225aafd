"""The table of the benchmark, for a terminal and for a page, from the results as JSON values."""

from collections.abc import Iterator
from typing import Any

from benchmarks import machine, results
from benchmarks.roofline import Rates
from benchmarks.rows.base import Figure

COLUMNS = ("work", "unit", "measured", "least", "n", "goal", "of goal", "reference", "limit", "x limit", "beside it")
WIDTHS = (48, 16, 9, 9, 3, 8, 7, 9, 9, 7, 0)
LEFT = (0, 1, 10)
LEGEND = (
    "measured: the median of n rounds; of goal: measured / goal, or goal / measured where more is better: up to 1.00 is "
    "reached; reference: what the code that this replaces took on a machine of this class; limit: counted operations and bytes "
    "at the rates above; x limit: measured / limit; beside it: another way, in turn with this one."
)


def cells(title: str, figure: Figure) -> list[str]:
    """One line of the table, as text."""
    beside = "; ".join(f"{name} {number(median(values))}" for name, values in figure.beside.items())
    remarks = "; ".join(part for part in (beside, figure.note) if part)
    return [
        f"{title}, {figure.name}" if figure.name else title, figure.unit, number(figure.median), number(figure.best),
        str(len(figure.values)), number(figure.goal), ratio(figure.of_goal), number(figure.reference),
        number(figure.limit), ratio(figure.distance), remarks,
    ]  # fmt: skip


def median(values: list[float]) -> float:
    return Figure("", "", values).median


def number(value: float | None) -> str:
    """Three digits, which is as many as are repeatable."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def line(texts: list[str]) -> str:
    """For a terminal."""
    padded = (
        text.ljust(width) if i in LEFT else text.rjust(width)
        for i, (text, width) in enumerate(zip(texts, WIDTHS, strict=True))
    )
    return "  ".join(padded).rstrip()


def of_row(title: str, result: dict[str, Any]) -> Iterator[list[str]]:
    """The lines of one row's result; the first says if the machine was busy meanwhile."""
    figures = [Figure(**values) for values in result["figures"]]
    for i, figure in enumerate(figures):
        texts = cells(title, figure)
        if not i and machine.was_busy({name: result[name] for name in ("steal", "others")}):
            taken = (result["others"] or 0.0) + (result["steal"] or 0.0)
            texts[-1] = "; ".join(
                part for part in (texts[-1], f"BUSY: others took {taken:.0%} of the processor") if part
            )
        yield texts


def head(found: dict[str, Any]) -> list[str]:
    """Where and when, and the machine's rates."""
    lines = machine.headline(found["environment"])
    if found["device"] != "cpu":
        lines.append(f"on {found['device']}: {found['environment'].get('accelerator', '')}")
    for threads, rates in found["roofline"].items():
        where = f"{threads} thread{'s' * (threads != '1')}" if found["device"] == "cpu" else found["device"]
        lines += [f"{where}: {text}" for text in Rates.of_json(rates).lines()]
    for run, names in results.of_later_runs(found).items():
        lines.append(f"measured again later, at the rates of that time: {', '.join(names)} ({run})")
    if found["quick"]:
        lines.append("toy sizes: these figures say that the rows run, and nothing about speed")
    return lines


def markdown(found: dict[str, Any]) -> str:
    """The part of docs/performance.md that is measured."""
    lines = [*(f"- {text}" for text in head(found)), "", "| " + " | ".join(COLUMNS) + " |"]
    lines.append("|" + "|".join("---" if i in LEFT else "---:" for i in range(len(COLUMNS))) + "|")
    for row in found["rows"]:
        lines += ["| " + " | ".join(texts) + " |" for texts in of_row(row["title"], row)]
    lines += [f"| {row['title']} | failed: {row['reason']} |" for row in found["failed"]]
    lines += ["", LEGEND[0].upper() + LEGEND[1:], *(part for text in summary(found) for part in ("", text))]
    return "\n".join(lines) + "\n"


def summary(found: dict[str, Any]) -> list[str]:
    """How many goals were reached, and which were not; nothing where there was none."""
    held = [(row, figure) for row, figure in _figures(found) if figure.reached is not None]
    missed = [(row, figure) for row, figure in held if not figure.reached]
    lines = [f"{len(held) - len(missed)} of {len(held)} goals reached"] if held else []
    for row, figure in missed:
        name = f"{row['name']}, {figure.name}" if figure.name else row["name"]
        lines.append(f"missed: {name}: {figure.median:.4g} {figure.unit} (goal {number(figure.goal)})")
    return lines


def wrong(found: dict[str, Any]) -> bool:
    """Whether results do not agree that should."""
    return any(row.get("exact") and figure.reached is False for row, figure in _figures(found))


def _figures(found: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Figure]]:
    return ((row, Figure(**values)) for row in found["rows"] for values in row["figures"])
