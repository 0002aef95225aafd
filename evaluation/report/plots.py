"""Plots of trainings and of the classifier: lines over steps, and how far its confidence is to be trusted."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from evaluation.report.axes import Axis, circle, grid_x, grid_y, path, span, stroke, svg, text, thinned, upright


def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float | None]]], unit: str, label: str) -> Markup:
    """Lines over training steps: name -> (steps, values); missing and non-finite values are left out of the line."""
    points = {
        name: [(x, y) for x, y in zip(*pair, strict=True) if y is not None and math.isfinite(y)]
        for name, pair in lines.items()
    }
    everything = [point for known in points.values() for point in known]
    if not everything:
        return Markup("")
    width, height, left, right, top, bottom = 330.0, 210.0, 44.0, 10.0, 12.0, 40.0
    x_axis = Axis(0, max(x for x, _ in everything) or 1, left, width - right)
    y_axis = span([y for _, y in everything], height - bottom, top, log=False)
    parts = [grid_y(y_axis, left, width - right), grid_x(x_axis, height - bottom, height - bottom)]
    for (_, known), colour in zip(points.items(), ("faint", "accent"), strict=False):
        parts.append(path([(x_axis.at(x), y_axis.at(y)) for x, y in thinned(known)], f"curve {colour}"))
    parts.append(text((left + width - right) / 2, height - 4, "training step", "middle", "axis"))
    return svg(width, height, parts, f"{label}: {', '.join(points)} in {unit or 'loss'} over training steps")


def calibration(bins: Sequence[Mapping[str, float]]) -> Markup:
    """Accuracy over confidence, a dot per bin with its area by the share of clips; the diagonal is perfect."""
    width, height, left, bottom, top = 300.0, 270.0, 44.0, 40.0, 12.0
    x_axis, y_axis = Axis(0, 1, left, width - 12), Axis(0, 1, height - bottom, top)
    parts = [grid_y(y_axis, left, width - 12), grid_x(x_axis, height - bottom, height - bottom)]
    parts.append(stroke(x_axis.at(0), y_axis.at(0), x_axis.at(1), y_axis.at(1), "diagonal"))
    filled = [one for one in bins if one["count"] > 0]
    total = sum(one["count"] for one in filled) or 1
    for one in filled:
        radius = 3 + 11 * math.sqrt(one["count"] / total)
        tip = f"confidence {one['confidence']:.3f}, accuracy {one['accuracy']:.3f}, {one['count']:,} clips"
        parts.append(circle(x_axis.at(one["confidence"]), y_axis.at(one["accuracy"]), radius, "dot accent soft", tip))
    parts.append(text((left + width) / 2, height - 4, "confidence", "middle", "axis"))
    parts.append(upright(11, height / 2 - 12, "accuracy"))
    return svg(width, height, parts, "Calibration: accuracy over confidence")


def checkpoints(page: Mapping[str, Any]) -> Markup:
    """The criterion over training, with 95 % intervals: a dot per checkpoint, the best one ringed. page: a `curve.json`."""
    key, name = page["criterion"]["key"], page["criterion"]["name"]
    entries = [(entry, entry["scores"][key]) for entry in page["checkpoints"]]
    width, height, left, right, top, bottom = 520.0, 250.0, 52.0, 14.0, 12.0, 40.0
    x_axis = Axis(0, max(entry["step"] for entry, _ in entries) or 1, left, width - right)
    y_axis = span([score[end] for _, score in entries for end in ("low", "value", "high")], height - bottom, top)
    parts = [grid_y(y_axis, left, width - right), grid_x(x_axis, height - bottom, height - bottom)]
    places = [(x_axis.at(entry["step"]), y_axis.at(score["value"])) for entry, score in entries]
    parts.append(path(places, "curve accent"))
    for (entry, score), (x, y) in zip(entries, places, strict=True):
        parts.append(stroke(x, y_axis.at(score["low"]), x, y_axis.at(score["high"]), "whisker thin"))
        tip = f"{entry['name']}: {score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
        parts.append(circle(x, y, 4, "dot accent", tip))
        if entry["best"]:
            parts += [circle(x, y, 8.5, "ring"), text(x, y - 14, "best", "middle", "name")]
    below = f"training step; {name} on a log scale" if y_axis.log else "training step"
    parts.append(text((left + width - right) / 2, height - 4, below, "middle", "axis"))
    told = ", ".join(f"{entry['name']} {score['value']:.2f}" for entry, score in entries)
    return svg(width, height, parts, f"{page.get('title', 'A training')}: {name} over training: {told}")
