"""`python -m pipeline.verify`: hash everything again and name every damaged, missing or extra file."""

import argparse
import sys

from pipeline import streams


def main(words: list[str] | None = None) -> int:
    """Returns 0 if all is well, 1 if anything is (or, with --repair, was) wrong, 2 for paths that are not there."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.verify",
        description="Hash every file of the finished artifacts and compare it with their manifests.",
        epilog="Exit status: 0 all is well; 1 something is wrong, also if it was repaired; 2 wrong usage.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="artifacts, or folders of artifacts (the whole workdir)")
    add("--repair", action="store_true", help="move damaged artifacts to .superseded/; the next run makes them again")
    add("--workdir", metavar="DIR", help="the workdir to check (luigi.cfg's)")
    given = parser.parse_args(words)
    from tasks import inspection, verification
    from tasks.errors import EarshotError

    try:
        return verification.verify(given.paths, inspection.use_workdir(given.workdir), given.repair)
    except EarshotError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    streams.leave(main)
