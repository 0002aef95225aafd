"""`python -m pipeline.recompute cache/`: the SaShiMi release's numbers again, from what its classifier left, without audio."""

import argparse
import sys
from pathlib import Path

from pipeline import streams

EPILOG = """\
CACHE is the release's folder cache/ (train_probs.npy, train_activations.npy, test_probs.npy, ..., NAME-resnext-probs.npy),
or release:cache, which is downloaded. Every set is measured by protocol v1 and as the release's script does.
Exit status: 0 done; 2 a file is missing or is no such array.
"""


def main(words: list[str] | None = None) -> int:
    """Print a table as its rows are ready; 2 for files that make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.recompute",
        description="Recompute FID, IS, mIS, AM and NDB from cached class probabilities and activations.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("cache", metavar="CACHE", help="a folder, or release:cache")
    add("--samples", action="append", default=[], type=_set, metavar="NAME=PROBS[,ACTIVATIONS]", help="a set of samples "
        "from elsewhere: .npy files; may be repeated")  # fmt: skip
    add("--threshold", action="append", default=[], metavar="NAME", help="a set in ascending order of likelihood: measure "
        "what the script's --threshold keeps of it as well; may be repeated")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write every number, with its interval, to FILE as well")
    add("--workdir", metavar="DIR", help="where downloads go (luigi.cfg's)")
    given = parser.parse_args(words)
    from tasks import inspection, recomputing
    from tasks.errors import EarshotError

    try:
        inspection.use_workdir(given.workdir)
        recomputing.recompute(given.cache, dict(given.samples), given.threshold, given.json)
    except (EarshotError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _set(text: str) -> tuple[str, tuple[Path, Path | None]]:
    name, _, files = text.partition("=")
    probabilities, _, activations = files.partition(",")
    if not name or not probabilities:
        raise argparse.ArgumentTypeError(f"{text}: write NAME=PROBS.npy or NAME=PROBS.npy,ACTIVATIONS.npy")
    return name, (Path(probabilities), Path(activations) if activations else None)


if __name__ == "__main__":
    streams.leave(main)
