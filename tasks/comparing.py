"""What `python -m pipeline.compare` does: two results side by side, and whether anything got worse."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tasks import descriptions
from tasks.errors import EarshotError


def compare(a: Path, b: Path, measures: Sequence[str], rows: Sequence[str], tolerances: Sequence[str]) -> int:
    """Print the differences, and to standard error what could not be compared; the exit status of the door.

    Raises EarshotError where the two cannot be compared at all, or something that is named is not there.
    """
    from evaluation import regressions, results

    try:
        before, after = results.read(a), results.read(b)
        allowed = [regressions.Tolerance.parse(text) for text in tolerances]
        # A single evaluation does not say what its measures are called.
        described = [] if before.metrics or after.metrics else descriptions.of_metrics()
        comparison = regressions.compare(before, after, measures, rows, allowed, described)
    except results.IncomparableError as error:
        raise EarshotError(str(error)) from None
    print(regressions.show(comparison, before.path, after.path))
    for obstacle in comparison.obstacles:
        print(f"Not compared: {obstacle}.", file=sys.stderr)
    return comparison.status
