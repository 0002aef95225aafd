"""The leaderboard for a spreadsheet: `leaderboard.csv`, every number in a line of its own with all that is known of it."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from evaluation.standings import NOT_APPLICABLE, Standing

CSV_COLUMNS = (
    *("row", "title", "kind", "conditional", "model", "preset", "draw", "count", "parameters", "nfe", "seed", "metric"),
    *("value", "low", "high", "standard_error", "method", "n_reference", "n_generated", "better", "unit", "version"),
    *(
        "target",
        "likelihood_space",
        "rank_low",
        "rank_high",
        "alarm",
        "warnings",
        "trained",
        "source",
        "digest",
        "reason",
    ),
)


def format_csv(lines: Sequence[Standing]) -> str:
    """One line per row, measure and seed; rows of several seeds have one more, with seed `mean`.

    Of a measure that is not applicable there is one line per row, without a value and with the reason.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        common: dict[str, Any] = {"row": line.name, "title": line.title, "kind": line.kind}
        common |= {
            key: line.row.get(key) for key in ("conditional", "model", "preset", "draw", "count", "parameters", "nfe")
        }
        for key, cell in line.cells.items():
            rank = dict(zip(("rank_low", "rank_high"), cell.rank or ("", ""), strict=True))
            rank["alarm"] = "; ".join(line.alarms)
            common |= {"target": cell.target, "warnings": "; ".join(cell.warnings)}
            for run in cell.runs:
                about: dict[str, Any] = {name: run["score"][name] for name in CSV_COLUMNS if name in run["score"]}
                about |= {name: run[name] for name in ("seed", "trained", "source", "digest")}
                ranks = rank if len(cell.runs) == 1 else {"alarm": rank["alarm"]}
                writer.writerow(common | about | ranks | {"metric": key, "likelihood_space": cell.space})
            if not cell.runs and cell.reason.startswith(NOT_APPLICABLE):
                writer.writerow(common | {"metric": key, "better": cell.better, "reason": cell.reason})
            if len(cell.runs) > 1 and cell.value is not None:
                about = {name: getattr(cell, name) for name in ("value", "low", "high", "standard_error", "method")}
                about |= {"better": cell.better, "unit": cell.unit, "version": cell.version}
                about |= dict(zip(("n_reference", "n_generated"), cell.counts, strict=True))
                writer.writerow(common | about | rank | {"metric": key, "seed": "mean", "likelihood_space": cell.space})
    return out.getvalue()
