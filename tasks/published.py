"""Whether published numbers may stand beside ours: only under the classifier that they were measured with, or its recipe."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasks import folders, machine
from tasks.releases import PREFIX

CORPUS, RELEASED = "sc09", "resnext"
PAPER = re.compile(r"paper-seed\d+")  # the published setting, with nothing changed


class Published(NamedTuple):
    """Rows, the columns that only they have, and what is to be said: why there are none, or what they are."""

    rows: list[dict[str, Any]]
    columns: list[dict[str, Any]]
    notes: tuple[str, ...]


def beside(place: Path, classifier: Path, metrics: Sequence[Mapping[str, Any]]) -> Published:
    """What is shown in the leaderboard of the corpus's folder `place`, as the classifier in that folder judges."""
    from evaluation import published

    if reason := absence(place, classifier):
        return Published([], [], (published.absent(reason),))
    notes = () if is_released(classifier) else (published.ANOTHER_TRAINING,)
    return Published(published.rows(metrics), published.columns(), notes)


def absence(place: Path, classifier: Path) -> str:
    """Why published numbers would mislead here; "" where they would not."""
    if place.name != CORPUS:
        return f"this corpus is another one, {place.name}"
    if folders.read_json(classifier / folders.CONFIG)["task"] == "TrainClassifier":
        trained = "" if PAPER.fullmatch(classifier.name) else f"this classifier is another one, {classifier.name}"
        hint = f"they need --classifier {PREFIX}{RELEASED}, or paper"
        return (
            trained and f"{trained}, and distances between features of different classifiers cannot be compared; {hint}"
        )
    if is_released(classifier):
        return ""
    return (
        f"this classifier comes from a file that is not known to be the release's; --classifier {PREFIX}{RELEASED} is"
    )


def is_released(classifier: Path) -> bool:
    """Whether it is the release's own: imported by that name, or from a file of the same content as that download."""
    config = folders.read_json(classifier / folders.CONFIG)
    if config["task"] != "ImportClassifier":
        return False
    asked = (
        folders.read_json(classifier / folders.PROVENANCE).get("request", {}).get("parameters", {}).get("classifier")
    )
    note = machine.workdir() / "releases" / f"{RELEASED}.sha256"
    known = note.read_text(encoding="utf-8").split()[0] if note.exists() else None
    return asked == f"{PREFIX}{RELEASED}" or config["settings"]["checkpoint"] == known
