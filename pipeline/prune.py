"""`python -m pipeline.prune`: list what a workdir could do without; with `--yes`, remove it."""

import argparse

from pipeline import streams


def main(words: list[str] | None = None) -> int:
    """Print the list, and what became of it; the exit status is 0."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.prune",
        description="List superseded folders, attempts that died, absorbed shards, superfluous checkpoints and old "
        "notes, with their sizes. Finished artifacts, and what is being built, are never touched.",
        allow_abbrev=False,
    )
    parser.add_argument("--yes", action="store_true", help="remove what is listed")
    parser.add_argument("--workdir", metavar="DIR", help="the workdir to prune (luigi.cfg's)")
    given = parser.parse_args(words)
    from tasks import inspection, pruning

    print(pruning.prune(inspection.use_workdir(given.workdir), given.yes))
    return 0


if __name__ == "__main__":
    streams.leave(main)
