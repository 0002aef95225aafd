"""`python -m pipeline.compare before.json after.json`: whether anything got worse, as a table and as an exit status."""

import argparse
import sys
from pathlib import Path

from pipeline import streams

EPILOG = """\
A and B are two leaderboard.json, or the metrics.json of two evaluations, or folders with one of these. A number got worse
where the 95 % interval of the difference B - A lies wholly on its bad side, by more than the tolerance.
A row with an alarm (it copies real clips, or has collapsed) that it had not in A is worse as well, whatever --metric says.

Exit status: 0 nothing got worse; 1 something did; 2 something could not be compared (another classifier, corpus, version
of a measure or count; a row or number that is gone), or wrong usage.
"""


def main(words: list[str] | None = None) -> int:
    """Print the differences; the exit status is as the epilog says."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.compare",
        description="Compare two results, number by number, with the interval of every difference.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("a", type=Path, metavar="A", help="the result before")
    add("b", type=Path, metavar="B", help="the result after")
    add("--metric", action="append", default=[], metavar="NAME", help="FID, v1/fid, ..., or all; may be repeated (the "
        "columns of the main table)")  # fmt: skip
    add(
        "--row",
        action="append",
        default=[],
        metavar="NAME",
        help="of a leaderboard, as in its CSV; may be repeated (all)",
    )
    add("--tolerance", action="append", default=[], metavar="[METRIC=]X[%]", help="how much worse is no matter: in the "
        "measure's unit, or in %% of the value in A; may be repeated (0). Numbers without an interval need one")  # fmt: skip
    given = parser.parse_args(words)
    from tasks import comparing
    from tasks.errors import EarshotError

    try:
        return comparing.compare(given.a, given.b, given.metric, given.row, given.tolerance)
    except EarshotError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    streams.leave(main)
