"""The flags of the `python -m pipeline.<corpus>` doors. Nothing is imported here that would make `--help` slow."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks.settings import FEATURES, MODELS, every_model

EPILOG = """\
Luigi's own flags work as well, --scheduler-host above all.
Exit status: 0 done; 2 wrong usage; 3 a finished folder is stale; 10 another run is building the same folder;
30 a stage failed; 20, 25, 35 and 40 Luigi could not run a stage; 130 and 143 interrupted; 141 the reader of
the output is gone. After all but 2 and 3 the same command goes on where the run stopped.
"""


@dataclass(frozen=True)
class Options:
    """What was asked for. luigi: the flags that are Luigi's, as they were typed; prefix: how samples continue real clips."""

    corpus: str
    models: list[str]
    preset: str
    classifier: str
    seeds: list[int]
    count: int | None
    assignments: list[str]
    machine: dict[str, str]
    plan: bool
    luigi: list[str]
    prefix: dict[str, Any]
    checkpoint: str
    features: list[str]
    samples: list[str]
    samples_rate: int
    save_probabilities: bool


def parse(corpus: str, words: list[str] | None = None) -> Options:
    """Read the command line of the door to `corpus`. Exits with status 2 on a flag that makes no sense."""
    parser = argparse.ArgumentParser(
        prog=f"python -m pipeline.{corpus}",
        description=f"Run the whole benchmark on {corpus}: from the corpus to the leaderboard and the report.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    usual = ",".join(MODELS)
    add("--models", metavar="A,B", help=f"generators, path/to/mine.py:Mine, or all ({usual}; with --samples none)")
    add("--samples", nargs="+", action="extend", default=[], metavar="[NAME=]PATH", help="samples of any models: folders of "
        "wavs, .npy, .zip, or a pattern in quotes, 'runs/*/wavs'; a row for each. Only the classifier is trained")  # fmt: skip
    add("--samples-rate", type=_positive(int), default=0, metavar="HZ", help="the sample rate of .npy files")
    add("--preset", default="small", help="smoke (seconds), small (minutes; the default), paper (as published)")
    add(
        "--classifier",
        metavar="PRESET",
        help="the classifier's preset (the same as --preset), release:resnext, or a file",
    )
    add("--checkpoint", default="", metavar="FILE", help="the one model's weights in place of a training: path/to/file.pt, "
        "or release:sashimi_sc09 and the like")  # fmt: skip
    add("--features", default=",".join(FEATURES), metavar="A,B", help="whose features are compared: the classifier's and, of "
        f"other ears, melproj, wavlm-base and the like, path/to/module.py[:weights] ({','.join(FEATURES)})")  # fmt: skip
    add("--save-probabilities", action="store_true", help="save the class probabilities of all samples, in the layout of the "
        "SaShiMi release")  # fmt: skip
    add("--seed", action="append", metavar="N", help="training seed; several, 0,1,2, make one row with its spread (0)")
    add("--count", type=int, metavar="N", help="samples in a row (32 at smoke, 512 at small)")
    add("--sample-rate", type=_positive(int), metavar="HZ", help="of clips and samples, short for "
        "--set corpus.sample_rate=HZ")  # fmt: skip
    add("--clip-seconds", type=_positive(float), metavar="S", help="their length, short for "
        "--set corpus.clip_seconds=S")  # fmt: skip
    add("--set", action="append", default=[], metavar="SPACE.FIELD=VALUE", dest="assignments", help="wavenet.layers=20, "
        "classifier.steps=500, sampling.temperature=0.9, corpus.skip_silence=true; may be repeated")  # fmt: skip
    add("--prefix-seconds", type=_positive(float), metavar="S", help="draw samples that continue the first S seconds of "
        "real clips, which are kept exactly; such rows are marked and ranked apart")  # fmt: skip
    add("--repeats", type=_positive(int), metavar="R", help="continue each of these clips R times (1)")
    add("--split", choices=["train", "validation", "test"], help="whose clips are continued (test)")
    add("--source", type=_path, metavar="PATH", help="a local archive or folder in place of the download")
    add("--stale", metavar="HOW", help="refuse (the default) or rebuild=STAGE,... for folders made from something else")
    add("--workdir", type=_path, metavar="DIR", help="where everything goes (_workdir in the repository)")
    add("--device", choices=["auto", "cpu", "cuda"], help="auto uses a GPU where there is one")
    add("--max-steps", type=_positive(int), metavar="N", help="train the generators for at most N steps")
    add("--max-hours", type=_positive(float), metavar="H", help="train each generator for at most H hours")
    add("--keep-every", type=_positive(int), metavar="N", help="keep the generators' weights of every N steps, for "
        "EvaluateCheckpoints; it changes nothing else")  # fmt: skip
    add("--workers", type=_positive(int), metavar="N", help="how many stages run at the same time (1)")
    add("--plan", action="store_true", help="show what is done and what would run; run nothing")
    given, luigi = parser.parse_known_args(words)
    asked = given.models if given.models is not None else "" if given.samples else usual
    models = every_model() if asked == "all" else [name for name in asked.split(",") if name]
    if not models and (given.models is not None or not given.samples):
        parser.error("--models names no model")
    try:
        seeds = [int(seed) for text in given.seed or ["0"] for seed in text.split(",") if seed]
    except ValueError:
        parser.error(f"--seed takes whole numbers, not {','.join(given.seed)}")
    if not seeds or min(seeds) < 0:
        parser.error("--seed takes one or more numbers from 0 on")
    prefix = {name: getattr(given, name) for name in ("prefix_seconds", "repeats", "split")}
    prefix = {name: value for name, value in prefix.items() if value is not None}
    if prefix and "prefix_seconds" not in prefix:
        parser.error("--repeats and --split are for samples that continue real clips: give --prefix-seconds")
    limits = {"max_steps": given.max_steps, "max_hours": given.max_hours}
    names = [model.rpartition(":")[2] for model in models]
    limited = [f"{name}.{field}={value}" for field, value in limits.items() if value is not None for name in names]
    of_corpus = {"sample_rate": given.sample_rate, "clip_seconds": given.clip_seconds}
    limited += [f"corpus.{name}={value!r}" for name, value in of_corpus.items() if value is not None]
    flags = ("source", "stale", "workdir", "device", "keep_every")
    machine = {name: getattr(given, name) for name in flags if getattr(given, name) is not None}
    if given.workers is not None:
        luigi += ["--workers", str(given.workers)]
    size = given.preset.partition("-")[0]  # of `paper-unet`, the classifier's `paper`
    classifier = given.classifier or (size if size in ("smoke", "small", "paper") else "small")
    return Options(
        corpus, models, given.preset, classifier, sorted(set(seeds)), given.count, given.assignments + limited, machine,
        given.plan, luigi, prefix, given.checkpoint, [name for name in given.features.split(",") if name],
        given.samples, given.samples_rate, given.save_probabilities,
    )  # fmt: skip


def _path(text: str) -> str:
    if not text:  # a script's variable that was never set: it does not mean the current folder
        raise argparse.ArgumentTypeError("it is empty")
    return os.path.abspath(os.path.expanduser(text))


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not more than 0")
        return value

    read.__name__ = getattr(kind, "__name__", "number")
    return read
