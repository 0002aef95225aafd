"""What plug-ins say of themselves, without importing them here.

A generator's file imports torch and a metric's scipy; the process that plans and schedules must not. So each is asked
once, in a process of its own (`python -m models.describe`, `python -m evaluation.describe`), and the answer is kept in
`_workdir/.cache/` under the sha256 of the files that decide it.
"""

import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from models import plugins
from tasks import folders, machine
from tasks.errors import EarshotError

MODELS, METRICS = machine.REPOSITORY / "models", machine.REPOSITORY / "evaluation" / "metrics"
FID, RUNAWAY = "v1/fid", "v1/runaway"
SECONDS = "seconds"  # the sampling setting of models that draw samples of any length
NO_CLASSES = "the corpus has no classes"


@functools.cache
def of_model(kind: str, spec: str) -> dict[str, Any]:
    """What a generator (kind `generators`) or classifier (`classifiers`) says of itself.

    Its version, presets (name -> settings), sampling settings, whether it has a likelihood and can continue real clips, the
    first line of its docs.
    Raises EarshotError with the last line of the complaint when its file cannot be imported.
    """
    name = f"{kind}/{spec}"
    return _ask("models.describe", (name,), _sources(kind, spec), f"cannot read what {name} says of itself")[name]


def check(kind: str, spec: str, settings: Mapping[str, Any]) -> None:
    """Raise EarshotError, in the model's own words, where its `Config` refuses these settings."""
    _check(kind, spec, folders.canonical(settings))


def check_sampling(spec: str, sampling: Mapping[str, Any]) -> None:
    """Raise EarshotError, in the generator's own words, where its `Sampling` refuses these settings."""
    _check_sampling(spec, folders.canonical(sampling))


@functools.cache
def generators_that(word: str) -> list[str]:
    """The names of all generators that can do what the word of their description says: `continues`, `any_length`."""
    names = [f"generators/{name}" for name in plugins.names("generators")]
    sources = tuple(dict.fromkeys(path for name in names for path in _sources("generators", name.partition("/")[2])))
    told = _ask("models.describe", tuple(names), sources, "cannot read what the generators say of themselves")
    return [name.partition("/")[2] for name in names if told[name][word]]


def generators_that_continue() -> list[str]:
    """The names of all generators that can continue the beginning of a real clip."""
    return generators_that("continues")


def check_any_length(models: Iterable[str], settings: Iterable[tuple[str, str]]) -> None:
    """Raise EarshotError where samples longer than clips are asked for, and none of the models draws any."""
    lengths = [f"{name}={value}" for name, value in settings if name == f"sampling.{SECONDS}"]
    if not lengths or any(of_model("generators", model)["any_length"] for model in models):
        return
    known = generators_that("any_length")
    raise EarshotError(
        f"{lengths[0]}: {', '.join(models)} makes all timesteps of a clip at once, and no samples of another length: set "
        f"corpus.clip_seconds and train anew, or take one that draws timestep by timestep: {', '.join(known)}"
    )


@functools.cache
def of_metrics(ears: tuple[str, ...] = (), judge: str = "") -> list[dict[str, Any]]:
    """Every metric in the order of the tables: key, name, version, unit, better, digits, doc, headline.

    judge: the ears that judge a corpus without classes; what needs classes is `not_applicable` then, and says so.
    ears: names of ears besides the classifier; what can be computed from their features follows as `v1/fid@melproj`, FID,
    which alone stands in the main table, right after the classifier's
    """
    sources = (*sorted(METRICS.glob("*.py")), METRICS.parent / "describe.py")
    found = _ask("evaluation.describe", ("metrics",), sources, "cannot read what metrics says of itself")
    heard = {
        m["key"]: [_heard(m, name) for name in ears] for m in found if hears(m) and not (judge and m["needs_classes"])
    }
    found = [_judged(m, judge) for m in found] if judge else found
    beside = [shown for m in found for shown in (m, *(heard.get(m["key"], ()) if m["key"] == FID else ()))]
    return beside + [column for key, columns in heard.items() if key != FID for column in columns]


def hears(metric: Mapping[str, Any]) -> bool:
    """Whether a metric can be computed from the features of any ears: it needs no class probabilities, nor waveforms."""
    needs = {need.rpartition(".")[2] for need in (*metric["needs"], *metric["needs_reference"])}
    return "features" in needs and needs <= {"features", "labels", "held_out"}


def _heard(metric: Mapping[str, Any], ears: str) -> dict[str, Any]:
    """The description of a metric over the features of other ears."""
    return _over(metric, ears) | {"key": f"{metric['key']}@{ears}", "headline": metric["key"] == FID}


def _over(metric: Mapping[str, Any], ears: str) -> dict[str, Any]:
    """A metric that says whose features it compares."""
    doc = metric["doc"].replace("the classifier's features", f"the features of {ears}")
    doc = doc if doc != metric["doc"] else f"{doc} Here in the features of {ears}."
    return {**metric, "name": f"{metric['name']} ({ears})", "doc": doc}


def _judged(metric: Mapping[str, Any], judge: str) -> dict[str, Any]:
    """A metric on the leaderboard of a corpus without classes, whose judge these ears are."""
    if metric["needs_classes"]:
        return {**metric, "headline": False, "not_applicable": NO_CLASSES}
    if not hears(metric):  # long clips are where models lose their way
        return {**metric, "headline": metric["headline"] or metric["key"] == RUNAWAY}
    return _over(metric, judge) | ({} if metric["key"] == FID else {"name": metric["name"]})


@functools.cache
def _check(kind: str, spec: str, settings: str) -> None:
    words = ("--check", f"{kind}/{spec}", settings)
    _ask("models.describe", words, _sources(kind, spec), f"these settings of {spec} make no sense")


@functools.cache
def _check_sampling(spec: str, sampling: str) -> None:
    words = ("--check-sampling", f"generators/{spec}", sampling)
    _ask("models.describe", words, _sources("generators", spec), f"these sampling settings of {spec} make no sense")


def _sources(kind: str, spec: str) -> tuple[Path, ...]:
    """The files that decide what a model says of itself."""
    name, colon, _ = spec.rpartition(":")
    own = Path(name) if colon else MODELS / kind / f"{spec}.py"
    return (own, *sorted([MODELS / kind / "base.py", *MODELS.glob("*.py")]))


@functools.cache
def _ask(module: str, words: tuple[str, ...], sources: tuple[Path, ...], failure: str) -> Any:
    """The JSON that `python -m module words` prints, asked for again only when a source file has changed.

    Raises EarshotError where it fails: `failure`, and the last line of its complaint.
    """
    key = hashlib.sha256("\n".join([*words, *map(folders.sha256, sources)]).encode()).hexdigest()
    readable = quote("-".join(words[:2]), safe="").replace("%2F", "-")[-60:]
    path = machine.workdir() / ".cache" / "descriptions" / f"{readable}-{key[:16]}.json"
    if not path.exists():
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        answer = subprocess.run(
            [sys.executable, "-m", module, *words],
            capture_output=True,
            text=True,
            cwd=machine.REPOSITORY,
            env=environment,
            check=False,
        )
        if answer.returncode != 0:
            reason = answer.stderr.strip().splitlines() or ["no reason given"]
            raise EarshotError(f"{failure}: {reason[-1]}")
        told = json.loads(answer.stdout)
        with contextlib.suppress(OSError):  # a workdir that cannot be written to can still be planned for
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.write_json(path, told)
        return told
    return folders.read_json(path)
