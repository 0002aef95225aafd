"""Memorization: how close generated clips come to training clips, beside held-out ones, and the closest pairs to listen to."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from evaluation.report.axes import Axis, grid_x, grid_y, path, svg, text, thinned, upright
from evaluation.report.looks import Look, cell, details, models, reason
from evaluation.report.players import Sounds
from evaluation.report.section import Figure, Group, Players, Section, Table
from evaluation.standings import ALARM, Cell, Standing
from evaluation.wording import half_width, number, shown_digits

KEY, CT, AUC, AUTHPCT = "v1/nearest", "v1/ct", "v1/ct/auc", "v1/authpct"
NAMED = ("memorization", "Memorization", "Memorization: how close to the training clips")
ABOUT = (
    "Each curve says which share of clips has a training clip within that distance, in the classifier's features. "
    "Grey: real clips that nothing was trained on. In colour: generated ones, with a 95 % band. A curve left of the "
    "grey one, above all near 0, copies; one to the right is unlike real clips."
)
PAIRS = (
    "The generated clips that lie nearest to a training clip, each beside that clip. Closeness is suspicious, not proof: "
    "listen."
)
CORRELATION = (
    " The correlation is of both waveforms at the best lag; those of held-out clips and their nearest training clips stay "
    f"below {{limit:.2f}}, and {ALARM} marks what does not."
)
WIDTH, HIGH, LEFT, RIGHT, BASE, TOP = 350.0, 232.0, 62.0, 340.0, 190.0, 10.0
FARTHEST = 0.995
"""The quantile up to which curves are drawn, so that one stray clip does not squeeze the rest."""
POINTS = 64
"""Of a curve, which is 278 pixels wide."""


def section(
    lines: Sequence[Standing], looks: Mapping[str, Look], pairs: Mapping[str, Mapping[str, Any]], sounds: Sounds
) -> Section:
    """A curve for every model, one for each control, folded; then the nearest pairs of every model.

    pairs: row -> limit (of the correlation, or None) and pairs, [{generated, real: clips, distance, correlation, identical}]
    """
    known = [line for line in lines if details(line, KEY).get("curves") and line.row.get("role") != "dataset"]
    if not known:
        why = "the distances are not recorded" if any(cell(line, KEY) for line in lines) else reason(lines, KEY)
        return Section(*NAMED, missing=why)
    ours = models(known)
    groups = []
    for chosen, title in ((ours, ""), ([line for line in known if line not in ours], "Controls")):
        if chosen:
            most = max(_farthest(details(line, KEY)["curves"]) for line in chosen) or 1.0
            groups.append(Group([_figure(line, looks[line.name], most) for line in chosen], title, folded=bool(title)))
    shown = [
        _pairs(line, looks[line.name], pairs[line.name], sounds)
        for line in ours
        if pairs.get(line.name, {}).get("pairs")
    ]
    if shown:
        limits = [found["limit"] for found in pairs.values() if found.get("limit") is not None]
        about = PAIRS + (CORRELATION.format(limit=max(limits)) if limits else "")
        groups.append(Group(shown, "The nearest pairs", about))
    return Section(*NAMED, ABOUT, groups, [_table(lines, looks)])


def _farthest(curves: Mapping[str, Sequence[float]]) -> float:
    inside = [i for i, level in enumerate(curves["levels"]) if level <= FARTHEST]
    return max(curves[name][inside[-1]] for name in ("generated", "held_out"))


def _figure(line: Standing, look: Look, most: float) -> Figure:
    x_axis, y_axis = Axis(0.0, most * 1.02, LEFT, RIGHT), Axis(0.0, 1.0, BASE, TOP)
    curves, count = details(line, KEY)["curves"], line.cells[KEY].counts[1] or 1
    levels = curves["levels"]

    def at(name: str, shift: float = 0.0) -> list[tuple[float, float]]:
        inside = [
            (x, min(1.0, max(0.0, y + shift))) for x, y in zip(curves[name], levels, strict=True) if x <= x_axis.high
        ]
        return thinned([(x_axis.at(x), y_axis.at(y)) for x, y in inside], POINTS)

    half = math.sqrt(math.log(2 / 0.05) / (2 * count))
    parts = [grid_y(y_axis, LEFT, RIGHT, shares=True), grid_x(x_axis, BASE, BASE)]
    parts.append(path([*at("generated", half), *reversed(at("generated", -half))], "band"))
    parts += [
        path(at("training"), "curve dashed"),
        path(at("held_out"), "curve held"),
        path(at("generated"), "curve own"),
    ]
    parts.append(text((LEFT + RIGHT) / 2, HIGH - 8, "distance to the nearest training clip", "middle", "axis"))
    parts.append(upright(11, (BASE + TOP) / 2, "share of clips"))
    medians = details(line, KEY).get("medians", {})
    label = f"Distances to the nearest training clip, {look.title}: median {medians.get('generated', 0):.3g}, "
    label += f"held-out clips {medians.get('held_out', 0):.3g}"
    drawn = Markup(f'<g class="{look.colour}">{"".join(parts)}</g>')
    note = f"C_T {_value(line, CT)} · AuthPct {_value(line, AUTHPCT)}{_target(line)}"
    return Figure(
        look.title,
        svg(WIDTH, HIGH, [drawn], label),
        note,
        look.classes,
        " ".join(alarm for key in (AUTHPCT, CT) if key in line.cells for alarm in line.cells[key].alarms),
    )


def _target(line: Standing) -> str:
    found = cell(line, AUTHPCT)
    return f" (held-out clips {number(found.target, 1)})" if found is not None and found.target is not None else ""


def _pairs(line: Standing, look: Look, found: Mapping[str, Any], sounds: Sounds) -> Figure:
    shown, limit = [], found.get("limit")
    for pair in found["pairs"]:
        r = pair.get("correlation")
        told = [f"distance {number(pair['distance'], 2)}"] + (
            [] if r is None else [f"correlation {r:.2f}".replace("-", "−")]
        )
        if pair.get("identical"):
            told.append("identical")
        elif r is not None and limit is not None and abs(r) > limit:
            told.append(ALARM)
        real = {**pair["real"], "caption": f"training: {pair['real']['caption']}"}
        clips = [sounds.player(clip) for clip in (pair["generated"], real)]
        shown.append(Players(" · ".join(told), clips))
    return Figure(look.title, colour=look.classes, players=shown, wide=True)


def _value(line: Standing, key: str) -> str:
    found = cell(line, key)
    if found is None:
        return "–"
    digits = shown_digits(found, 2)
    return f"{number(found.value, digits)} {half_width(found, digits)}".strip()


def _table(lines: Sequence[Standing], looks: Mapping[str, Look]) -> Table:
    head = (
        "",
        "C_T (0)",
        "C_T AUC (0.5)",
        "AuthPct",
        "of held-out",
        "median distance / held-out's (1)",
        "copies",
        "exact",
    )
    rows = []
    for line in lines:
        if not any(cell(line, key) for key in (KEY, CT, AUTHPCT)):
            continue
        copies = details(line, AUTHPCT).get("copies") or {}
        held: Cell | None = cell(line, AUTHPCT)
        target = number(held.target, 1) if held else "–"
        values = [_value(line, CT), _value(line, AUC), _value(line, AUTHPCT), target, _value(line, KEY)]
        rows.append([looks[line.name].title, *values, str(copies.get("clips", "–")), str(copies.get("exact", "–"))])
    return Table("Memorization in numbers", head, rows)
