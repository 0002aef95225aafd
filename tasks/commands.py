"""The command that makes a row of the leaderboard again, from what was asked for when it was made."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks import corpora, folders, machine
from tasks.continuing import PREFIX_DEFAULTS
from tasks.ears import FeaturesParameter, listening
from tasks.parameters import SettingsParameter
from tasks.rows import ears_of
from tasks.settings import CLASSIFIER_FEATURES, FEATURES, INDEPENDENT, Settings


def command(row: Mapping[str, Any], place: Path) -> str:
    """The command that makes a measured or imported row again, on a machine that has nothing yet; "" for others.

    place: the corpus's folder
    """
    if row["kind"] not in ("measured", "imported"):
        return ""
    requests = [folders.read_json(place / run["source"] / folders.PROVENANCE)["request"] for run in row["runs"]]
    asked = requests[0]["parameters"]
    judge = ears_of(place / row["runs"][0]["source"])
    words = _words(requests[0], row["count"], [request["parameters"]["seed"] for request in requests], not judge)
    words += _features(row, place, judge)
    source = ["--source", "PATH"] if corpora.find(asked["corpus"]).cls.needs_source else []
    if source and words[0] == "luigi":
        source = ["--machine-source", "PATH"]
    return shlex.join([*words, *source])


def _features(row: Mapping[str, Any], place: Path, judge: str = "") -> list[str]:
    """Which ears it was heard by besides the classifier, or besides the judge that stands for it, first, where these are not
    the usual ones."""
    sources = {name: other["source"] for run in row["runs"] for name, other in run.get("others", {}).items()}
    if not {judge, *sources} - {"", *FEATURES} or (judge == INDEPENDENT and not sources):
        return []
    named = [*([row["runs"][0]["source"]] if judge else []), *(sources[name] for name in sorted(sources))]
    asked = [folders.read_json(place / source / folders.PROVENANCE)["request"] for source in named]
    specs = [listening(FeaturesParameter().parse(r["parameters"]["features"]), not judge)[0].split(":") for r in asked]
    spelled = [":".join(f"PATH/{Path(path).name}" if "/" in path else path for path in spec) for spec in specs]
    return ["--features", ",".join((*([] if judge else [CLASSIFIER_FEATURES]), *spelled))]


def _words(request: Mapping[str, Any], count: int, seeds: Sequence[str], classifier: bool = True) -> list[str]:
    asked: dict[str, str] = request["parameters"]
    settings: Settings = SettingsParameter().parse(asked["settings"])
    single = ["luigi", "--module", "pipeline.evaluate"]
    about = ["--corpus", asked["corpus"]] + (["--settings", asked["settings"]] if settings else [])
    judge = ["--classifier", asked["classifier"], "--classifier-seed", asked["classifier_seed"]] if classifier else []
    if asked["name"]:
        rate = ["--samples-rate", asked["samples_rate"]] if asked["samples_rate"] != "0" else []
        return [*single, "EvaluateSamples", *about, *judge, "--samples", "PATH", "--name", asked["name"], *rate]
    if asked["classifier_seed"] != "0":  # the front doors have no flag for it
        trained = ["--models", json.dumps([_file(asked["model"])]), "--preset", asked["preset"]]
        drawn = ["--seeds", json.dumps([int(seed) for seed in seeds]), "--count", str(count)]
        return [*single, "RunBenchmark", *about, *judge, *trained, *drawn, *_checkpoint(asked), *_prefix(asked)]
    words = ["python", "-m", f"pipeline.{asked['corpus']}", "--models", _file(asked["model"])]
    words += ["--preset", asked["preset"], *(["--classifier", asked["classifier"]] if classifier else [])]
    words += [word for seed in seeds for word in ("--seed", seed)]
    words += ["--count", str(count), *_checkpoint(asked), *_prefix(asked)]
    return words + [word for name, value in settings for word in ("--set", f"{name}={value}")]


def _checkpoint(asked: Mapping[str, str]) -> list[str]:
    """Where the weights come from, if not from a training; of a file only its name means something elsewhere."""
    given = asked.get("checkpoint", "")
    return ["--checkpoint", f"PATH/{Path(given).name}" if Path(given).is_absolute() else given] if given else []


def _prefix(asked: Mapping[str, str]) -> list[str]:
    """What asked for samples that continue clips; requests from before that was possible do not tell."""
    given = {name: asked.get(name, str(default)) for name, default in PREFIX_DEFAULTS.items()}
    changed = [(name, text) for name, text in given.items() if text != str(PREFIX_DEFAULTS[name])]
    return [word for name, text in changed for word in (f"--{name.replace('_', '-')}", text)]


def _file(model: str) -> str:
    """A model from a file below the repository by its path from there."""
    file, colon, cls = model.rpartition(":")
    below = colon and Path(file).is_relative_to(machine.REPOSITORY)
    return f"{os.path.relpath(file, machine.REPOSITORY)}:{cls}" if below else model
