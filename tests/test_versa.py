"""Another program's numbers in columns of their own: every line is about a sample, every sample has one, none is mixed in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.external import read_versa, scores
from evaluation.leaderboard import format_table, write_leaderboard
from evaluation.report import ReportData
from evaluation.report.page import render
from evaluation.standings import standings
from evaluation.wording import footnotes
from tasks import drawing, folders
from tasks.errors import EarshotError, StaleArtifact
from tasks.external import VALUES, ImportScores
from tasks.imported import ImportSamples
from tasks.rows import EXTERNAL, rows, scored_elsewhere
from tests import toy_runs
from tests.report_sample import metrics, row, run, sample
from tests.test_import_checkpoint import make

SAMPLES = ["wavs/sample_00000.wav", "wavs/sample_00001.wav", "wavs/sample_00002.wav"]


def lines(*records: dict[str, Any]) -> list[str]:
    return [json.dumps(record) for record in records]


def three(**values: list[Any]) -> list[str]:
    """A line for each sample, in another order than theirs, with these values by their order."""
    return lines(*({"key": f"sample_0000{i}"} | {name: given[i] for name, given in values.items()} for i in (2, 0, 1)))


def test_the_mean_has_its_interval_and_says_whose_it_is() -> None:
    imported = read_versa(three(utmos=[1.0, 2.0, 6.0], pesq=[1, 1, 1]), SAMPLES)
    assert imported.values == {"utmos": [1.0, 2.0, 6.0], "pesq": [1.0, 1.0, 1.0]}
    found = scores(imported, "ab")
    error = np.std([1, 2, 6], ddof=1) / 3**0.5
    utmos = found["versa/utmos"]
    assert utmos["value"] == pytest.approx(3.0)
    assert utmos["standard_error"] == pytest.approx(error)
    assert (utmos["low"], utmos["high"]) == pytest.approx((3 - 1.959964 * error, 3 + 1.959964 * error))
    assert (utmos["n_generated"], utmos["better"], utmos["details"]) == (3, "", {"external": "VERSA", "sha256": "ab"})
    assert found["versa/pesq"]["standard_error"] == 0


@pytest.mark.parametrize("spelling", ["{}", "{}.wav", "wavs/{}.wav", "there/{}.wav"])
def test_keys_are_names_with_or_without_folder_and_suffix(spelling: str) -> None:
    given = lines(*({"key": spelling.format(f"sample_0000{i}"), "x": float(i)} for i in (1, 2, 0)))
    assert read_versa([*given, "", "\n"], SAMPLES).values["x"] == [0.0, 1.0, 2.0]


def test_text_is_no_measure_and_is_told() -> None:
    imported = read_versa(three(hypothesis=["one", "two", ""], wer=[0, 1, 2]), SAMPLES)
    assert imported.text == ["hypothesis"]
    assert list(imported.values) == ["wer"]
    with pytest.raises(ValueError, match="it holds no number: hypothesis"):
        read_versa(three(hypothesis=["one", "two", ""]), SAMPLES)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "it is empty"),
        (["{"], "line 1 is no JSON"),
        (['{"key": "sample_00000", "x": 1}', "[1]"], "line 2 is no utterance"),
        (lines({"utt": "a", "x": 1}), "line 1 is no utterance"),
        (three(x=[1, 2, 3])[:2], r"1 of 3 samples have no line: 'wavs/sample_00001\.wav'\. A mean over the others"),
        ([*three(x=[1, 2, 3]), *lines({"key": "other", "x": 1})], r"1 of 4 keys are no samples of this row: 'other'"),
        ([*three(x=[1, 2, 3]), *three(x=[1, 2, 3])[:1]], "'sample_00002' is in it more than once"),
        ([*three(x=[1, 2, 3]), *lines({"key": "sample_00000.wav", "x": 1})], "are both the sample 'wavs/sample_00000.wav'"),
        (three(x=[1, None, 3]), r"'x' is no number for 1 of 3 utterances: sample_00001 \(null\)"),
        (three(x=[1, float("nan"), 3]), r"sample_00001 \(NaN\)"),
        (three(x=[1, "high", 3]), r"sample_00001 \(\"high\"\)"),
        (three(x=[1, True, 3]), r"sample_00001 \(true\)"),
        (three(x=[1, {"a": 2}, 3]), r"sample_00001 \({\"a\": 2}\)"),
        ([*three(x=[1, 2, 3])[:2], *lines({"key": "sample_00001"})], r"sample_00001 \(missing\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(given: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_versa(given, SAMPLES)


def test_a_key_that_could_be_two_samples_is_refused() -> None:
    names = ["a.wav", "a.flac"]
    with pytest.raises(ValueError, match="'a' could be any of several samples"):
        read_versa(lines({"key": "a", "x": 1}, {"key": "a.wav", "x": 1}), names)
    assert read_versa(lines({"key": "a.flac", "x": 1}, {"key": "a.wav", "x": 2}), names).values["x"] == [2.0, 1.0]


def test_metrics_get_names_that_keys_can_have() -> None:
    imported = read_versa(three(**{"a/b c": [1, 2, 3]}), SAMPLES)
    assert list(scores(imported, "")) == ["versa/a_b_c"]
    with pytest.raises(ValueError, match="would both be called versa/a_b"):
        scores(read_versa(three(**{"a/b": [1, 2, 3], "a b": [1, 2, 3]}), SAMPLES), "")
    with pytest.raises(ValueError, match="one clip has no interval"):
        read_versa(lines({"key": "sample_00000", "x": 1}), SAMPLES[:1])


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    """A workdir with the samples of my-model imported."""
    with toy_runs.settings(workdir=tmp_path / "workdir"):
        np.save(tmp_path / "samples.npy", np.zeros((2, 100), np.int16))
        table = "row,name\n0,one.wav\n1,two.wav\n"
        samples = ImportSamples(name="my-model", samples=str(tmp_path / "samples.npy"), samples_rate=16000)
        toy_runs.publish(samples, {drawing.TABLE: table}, {"samples": 2})
        yield tmp_path / "workdir"


def task(path: Path, **values: list[float]) -> ImportScores:
    """The import of a file with these values for both samples."""
    records = (
        {"key": key} | {name: given[i] for name, given in values.items()} for i, key in enumerate(("one", "two"))
    )
    path.write_text("\n".join(lines(*records)))
    return ImportScores(name="my-model", samples_rate=16000, versa=str(path))


def test_a_file_becomes_an_artifact_beside_the_evaluation(workdir: Path, tmp_path: Path) -> None:
    asked = task(tmp_path / "scores.jsonl", utmos=[1.0, 2.0], srmr=[3.0, 5.0])
    folder = make(asked)
    assert folder == workdir / "spoken-digits" / "imported" / "my-model" / EXTERNAL
    told = folders.read_json(folder / folders.METRICS)
    assert told["scores"]["versa/utmos"]["value"] == 1.5
    assert asked.headline(told) == "utmos 1.5, srmr 4"
    config = folders.read_json(folder / folders.CONFIG)
    assert config["settings"] == {"sha256": folders.sha256(tmp_path / "scores.jsonl")}
    assert config["inputs"]["samples"]["artifact"] == "spoken-digits/imported/my-model/2-samples"
    assert (folder / VALUES).read_text().splitlines() == ["name,utmos,srmr", "one.wav,1.0,3.0", "two.wav,2.0,5.0"]
    (tmp_path / "scores.jsonl").unlink()
    assert ImportScores(name="my-model", samples_rate=16000).complete()
    with pytest.raises(StaleArtifact, match=r"settings\.sha256"):
        task(tmp_path / "other.jsonl", utmos=[1.0, 3.0]).complete()


def test_a_file_that_is_missing_or_does_not_fit_is_told(workdir: Path, tmp_path: Path) -> None:
    with pytest.raises(EarshotError, match="nothing has been imported here yet: give --versa"):
        ImportScores(name="my-model", samples_rate=16000).identity()
    with pytest.raises(EarshotError, match="there is no such file"):
        ImportScores(name="my-model", samples_rate=16000, versa=str(tmp_path / "gone")).identity()
    (tmp_path / "wrong.jsonl").write_text('{"key": "three", "x": 1}')
    with pytest.raises(ValueError, match=r"wrong\.jsonl is refused: 1 of 1 keys are no samples of this row: 'three'"):
        make(ImportScores(name="my-model", samples_rate=16000, versa=str(tmp_path / "wrong.jsonl")))


def test_a_row_takes_them_up(workdir: Path, tmp_path: Path) -> None:
    corpus, place = workdir / "spoken-digits", workdir / "spoken-digits" / "imported" / "my-model"
    evaluation = place / "4-evaluation-small-seed0"
    evaluation.mkdir()
    samples = {"artifact": "spoken-digits/imported/my-model/2-samples", "digest": ""}
    folders.write_json(
        evaluation / folders.CONFIG, {"task": "EvaluateSamples", "parameters": {}, "inputs": {"samples": samples}}
    )
    folders.write_json(evaluation / folders.METRICS, {"scores": {}, "not_applicable": {}, "samples": 2})
    folders.write_json(evaluation / folders.MANIFEST, {"digest": "e"})
    assert scored_elsewhere(evaluation) == []
    folder = make(task(tmp_path / "scores.jsonl", utmos=[1.0, 2.0]))
    assert scored_elsewhere(evaluation) == [folder]
    (found,) = rows(corpus, [evaluation, folder])
    score = found["runs"][0]["scores"]["versa/utmos"]
    assert score["details"]["source"] == f"imported/my-model/{EXTERNAL}"
    assert score["details"]["digest"] == folders.digest_of(folder)


def board() -> list[dict[str, Any]]:
    """Two models that VERSA has scored, far apart, and one that it has not."""
    table = [row(name, [run([value, 4, 20, 1])]) for name, value in (("a", 10.0), ("b", 20.0), ("c", 30.0))]
    for entry, given in zip(table, ([1.0, 1.1], [5.0, 5.1]), strict=False):
        heard = read_versa(lines({"key": "x", "utmos": given[0]}, {"key": "y", "utmos": given[1]}), ["x", "y"])
        entry["runs"][0]["scores"] |= scores(heard, "ab")
    return table


def test_the_columns_stand_apart_and_are_not_ranked(tmp_path: Path) -> None:
    known = standings(board(), metrics())
    cells = {line.name: line.cells["versa/utmos"] for line in known}
    assert cells["a"].value == pytest.approx(1.05)
    assert all(cell.rank is None for cell in cells.values())
    assert footnotes(known, metrics()) is not None
    assert "versa" not in format_table(board(), metrics())
    write_leaderboard(board(), metrics(), tmp_path)
    text = (tmp_path / "leaderboard.md").read_text()
    _, _, after = text.partition("Given by VERSA, not measured here; not ranked:")
    assert "versa/utmos" in after.split("\n\n")[1]
    assert text.count("versa/utmos") == 1
    page = json.loads((tmp_path / "leaderboard.json").read_text())
    assert page["rows"][0]["scores"]["versa/utmos"]["runs"][0]["details"]["external"] == "VERSA"


def test_the_report_says_whose_they_are() -> None:
    page = render(ReportData(corpus=sample().corpus, rows=board(), metrics=metrics()))
    assert "versa/utmos" in page
    assert "Given by VERSA, not measured here; not ranked." in page
