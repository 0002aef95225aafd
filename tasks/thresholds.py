"""TuneThresholds: which samples to keep by their likelihood, found on one half of a draw and measured on the other."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import luigi

from tasks import descriptions, folders, likelihoods
from tasks.artifact import ArtifactTask, Progress
from tasks.classifier import PrepareReference
from tasks.errors import EarshotError, unknown
from tasks.evaluation import CacheSampleFeatures
from tasks.generator import DrawSamples, ImportSamples
from tasks.judged import JudgedTask

# As in evaluation/rejection.py, which is too heavy to be imported where tasks are planned; a test compares them.
CRITERIA = ("fid", "is")
LOWER = (0.0, 0.1, 0.2, 0.3, 0.4)
UPPER = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
PAPER_COUNT, MINIMUM = 10_240, 20


class QuantilesParameter(luigi.Parameter[tuple[float, ...]]):
    """`0,0.1,0.2` <-> (0.0, 0.1, 0.2), ascending."""

    def parse(self, text: str) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in text.split(",") if part)
        except ValueError:
            raise EarshotError(f"quantiles are numbers between 0 and 1, as 0,0.1,0.2; {text!r} are not") from None

    def serialize(self, value: Iterable[float]) -> str:
        return ",".join(f"{quantile:g}" for quantile in value)

    def normalize(self, value: str | Iterable[float]) -> tuple[float, ...]:
        found = self.parse(value) if isinstance(value, str) else tuple(value)
        if not found or not all(0 <= quantile <= 1 for quantile in found):
            raise EarshotError(
                f"quantiles are numbers between 0 and 1, as 0,0.1,0.2; {self.serialize(found)!r} are not"
            )
        return tuple(sorted(set(found)))


class CriterionParameter(luigi.Parameter[str]):
    """fid or is."""

    def normalize(self, value: str) -> str:
        if value.lower() not in CRITERIA:
            raise EarshotError(unknown("criterion", value, CRITERIA))
        return value.lower()


class TuneThresholds(JudgedTask):
    """The likelihoods between which samples are best, by half of a draw, and the scores of the other half between them.

    The whole surface that was searched is kept, and what the published script reports of the same samples. Imported samples
    (`--samples DIR --name NAME`) need `--likelihoods FILE`, a `likelihood.csv` in DIR, or `--likelihood-from-order`.
    """

    VERSION = 1
    stage = "evaluation"
    criterion = CriterionParameter(default="fid", description="what is best: fid (lowest) or is (highest)")
    lower = QuantilesParameter(default=LOWER, description="quantiles of likelihood below which samples are dropped")
    upper = QuantilesParameter(default=UPPER, description="quantiles from which on samples are dropped")
    paper = luigi.BoolParameter(
        default=False, description="as published: 10,240 samples, half and half, and quantiles of the reporting half"
    )
    likelihoods = luigi.Parameter(
        default="", significant=False, description="imported samples: a CSV of file name and log-likelihood in nats"
    )
    likelihood_from_order = luigi.BoolParameter(
        default=False,
        description="imported samples: the order of their names is that of their likelihood, lowest first",
    )

    def place(self) -> Path:
        """`5-thresholds-small-seed0`, `5-thresholds+criterion=is+paper-small-seed0`."""
        self.check()
        changed = [f"+criterion={self.criterion}"] if self.criterion != CRITERIA[0] else []
        for name, usual in (("lower", LOWER), ("upper", UPPER)):
            if (quantiles := getattr(self, name)) != usual:
                changed.append(f"+{name}={QuantilesParameter().serialize(quantiles)}")
        changed += ["+order"] * self.likelihood_from_order + ["+paper"] * self.paper
        return self.draw_place() / f"5-thresholds{''.join(changed)}-{self.ears_name()}"

    def check(self) -> None:
        """Raises EarshotError for what can be known to fail before anything runs."""
        if max(self.lower) >= min(self.upper):
            raise EarshotError(
                f"every quantile of --lower must be below every one of --upper: {max(self.lower):g} is not below "
                f"{min(self.upper):g}"
            )
        if self.criterion == "is" and self.ears is not None:
            raise EarshotError(
                f"--criterion is needs class probabilities, which {self.ears.name} does not give: take fid"
            )
        task = self.samples_task()
        if self.name:
            if self.likelihood_from_order and self.likelihoods:
                raise EarshotError("--likelihoods and --likelihood-from-order: give one of them")
            return
        if self.likelihoods or self.likelihood_from_order:
            raise EarshotError(
                "--likelihoods and --likelihood-from-order are for imported samples: a --model tells its own"
            )
        if not descriptions.of_model("generators", self.model)["likelihood"]:
            raise EarshotError(
                f"{self.model} gives no likelihood of its samples, so there is nothing to set a threshold on: take an "
                "autoregressive model, e.g. wavenet, samplernn or sashimi"
            )
        if isinstance(task, DrawSamples):
            self.check_count(task.count)

    def check_count(self, count: int) -> None:
        """Raises EarshotError for fewer samples than are needed."""
        if self.paper and count != PAPER_COUNT:
            raise EarshotError(
                f"the paper's protocol is over {PAPER_COUNT:,} samples, half to tune and half to report; there are "
                f"{count:,}: give --count {PAPER_COUNT}, or leave out --paper, for any count"
            )
        if count < MINIMUM:
            raise EarshotError(
                f"thresholds need at least {MINIMUM} samples, half to tune and half to report: not {count}"
            )

    def table(self) -> Path | None:
        """The file with the likelihoods of imported samples; None where they are in the order, or the table is gone.

        Raises EarshotError where there never was one.
        """
        if not self.name or self.likelihood_from_order:
            return None
        beside = Path(self.samples).expanduser() / likelihoods.SIDECAR
        if self.likelihoods or (self.samples and beside.is_file()):
            return Path(self.likelihoods).expanduser() if self.likelihoods else beside
        if (self.folder / folders.CONFIG).exists():
            return None
        raise EarshotError(
            f"the samples of {self.name!r} come without likelihoods: give --likelihoods FILE.csv (file name, log-likelihood "
            f"in nats), put it beside them as {likelihoods.SIDECAR}, or say --likelihood-from-order if they are in that order"
        )

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {
            "reference": self.upstream(PrepareReference),
            "samples": self.samples_task(),
            "features": self.upstream(CacheSampleFeatures),
        }

    def resolved(self) -> Mapping[str, Any]:
        grid = {"lower": list(self.lower), "upper": list(self.upper), "paper": self.paper}
        return {"metrics": self.metric_versions(), "criterion": self.criterion, "likelihood": self._source(), **grid}

    def _source(self) -> str:
        """Where the likelihoods are from: `model`, `order`, or the sha256 of the table that is, or was, there."""
        if not self.name or self.likelihood_from_order:
            return "order" if self.name else "model"
        if (table := self.table()) is None:
            return folders.read_json(self.folder / folders.CONFIG)["settings"]["likelihood"]
        if not table.is_file():
            raise EarshotError(f"there is no file {table}: --likelihoods is a CSV of file name and log-likelihood")
        return folders.known_sha256(table)

    def _complete(self) -> bool:
        """Raises EarshotError for likelihoods that do not fit the samples, before these are imported and heard."""
        self.place()
        if self.name and not (self.folder / folders.MANIFEST).exists():
            self._source()
            if (names := self._names()) is not None:
                self.check_count(len(names))
                if (table := self.table()) is not None:
                    try:
                        likelihoods.match(names, likelihoods.read(table), table)
                    except ValueError as error:
                        raise EarshotError(str(error)) from None
        return super()._complete()

    def _names(self) -> list[str] | None:
        """What imported samples are called; None where that cannot be seen yet."""
        from tasks import importing, tuning

        task = self.samples_task()
        if task.complete():
            return tuning.names(task.folder)
        source = task.source() if isinstance(task, ImportSamples) else None
        return importing.names(source) if source is not None and source.is_dir() else None

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks import tuning

        reference, samples, features = (task.folder for task in self.inputs().values())
        if self.name:
            self.check_count(len(tuning.names(samples)))
        nats = tuning.nats(samples, self.likelihood_from_order, self.table())
        grid = {"lower": self.lower, "upper": self.upper, "by": "ranks" if self.paper else "values"}
        about = (nats, self.criterion, grid)
        return tuning.tune(reference, samples, features, *about, out, progress, waveforms=self.judging)

    def headline(self, metrics: Mapping[str, Any]) -> str:
        chosen, count, key = metrics["chosen"], metrics["samples"], metrics["metric"]
        inside, whole = (metrics["scores"][part].get(key, {}).get("value") for part in ("inside", "whole"))
        if inside is None or whole is None:
            return f"quantiles {chosen['lower']:g} to {chosen['upper']:g}"
        name = next(metric["name"] for metric in descriptions.of_metrics() if metric["key"] == key)
        cell = f"quantiles {chosen['lower']:g} to {chosen['upper']:g}"
        return f"{name} {inside:.3f} of {count['kept']} samples in {cell}, {whole:.3f} of all {count['reporting']}"
