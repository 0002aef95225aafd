"""NDB: which parts of the corpus a generator makes too often, and which too rarely; to be seen and heard."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from evaluation.report.axes import Axis, grid_y, percent, rect, strokes, svg, text
from evaluation.report.looks import Look, cell, details, heard, models, reason
from evaluation.report.parts import wilson
from evaluation.report.players import Sounds
from evaluation.report.section import Figure, Group, Players, Section, Table
from evaluation.standings import Standing
from evaluation.wording import half_width, number, shown_digits

KEY = "v1/ndb"
NAMED = ("bins", "Bins", "Bins: what is made too often, and too rarely")
ABOUT = (
    "The corpus falls into bins of clips that sound alike to the classifier (k-means of its features), the fullest at "
    "the left. Black steps: the corpus's share of each bin. Bars: the generator's, with 95 % intervals; orange bars "
    "differ beyond chance after Holm's correction, ▲ too often, ▼ too rarely. Below, the two worst bins to listen to."
)
WIDTH, HIGH, LEFT, BASE, TOP = 520.0, 186.0, 48.0, 158.0, 22.0
PLAYED = 3
"""Generated clips of a bin that the page plays."""


def extremes(details: Mapping[str, Any]) -> list[int]:
    """The most over- and the most under-represented bin, of those that differ after Holm's correction."""
    bins = details.get("bins") or []
    differing = [i for i, one in enumerate(bins) if one["holm"]]
    over = [i for i in differing if bins[i]["z"] > 0]
    under = [i for i in differing if bins[i]["z"] < 0]
    worst = [max(over, key=lambda i: bins[i]["z"])] if over else []
    return worst + ([min(under, key=lambda i: bins[i]["z"])] if under else [])


def section(
    lines: Sequence[Standing],
    looks: Mapping[str, Look],
    clips: Mapping[str, Mapping[int, Mapping[str, Sequence[Mapping[str, Any]]]]],
    sounds: Sounds,
) -> Section:
    """A figure for every model; for the controls, folded, and without players.

    clips: row -> bin -> {"generated": clips in it, "real": real ones}
    """
    found = heard(lines, KEY)
    known = [line for line in lines if details(line, KEY).get("bins") and line.row.get("role") != "dataset"]
    if not known:
        return Section(*NAMED, missing=reason(lines, KEY) if not found else "the bins are not recorded")
    figures = {line.name: _figure(line, looks[line.name], clips.get(line.name, {}), sounds) for line in known}
    ours = {line.name for line in models(known)}
    groups = [Group([figures[line.name] for line in known if line.name in ours])] if ours else []
    if rest := [figures[line.name] for line in known if line.name not in ours]:
        groups.append(Group(rest, "Controls", folded=True))
    return Section(*NAMED, ABOUT, groups, [_table(lines, looks, found)])


def _figure(
    line: Standing, look: Look, clips: Mapping[int, Mapping[str, Sequence[Mapping[str, Any]]]], sounds: Sounds
) -> Figure:
    about = details(line, KEY)
    bins, players = about["bins"], []
    for i, held in clips.items():
        title = f"Bin {i + 1}, {'too full' if bins[i]['z'] > 0 else 'too empty'}"
        shares = f"{percent(round(bins[i]['generated'], 4))} generated, {percent(round(bins[i]['real'], 4))} real"
        shown = [sounds.player(clip, False) for clip in held["generated"]]
        shown += [sounds.player({**clip, "caption": f"real: {clip['caption']}"}, False) for clip in held["real"]]
        players.append(Players(title, shown, shares))
    differing = sum(one["holm"] for one in bins)
    note = f"{differing} of {len(bins)} bins differ. {_chance(about)}"
    return Figure(
        f"{look.title}: NDB/K {_value(line, KEY)}", _plot(bins, line, look), note, look.classes, players=players
    )


def _chance(about: Mapping[str, Any]) -> str:
    p = about.get("homogeneity_p")
    same = (
        ""
        if p is None
        else f" That all shares are the corpus's: p {'< 0.0001' if p < 1e-4 else f'= {p:.4f}'} (chi-square)."
    )
    return f"By chance alone NDB/K would be {about['expected']:.3f}.{same}" if "expected" in about else same.strip()


def _plot(bins: Sequence[Mapping[str, Any]], standing: Standing, look: Look) -> Markup:
    count = standing.cells[KEY].counts[1] or 1
    spans = [wilson(round(one["generated"] * count), count) for one in bins]
    axis = Axis(0.0, max(*(high for _, high in spans), *(one["real"] for one in bins)) * 1.03, BASE, TOP)
    step = (WIDTH - LEFT - 6) / len(bins)
    parts = [grid_y(axis, LEFT, WIDTH - 6, shares=True)]
    whiskers, steps = [], []
    for i, (one, (low, high)) in enumerate(zip(bins, spans, strict=True)):
        x, y, real = LEFT + step * (i + 0.5), axis.at(one["generated"]), axis.at(one["real"])
        tip = (
            f"bin {i + 1}: {100 * one['generated']:.2f} % generated, {100 * one['real']:.2f} % real, z {one['z']:+.1f}"
        )
        parts.append(rect(x - step * 0.4, y, step * 0.8, BASE - y, "bar off" if one["holm"] else "bar", tip))
        whiskers.append((x, axis.at(low), x, axis.at(high)))
        steps.append((x - step * 0.48, real, x + step * 0.48, real))
        if one["holm"]:
            over = one["z"] > 0
            at = min(axis.at(high), real) - 4
            parts.append(text(x, at, "▲" if over else "▼", "middle", "sign"))
    parts += [strokes(whiskers, "whisker thin"), strokes(steps, "expected")]
    parts.append(text((LEFT + WIDTH) / 2, HIGH - 8, f"{len(bins)} bins, the corpus's fullest first", "middle", "axis"))
    differing = ", ".join(f"bin {i + 1} {'over' if b['z'] > 0 else 'under'}" for i, b in enumerate(bins) if b["holm"])
    label = f"Share of each bin in {look.title} beside the corpus's. Beyond chance: {differing or 'none'}"
    return svg(WIDTH, HIGH, parts, label)


def _value(line: Standing, key: str) -> str:
    found = cell(line, key)
    if found is None:
        return "–"
    digits = shown_digits(found, 3)
    return f"{number(found.value, digits)} {half_width(found, digits)}".strip()


def _table(lines: Sequence[Standing], looks: Mapping[str, Look], found: Sequence[tuple[str, str]]) -> Table:
    """NDB/K and JS by every ears."""
    keys = [(ears, key.replace(KEY, name, 1)) for ears, key in found for name in (KEY, f"{KEY}/js")]
    head = ["", *(f"{'JS' if '/js' in key else 'NDB/K'}{f' ({ears})' if ears else ''}" for ears, key in keys)]
    head += ["bins", "differ (Holm)", "NDB/K by chance"]
    rows = []
    for line in lines:
        about = details(line, KEY)
        if any(cell(line, key) for _, key in keys):
            chance = f"{about['expected']:.3f}" if "expected" in about else "–"
            more = [str(len(about.get("bins", ()))), str(about.get("holm", "–")), chance]
            rows.append([looks[line.name].title, *(_value(line, key) for _, key in keys), *more])
    return Table("NDB in numbers", head, rows)
