"""How each row looks in every plot of a page: a colour of its own, the same everywhere, and its name beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.report.axes import shortened
from evaluation.standings import ALARM, RANKED, Cell, Standing

COLOURS = 9
"""Of the style sheet's classes c0, c1, ...; a further row takes the first one again, and is told apart by its name."""
LONGEST = 30


@dataclass(frozen=True)
class Look:
    """colour: class of the row's colour; title: its name as plots show it; alarm: whether its good values deceive."""

    colour: str
    title: str
    alarm: bool
    control: bool

    @property
    def classes(self) -> str:
        """What a mark of this row wears."""
        return f"{self.colour} hollow" if self.alarm or self.control else self.colour


def looks(lines: Sequence[Standing]) -> dict[str, Look]:
    """Row name -> its look. Controls and published rows are grey; what has an alarm is hollow, and says so."""
    found, number = {}, 0
    for line in lines:
        colour = "grey"
        if line.kind in RANKED:
            colour, number = f"c{number % COLOURS}", number + 1
        title = shortened(line.title, LONGEST) + (" (conditional)" if line.mark else "")
        alarm = bool(line.alarms)
        found[line.name] = Look(colour, f"{ALARM} {title}" if alarm else title, alarm, line.kind not in RANKED)
    return found


def details(line: Standing, key: str) -> Mapping[str, Any]:
    """The details of a row's score of that key, of its first seed; empty where it has none."""
    runs = line.cells[key].runs if key in line.cells else ()
    found: Mapping[str, Any] = (runs[0]["score"].get("details") or {}) if runs else {}
    return found


def cell(line: Standing, key: str) -> Cell | None:
    """The row's cell of that key, where it has a value."""
    found = line.cells.get(key)
    return found if found is not None and found.value is not None else None


def heard(lines: Sequence[Standing], key: str) -> list[tuple[str, str]]:
    """Whose ears have a measure for some row: (name, key), the classifier's, called "", first."""
    known = {other for line in lines for other in line.cells if cell(line, other)}
    others = sorted(other for other in known if other.startswith(f"{key}@"))
    return [("", key)] * (key in known) + [(other.partition("@")[2], other) for other in others]


def reason(lines: Sequence[Standing], key: str) -> str:
    """Why no row has a measure: what most rows say."""
    said = [line.cells[key].reason for line in lines if key in line.cells and line.cells[key].reason]
    return max(said, key=said.count) if said else "it was not measured for any row"


def models(lines: Sequence[Standing]) -> list[Standing]:
    """The rows that stand for generators, ranked or not."""
    return [line for line in lines if line.kind in RANKED]
