"""Likelihood thresholds: the surface that was searched on one half of a draw, and what they give on the other."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from markupsafe import Markup

from evaluation.report.axes import span
from evaluation.report.looks import Look
from evaluation.report.rails import LEFT, RIGHT, Bar, Row, chart
from evaluation.report.section import Figure, Group, Section
from evaluation.wording import number

NAMED = ("thresholds", "Thresholds", "Likelihood thresholds")
ABOUT = (
    "Samples that a model finds very unlikely tend to be broken, very likely ones to be silent. Each cell is the "
    "criterion of the tuning half's clips between two quantiles of likelihood; darker is worse; the outlined cell is "
    "the best. Its two likelihoods were then applied to the other half, which the search has not seen: those are the "
    "numbers to quote."
)


def section(found: Mapping[str, Sequence[Mapping[str, Any]]], looks: Mapping[str, Look]) -> Section:
    """found: row -> what each of its searches found: `metrics.json` of TuneThresholds, and perhaps a `title`."""
    figures = [
        Figure(_title(tuned, looks[name]), _surface(tuned) + _outcome(tuned), _note(tuned), looks[name].classes)
        for name in looks
        for tuned in found.get(name, ())
    ]
    if not figures:
        return Section(*NAMED, missing="no thresholds were tuned for any of these rows (TuneThresholds)")
    return Section(*NAMED, ABOUT, [Group(figures)])


def _title(tuned: Mapping[str, Any], look: Look) -> str:
    changed = [part for part in tuned.get("title", "").split("+") if part and not part.startswith("criterion=")]
    return ", ".join([f"{look.title}: {_criterion(tuned)}", *changed])


def _criterion(tuned: Mapping[str, Any]) -> str:
    return str(tuned["criterion"]).upper()


def _surface(tuned: Mapping[str, Any]) -> Markup:
    """A table, lower quantiles down and upper ones across."""
    cells = {(cell["lower"], cell["upper"]): cell for cell in tuned["surface"]}
    lowers, uppers = (sorted({cell[i] for cell in cells}) for i in (0, 1))
    known = [cell["value"] for cell in cells.values() if cell["value"] is not None]
    best, worst = (min(known), max(known)) if tuned["better"] == "lower" else (max(known), min(known))
    chosen = (tuned["chosen"]["lower"], tuned["chosen"]["upper"])
    rows = []
    for lower in lowers:
        texts = ""
        for upper in uppers:
            cell = cells.get((lower, upper))
            if cell is None or cell["value"] is None:
                texts += f'<td title="{escape((cell or {}).get("reason", ""))}">–</td>'
                continue
            shade = (cell["value"] - best) / (worst - best) if worst != best else 0.0
            kind = ' class="chosen"' if (lower, upper) == chosen else ""
            tip = f"{cell['count']:,} clips of the tuning half"
            texts += f'<td{kind} style="--shade:{shade:.3f}" title="{tip}">{number(cell["value"], _digits(known))}</td>'
        rows.append(f'<tr><th scope="row">{100 * lower:g} %</th>{texts}</tr>')
    head = "".join(f'<th scope="col">{100 * upper:g} %</th>' for upper in uppers)
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="The surface, scrolls sideways"><table class="heat surface">'
        f"<thead><tr><td>from ↓ to →</td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _digits(values: Sequence[float]) -> int:
    spread = max(values) - min(values)
    return 1 if spread >= 10 else 2 if spread >= 0.5 else 3


def _outcome(tuned: Mapping[str, Any]) -> Markup:
    """The criterion's metric on the reporting half: between the thresholds, and of all of it."""
    key, rows, ends = tuned["metric"], [], []
    for part, title in (("inside", "kept"), ("whole", "whole reporting half")):
        score = tuned.get("scores", {}).get(part, {}).get(key)
        if score:
            count = tuned["samples"]["kept" if part == "inside" else "reporting"]
            ends += [score["low"], score["value"], score["high"]]
            text = f"{number(score['value'], 2)} ±{(score['high'] - score['low']) / 2:.2f}"
            bar = [Bar(score["low"], score["high"], "whisker")]
            rows.append(Row(f"{title} ({count:,})", "", bar, [(score["value"], "dot")], text))
    if not rows:
        return Markup("")
    return chart(rows, span(ends, LEFT, RIGHT), f"{_criterion(tuned)} on the reporting half")


def _note(tuned: Mapping[str, Any]) -> str:
    chosen, count = tuned["chosen"], tuned["samples"]
    said = f"Kept: quantiles {100 * chosen['lower']:g} to {100 * chosen['upper']:g} %, "
    said += f"{count['kept']:,} of {count['reporting']:,} samples."
    script = tuned.get("script") or {}
    if "lower" in script:
        said += (
            f" The published script, whose search always ends in its last cell, would keep {100 * script['lower']:g} to "
            f"{100 * script['upper']:g} %."
        )
    return said
