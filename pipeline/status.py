"""`python -m pipeline.status`: what lies in the workdir, what runs, what died and why, what no longer matches."""

import argparse

from pipeline import streams


def main(words: list[str] | None = None) -> int:
    """Print the table; the exit status is always 0."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.status",
        description="List every artifact of a workdir: its state, size, age and headline number. Changes nothing.",
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", metavar="DIR", help="the workdir to look at (luigi.cfg's)")
    given = parser.parse_args(words)
    from tasks import inspection

    print(inspection.show(inspection.use_workdir(given.workdir)))
    return 0


if __name__ == "__main__":
    streams.leave(main)
