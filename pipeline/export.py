"""`python -m pipeline.export --corpus sc09 --format tfrecord`: the clips as shards for people who train elsewhere.

As a single task: `luigi --module pipeline.export ExportClips --corpus sc09 --format tfrecord --shard-mb 100`.
"""

import argparse
from typing import NoReturn

from pipeline import command, options, streams
from tasks.export import ExportClips

__all__ = ["ExportClips"]

EPILOG = """\
The flags of `python -m pipeline.CORPUS` that concern the clips work as well: --source, --sample-rate,
--clip-seconds, --set corpus.FIELD=VALUE, --workdir, --stale, --plan, --workers. Exit status: as there.
"""


def parse(words: list[str] | None = None) -> tuple[argparse.Namespace, options.Options]:
    """(what is to be exported, how and of what clips). Exits with status 2 on a flag that makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.export",
        description="Export a corpus's clips as shards, with spec.json and a loader to paste.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--corpus", default="spoken_digits", help="spoken_digits (the default), sc09, folder, ...")
    add("--format", default="npz", help="tfrecord, npz (the default), webdataset or wav")
    add("--shard-mb", type=float, default=100.0, metavar="MB", help="megabytes of audio in a shard (100)")
    given, rest = parser.parse_known_args(words)
    # No model is involved: of the least demanding one, nothing is asked.
    return given, options.parse(given.corpus, ["--models", "noise", *rest])


def main(words: list[str] | None = None) -> NoReturn:
    """Prepare and export the clips, and print what reads them."""
    given, asked = parse(words)

    def make(asked: options.Options) -> ExportClips:
        whole = command.benchmark(asked)
        task = ExportClips(corpus=whole.corpus, settings=whole.settings, format=given.format, shard_mb=given.shard_mb)
        return task.with_own_settings()

    streams.leave(lambda: command.attend(asked, make, ExportClips.told))


if __name__ == "__main__":
    main()
