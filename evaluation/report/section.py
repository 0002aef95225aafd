"""A part of the page as its template sees it: plots first, the players that go with them, and the numbers in tables behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from evaluation.report.players import Player


@dataclass(frozen=True)
class Table:
    """head: names of the columns; rows: texts, the first of each being the row's name."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Players:
    """Clips side by side under a heading."""

    title: str
    clips: Sequence[Player]
    about: str = ""


@dataclass(frozen=True)
class Figure:
    """title: the caption, colour: the class of the row that it is about; plot: SVG or HTML; note: a sentence below it;
    alarm: what must be known before it is looked at; wide: as wide as the page.
    """

    title: str
    plot: Markup | str = ""
    note: str = ""
    colour: str = ""
    alarm: str = ""
    players: Sequence[Players] = ()
    wide: bool = False


@dataclass(frozen=True)
class Group:
    """Figures side by side; folded: only the heading is seen until it is opened."""

    figures: Sequence[Figure]
    title: str = ""
    about: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """id: its anchor; short: what the navigation calls it; about: how to read it; missing: why there is nothing to show."""

    id: str
    short: str
    title: str
    about: str = ""
    groups: Sequence[Group] = ()
    tables: Sequence[Table] = ()
    missing: str = ""


def heard_by(section: Section, judge: str) -> Section:
    """The section as it reads where these ears judge in place of the classifier; itself where there are none."""
    if not judge:
        return section

    def told(text: str) -> str:
        return text.replace("the classifier's features", f"the features of {judge}").replace("the classifier", judge)

    groups = [replace(group, title=told(group.title), about=told(group.about)) for group in section.groups]
    groups = [replace(group, figures=[_told(figure, told) for figure in group.figures]) for group in groups]
    return replace(section, about=told(section.about), groups=groups)


def _told(figure: Figure, told: Callable[[str], str]) -> Figure:
    return replace(figure, title=told(figure.title), note=told(figure.note))
