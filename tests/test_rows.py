"""What a leaderboard row is called."""

from tasks.rows import _tell_apart


def row(name: str, draw: str | None) -> dict[str, object]:
    return {"name": name, "title": name, "draw": draw}


def test_rows_of_several_draws_are_told_apart_by_their_size() -> None:
    found = [row("wavenet/small", "draw-512"), row("held-out", "draw-32"), row("held-out", "draw-40")]
    _tell_apart(found)
    assert [entry["name"] for entry in found] == ["wavenet/small", "held-out/32", "held-out/40"]


def test_seeds_of_one_draw_share_a_name() -> None:
    found = [row("wavenet/small", "draw-512"), row("wavenet/small", "draw-512"), row("mine", None)]
    _tell_apart(found)
    assert [entry["name"] for entry in found] == ["wavenet/small", "wavenet/small", "mine"]
