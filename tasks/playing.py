"""Which clips the report plays: some of every row, and those that a measure points at: full bins, nearest pairs, extremes."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import drawing, folders, listening, machine
from tasks.measuring import INFLUENCES, NOISE, REFERENCE
from tasks.rows import CONTROLS
from tasks.training import clip_format

if TYPE_CHECKING:
    import numpy as np

    from models.clips import ClipArray

CLIPS_PER_ROW, CLIPS_OF_NOISE = 10, 3  # of silence and white noise three tell all
HELD_OUT = "held-out"
PAIRS, EXTREMES = 4, 4
HELD_OUT_PAIRS = 200  # of held-out clips, from which it is learned how alike waveforms are that are no copies
BINS, NEAREST, FID = "v1/ndb", "v1/nearest", "v1/fid"
Clip = dict[str, Any]


class Real:
    """The corpus's clips, as the page plays them. clips: a folder of PrepareClips"""

    def __init__(self, clips: Path) -> None:
        self.clips, self.rate = clips, clip_format(clips)[0]
        self.labels: list[str] = json.loads((clips / "labels.json").read_text(encoding="utf-8"))

    @cached_property
    def train(self) -> "ClipArray":
        """The clips that models were trained on."""
        from models.clips import load_split

        return load_split(self.clips, "train")

    @cached_property
    def test(self) -> "ClipArray":
        """The held-out clips."""
        from models.clips import load_split

        return load_split(self.clips, "test")

    def clip(self, split: "ClipArray", row: int) -> Clip:
        """One clip, called by what is said in it."""
        caption = f"clip {row}" if split.labels is None else self.labels[split.labels[row]]
        return {"caption": caption, "codes": split.codes[row], "sample_rate": self.rate, "details": {}}

    def examples(self) -> list[Clip]:
        """One test clip of each class, or the first ones where there are no classes."""
        if self.test.labels is None:
            return [self.clip(self.test, row) for row in range(min(CLIPS_PER_ROW, len(self.test)))]
        labels = self.test.labels.tolist()
        rows = [labels.index(i) for i in range(len(self.labels)) if i in labels][: 2 * CLIPS_PER_ROW]
        return [self.clip(self.test, row) for row in rows]


class Samples:
    """The samples of one row; `codes` is None where they are not kept, as of splits and traps, which are real clips."""

    def __init__(self, name: str, evaluation: Path, real: Real) -> None:
        import numpy as np

        self.evaluation, self.real = evaluation, real
        self.whole: np.ndarray | None = None  # of samples that are longer than what is compared of them
        self.control, self.lines = control(name) if is_control(evaluation) else "", []
        if self.control:
            samples = features = evaluation / self.control
        else:
            samples, features = made_from(evaluation, "samples"), made_from(evaluation, "features")
            with open(samples / drawing.TABLE, newline="", encoding="utf-8") as file:
                self.lines = list(csv.DictReader(file))
        self.noise = _onsets(evaluation / NOISE)
        kept = samples / drawing.SAMPLES
        self.codes = np.load(kept, mmap_mode="r") if kept.exists() else None
        if self.lines and self.codes is not None:
            self.codes, self.whole = drawing.measured(samples)
        heard = listening.read(features, "samples") if self.codes is not None else {}
        self.heard = heard.get("log_probabilities")  # None also of ears that know no classes

    def clip(self, row: int, brief: bool = False) -> Clip:
        """One sample, with what the classifier took it for and, unless in brief, what else is known of it."""
        import numpy as np

        from evaluation.wording import number

        assert self.codes is not None
        labels, details = self.real.labels, {}
        if self.heard is not None:
            heard = self.heard[row]
            details["heard as"] = f"{labels[heard.argmax()]} ({100 * np.exp(heard.max()):.0f} %)"
        if onset := self.noise.get(row):
            details["⚠ noise"] = f"from {float(onset):.1f} s on" if float(onset) else "throughout"
        line = self.lines[row] if self.lines and not brief else {}
        if drawing.LABEL in line:
            details["asked for"] = labels[int(line[drawing.LABEL])]
        if line.get("log_likelihood_nats"):
            details["log-likelihood"] = f"{number(float(line['log_likelihood_nats']), 0)} nats"
        return {
            "caption": self._caption(row),
            "codes": self.codes[row] if brief or self.whole is None else self.whole[row],
            "sample_rate": self.real.rate,
            "details": details,
        }

    def _caption(self, row: int) -> str:
        """A sample by its draw index, or by the clip that it continues; a held-out clip by what is said in it."""
        if self.lines:
            line = self.lines[row]
            return f"clip {line['clip']}, repeat {line['repeat']}" if "clip" in line else f"draw {line['draw_index']}"
        if self.control != HELD_OUT or self.codes is None:
            return f"clip {row + 1}"
        from evaluation.controls import choose

        test = self.real.test
        chosen = choose(len(test), len(self.codes), 0)[row]
        return f"test clip {chosen}" if test.labels is None else self.real.labels[test.labels[chosen]]

    def spread(self) -> list[Clip]:
        """Some, spread evenly over the row's order (for a model with a likelihood, from unlikely to likely)."""
        import numpy as np

        if self.codes is None:
            return []
        most = CLIPS_OF_NOISE if self.control not in ("", HELD_OUT) else CLIPS_PER_ROW
        return [self.clip(int(row)) for row in np.unique(np.linspace(0, len(self.codes) - 1, most).round().astype(int))]

    def bins(self, details: Mapping[str, Any]) -> dict[int, dict[str, list[Clip]]]:
        """The most typical clips of the bins that are the fullest and the emptiest beside the corpus's."""
        from evaluation.report.bins import PLAYED, extremes

        found = {}
        for i in extremes(details):
            told = details["bins"][i]
            real = [self.real.clip(self.real.train, int(told["typical"]))]
            found[i] = {"generated": [self.clip(int(row), brief=True) for row in told["clips"][:PLAYED]], "real": real}
        return found

    def pairs(self, details: Mapping[str, Any], limit: float | None) -> dict[str, Any]:
        """The clips nearest to a training clip, beside it; limit: what the correlation of held-out clips stays below."""
        from evaluation.audit import cross_correlation

        assert self.codes is not None
        shown = []
        for pair in details.get("pairs", ())[:PAIRS]:
            ours, theirs = self.codes[pair["generated"]], self.real.train.codes[pair["real"]]
            correlation, _ = cross_correlation(ours, theirs)
            about = {
                "distance": pair["distance"],
                "correlation": correlation,
                "identical": bool((ours == theirs).all()),
            }
            generated, real = self.clip(pair["generated"], brief=True), self.real.clip(self.real.train, pair["real"])
            sides = {"generated": generated, "real": real}
            shown.append(about | sides)
        return {"limit": limit, "pairs": shown}

    def extremes(self) -> dict[str, list[Clip]]:
        """The clips without which FID would fall most, and rise most; nothing where that is not known."""
        import numpy as np

        with np.load(self.evaluation / INFLUENCES) as kept:
            name = FID.replace("/", ".")
            influence: np.ndarray | None = kept[name] if name in kept.files else None
        if influence is None:
            return {}
        order = np.argsort(influence, kind="stable")
        return {
            side: [self._extreme(int(row), influence) for row in rows[:EXTREMES]]
            for side, rows in (("worst", order[::-1]), ("best", order))
        }

    def _extreme(self, row: int, influence: "np.ndarray") -> Clip:
        clip = self.clip(row, brief=True)
        without = f"FID {-float(influence[row]) / len(influence):+.3f}".replace("-", "−")
        return {**clip, "details": {"without it": without, **clip["details"]}}


def _onsets(file: Path) -> dict[int, str]:
    """Row -> second, as text, of the samples that become noise; nothing where that was not measured."""
    if not file.exists():
        return {}
    with open(file, newline="", encoding="utf-8") as table:
        return {int(line["row"]): line["onset_seconds"] for line in csv.DictReader(table) if line["noisy"] == "1"}


def is_control(evaluation: Path) -> bool:
    return folders.read_json(evaluation / folders.CONFIG)["task"] in CONTROLS


def control(name: str) -> str:
    """The control that a row is of, whatever the size of its draw."""
    return name.partition("/")[0]


def made_from(evaluation: Path, name: str) -> Path:
    """An artifact that the evaluation read."""
    return machine.workdir() / folders.read_json(evaluation / folders.CONFIG)["inputs"][name]["artifact"]


def about(name: str, evaluation: Path) -> str:
    """Which clips of a row the page plays, and in what order."""
    if is_control(evaluation):
        return "Clips of the test split, on which nothing was trained." if control(name) == HELD_OUT else ""
    metrics = folders.read_json(made_from(evaluation, "samples") / folders.METRICS)
    return _what_was_given(metrics) + _order(metrics)


def _what_was_given(metrics: Mapping[str, Any]) -> str:
    if metrics.get("conditional") == "prefix":
        seconds, clips = metrics["prefix_seconds"], f"{metrics['clips']:,} clips of the {metrics['split']} split"
        return f"The first {seconds:g} s of each are real: samples continue {clips}, {metrics['repeats']} of each. "
    return "The model was told which class to make. " if metrics.get("class_conditional") else ""


def _order(metrics: Mapping[str, Any]) -> str:
    if "likelihood" in metrics["order"]:
        return f"From unlikely to likely by the model's own log-likelihood, evenly spread over {metrics['samples']:,} samples."
    return f"Evenly spread over {metrics['samples']:,} samples, {metrics['order']}."


def correlation_limit(real: Real, reference: Path) -> float | None:
    """What the waveforms' correlation of a held-out clip and its nearest training clip stays below; None if it is not known."""
    import numpy as np

    from evaluation import audit

    with np.load(reference / REFERENCE) as kept:
        names = [f"comparison.held_out_{name}" for name in ("nearest", "distance")]
        if not set(names) <= set(kept.files):
            return None
        index, distance = (kept[name][:, 0] for name in names)
    pairs = audit.nearest_pairs(real.test.codes, real.train.codes, index, distance, HELD_OUT_PAIRS)
    try:
        return audit.correlation_limit(pair["correlation"] for pair in pairs)
    except ValueError:  # too few of them sound
        return None


def collect(
    table: Sequence[Mapping[str, Any]], sources: Mapping[str, Path], clips: Path, reference: Path
) -> dict[str, dict[str, Any]]:
    """The fields of ReportData that hold clips. sources: row name -> its evaluation"""
    real = Real(clips)
    rows = {row["name"]: (row, Samples(row["name"], sources[row["name"]], real)) for row in table}
    models = {name: (row, samples) for name, (row, samples) in rows.items() if row["kind"] != "control"}
    limit = correlation_limit(real, reference) if models else None

    def told(key: str) -> Iterator[tuple[str, Samples, Mapping[str, Any]]]:
        for name, (row, samples) in models.items():
            if details := row["runs"][0]["scores"].get(key, {}).get("details"):
                yield name, samples, details

    return {
        "audio": {"real": real.examples()} | {name: samples.spread() for name, (_, samples) in rows.items()},
        "about_audio": {name: text for name, source in sources.items() if (text := about(name, source))},
        "bins": {name: samples.bins(details) for name, samples, details in told(BINS)},
        "pairs": {name: samples.pairs(details, limit) for name, samples, details in told(NEAREST)},
        "influential": {name: samples.extremes() for name, (_, samples) in models.items()},
    }
