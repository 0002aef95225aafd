"""Labels beside what they name, in place of a legend: where there is room for each."""

from collections.abc import Sequence
from typing import NamedTuple

LETTER = 6.9  # width of a letter of the plots' type, in pixels; the widest lines of text are a little narrower
HEIGHT = 13.0
RINGS = (9.0, 17.0, 28.0, 42.0, 58.0, 76.0, 96.0, 118.0)  # how far from its point a label may be
WAYS = (
    (1, 0),
    (-1, 0),
    (1, -1),
    (-1, -1),
    (1, 1),
    (-1, 1),
    (0, -1),
    (0, 1),
    (1, -0.5),
    (1, 0.5),
    (-1, -0.5),
    (-1, 0.5),
)


class Label(NamedTuple):
    """Where a text goes: its anchor point (the baseline), how it is anchored, and whether a line must lead to its point."""

    x: float
    y: float
    anchor: str
    far: bool


class Box(NamedTuple):
    """left, top, right, bottom in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: "Box") -> float:
        """The area that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, high)


def place(
    points: Sequence[tuple[float, float]], texts: Sequence[str], bounds: Box, avoid: Sequence[Box] = ()
) -> list[Label]:
    """For each point the best free place around it, points in the given order; covering nothing wins over being near.

    avoid: what else should not be covered
    """
    taken = [*avoid, *(Box(x - 5, y - 5, x + 5, y + 5) for x, y in points)]
    found = []
    for (x, y), text in zip(points, texts, strict=True):
        choices = [_choice(x, y, text, way, ring) for ring in RINGS for way in WAYS]
        label, box = min(choices, key=lambda choice: _cost(choice[0], choice[1], (x, y), taken, bounds))
        taken.append(box)
        found.append(label)
    return found


def apart(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The positions, moved as little as a downward sweep allows, so that they are `gap` apart and between low and high."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed = [0.0] * len(positions)
    floor = low
    for rank, i in enumerate(order):
        room = high - gap * (len(order) - 1 - rank)
        placed[i] = max(min(positions[i], room), floor)
        floor = placed[i] + gap
    return placed


def _choice(x: float, y: float, text: str, way: tuple[float, float], ring: float) -> tuple[Label, Box]:
    wide, (across, down) = LETTER * len(text), way
    anchor = "middle" if not across else "start" if across > 0 else "end"
    at, base = x + across * ring, y + 4 + down * (ring if across == 0 else ring * 0.8)
    left = at - wide / 2 if not across else at if across > 0 else at - wide
    return Label(at, base, anchor, ring > RINGS[1]), Box(left, base - HEIGHT + 2, left + wide, base + 3)


def _cost(label: Label, box: Box, point: tuple[float, float], taken: Sequence[Box], bounds: Box) -> float:
    inside = box.shared(bounds)
    outside = (box.right - box.left) * (box.bottom - box.top) - inside
    distance = abs(label.x - point[0]) + abs(label.y - 4 - point[1])
    return 30 * outside + 10 * sum(box.shared(other) for other in taken) + distance
