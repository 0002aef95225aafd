"""The clips that help and hurt most: samples by their influence on FID, with players."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.report.looks import Look, models
from evaluation.report.players import Sounds
from evaluation.report.section import Figure, Group, Players, Section
from evaluation.standings import Standing

NAMED = ("influence", "Best and worst", "Best and worst samples")
ABOUT = (
    "By their influence on FID: how much it would fall (−) or rise (+) if the clip were left out. The worst are far "
    "from where the corpus is; the best fill places that other samples leave empty, and need not sound best."
)


def section(
    lines: Sequence[Standing],
    looks: Mapping[str, Look],
    clips: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    sounds: Sounds,
) -> Section:
    """clips: row -> {"worst": clips, "best": clips}, the most extreme first."""
    figures = []
    for line in models(lines):
        found = clips.get(line.name, {})
        sides = [(side, found[side]) for side in ("worst", "best") if found.get(side)]
        if sides:
            players = [
                Players(side.capitalize(), [sounds.player(clip, False) for clip in shown]) for side, shown in sides
            ]
            look = looks[line.name]
            figures.append(Figure(look.title, colour=look.classes, players=players, wide=True))
    if not figures:
        return Section(*NAMED, missing="no row has influences of single clips on FID")
    return Section(*NAMED, ABOUT, [Group(figures)])
