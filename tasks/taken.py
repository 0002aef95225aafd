"""What was taken of a corpus and what was not, and why, in words: for the person whose recordings they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks import console
from tasks.corpora.base import Recording

if TYPE_CHECKING:
    from tasks.preparing import Prepared

MOST_NAMED = 10


def account(
    recordings: Sequence[Recording],
    kept: Sequence[Prepared],
    refused: Sequence[tuple[str, str]],
    metrics: Mapping[str, Any],
    left_out: Mapping[str, float],
    silence_db: float | None,
) -> dict[str, Any]:
    """What `metrics.json` says beside the plain numbers, and `account`, the same as lines of text.

    refused: (path, reason) of files, or of single clips of them. left_out: seconds, see `Corpus.left_out`.
    """
    files = {recordings[result.row].path for result in kept}
    named = Counter(refused)
    length = metrics["timesteps"] / metrics["sample_rate"]
    splits = ", ".join(f"{count} {split}" for split, count in metrics["clips"].items())
    lines = [
        f"Taken: {console.spell_seconds(metrics['seconds'])} of {len(files)} {_plural(len(files), 'file')} as "
        f"{len(kept)} clips of {length:g} s at {metrics['sample_rate']} Hz: {splits}."
    ]
    aside = [f"{console.spell_seconds(seconds)} {reason}" for reason, seconds in left_out.items() if seconds >= 0.05]
    if metrics["quiet"]:
        silent = console.spell_seconds(metrics["quiet"] * length)
        aside.append(f"{silent} of silence ({metrics['quiet']} clips that never exceed {silence_db:g} dB)")
    if aside:
        lines.append(f"Left out: {'; '.join(aside)}.")
    if named:
        paths = {path for path, _ in named}
        lines.append(f"Rejected: {len(paths)} {_plural(len(paths), 'file')}, in whole or in part:")
        for (path, reason), count in list(named.items())[:MOST_NAMED]:
            clips = f"{count} clips, " if count > 1 else ""
            lines.append(f"  {path}: {clips}{reason}")
        if len(named) > MOST_NAMED:
            lines.append("  ... and others: all are in rejected.csv")
    return {
        "files": len(files),
        "rejected_files": len({path for path, _ in named} - files),
        "left_out_seconds": dict(left_out),
        "account": lines,
    }


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
