"""The whole benchmark, as a person runs it: the README's commands at `smoke` on a small corpus, then kills and damage.

One finished run is shared by the tests of this file; what they do to it is done to copies or undone.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
import torch

from tests import reference

REPOSITORY = Path(__file__).parent.parent
SMALL_CORPUS = "corpus.clips_per_digit=16"
CORPUS = "spoken-digits+clips_per_digit=16"
DOOR = [sys.executable, "-m", "pipeline.spoken_digits", "--workers", "2", "--preset", "smoke", "--set", SMALL_CORPUS]
LUIGI = [sys.executable, "-m", "luigi", "--module", "pipeline.evaluate"]


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500, **options)  # type: ignore


def door(workdir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run([*DOOR, "--workdir", str(workdir), *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workdir in which the benchmark ran to its end."""
    workdir = tmp_path_factory.mktemp("finished")
    result = door(workdir)
    assert result.returncode == 0, result.stderr
    assert "report/index.html" in result.stdout
    assert "wavenet smoke" in result.stdout
    return workdir


def digests(workdir: Path) -> dict[str, str]:
    return {
        path.parent.relative_to(workdir).as_posix(): json.loads(path.read_text())["digest"]
        for path in workdir.rglob("manifest.json")
        if ".superseded" not in path.parts
    }


def test_every_promised_file_is_there(finished: Path) -> None:
    corpus = finished / CORPUS
    for name in ("leaderboard.md", "leaderboard.csv", "leaderboard.json", "report/index.html"):
        assert (corpus / name).stat().st_size > 200
    for name in digests(finished):
        for file in ("config.json", "metrics.json", "manifest.json", "provenance.json", "log.txt"):
            assert (finished / name / file).is_file(), f"{name} has no {file}"
    assert not list(finished.rglob("*.partial"))
    assert not list(corpus.glob("wavenet/*/shards*/*"))


def test_the_leaderboard_has_models_and_controls_with_their_evidence(finished: Path) -> None:
    page = json.loads((finished / CORPUS / "leaderboard.json").read_text())
    rows = {row["name"]: row for row in page["rows"]}
    assert {"wavenet/smoke", "noise/smoke", "held-out", "silence", "white-noise"} <= set(rows)
    fid = rows["wavenet/smoke"]["scores"]["v1/fid"]
    assert fid["low"] < fid["value"] < fid["high"]
    assert (fid["n_generated"], fid["version"], fid["better"]) == (32, 1, "lower")
    nll = rows["wavenet/smoke"]["scores"]["v1/nll"]
    assert 0 < nll["value"] < 8.5
    assert nll["likelihood_space"] == "8-bit mu-law, unscaled"
    assert rows["noise/smoke"]["scores"]["v1/nll"]["value"] is None
    assert rows["held-out"]["scores"]["v1/fid"]["value"] < rows["noise/smoke"]["scores"]["v1/fid"]["value"]


def test_the_leaderboard_is_as_its_schema_says(finished: Path) -> None:
    schema = json.loads((REPOSITORY / "evaluation" / "schema" / "leaderboard.schema.json").read_text())
    page = json.loads((finished / CORPUS / "leaderboard.json").read_text())
    errors = [f"{list(e.path)}: {e.message[:200]}" for e in jsonschema.Draft202012Validator(schema).iter_errors(page)]
    assert not errors, errors[:5]


def test_a_second_run_does_nothing(finished: Path) -> None:
    before = digests(finished)
    result = door(finished)
    assert result.returncode == 0
    assert "starts" not in result.stderr
    assert "wavenet smoke" in result.stdout
    assert digests(finished) == before


def test_the_plan_runs_nothing(finished: Path, tmp_path: Path) -> None:
    done = door(finished, "--plan")
    assert done.returncode == 0
    assert "0 to run" in done.stdout
    assert "Licence:" in done.stdout
    fresh = door(tmp_path, "--plan")
    assert fresh.returncode == 0
    assert "0 done" in fresh.stdout
    assert digests(tmp_path) == {}


def test_the_luigi_command_finds_the_same_artifacts(finished: Path) -> None:
    command = [*LUIGI, "EvaluateSamples", "--model", "wavenet", "--preset", "smoke", "--classifier", "smoke"]
    result = run([*command, "--settings", SMALL_CORPUS, "--machine-workdir", str(finished)])
    assert result.returncode == 0, result.stderr
    assert "1 complete ones were encountered" in result.stderr


def test_samples_are_sorted_by_likelihood_and_saved_in_16_bits(finished: Path) -> None:
    folder = finished / CORPUS / "wavenet" / "smoke-seed0" / "draw-32" / "2-samples"
    codes = np.load(folder / "samples.npy")
    assert codes.dtype == np.int16
    assert codes.shape == (32, 16000)
    lines = (folder / "samples.csv").read_text().splitlines()[1:]
    nats = [float(line.split(",")[2]) for line in lines]
    assert nats == sorted(nats)
    assert sorted(int(line.split(",")[1]) for line in lines) == list(range(32))
    wav, rate = soundfile.read(folder / "wavs" / "sample_00007.wav", dtype="int16")
    assert rate == 16000
    assert np.array_equal(wav, codes[7])


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the finished workdir, to do things to."""
    place = tmp_path / "copy"
    shutil.copytree(finished, place, symlinks=True)
    yield place
    shutil.rmtree(place)


def test_more_samples_reuse_those_that_are_there(copy: Path) -> None:
    result = door(copy, "--count", "40", "--models", "noise")
    assert result.returncode == 0, result.stderr
    assert "shards/000000-000040" in result.stderr  # one shard holds both; what it shares with the first draw is equal
    draws = copy / CORPUS / "noise" / "smoke-seed0"
    fewer, more = (np.load(draws / f"draw-{count}" / "2-samples" / "samples.npy") for count in (32, 40))
    assert np.array_equal(fewer, more[:32])


def test_our_own_wavs_imported_again_get_the_same_numbers(copy: Path) -> None:
    wavs = copy / CORPUS / "noise" / "smoke-seed0" / "draw-32" / "2-samples" / "wavs"
    command = [*LUIGI, "EvaluateSamples", "--samples", str(wavs), "--name", "my-model", "--classifier", "smoke"]
    result = run([*command, "--settings", SMALL_CORPUS, "--machine-workdir", str(copy)])
    assert result.returncode == 0, result.stderr
    name = "4-evaluation-smoke-seed0/metrics.json"
    theirs = json.loads((copy / CORPUS / "imported" / "my-model" / name).read_text())["scores"]
    ours = json.loads((copy / CORPUS / "noise" / "smoke-seed0" / "draw-32" / name).read_text())["scores"]
    assert theirs["v1/fid"]["value"] == pytest.approx(ours["v1/fid"]["value"], rel=1e-9)
    assert door(copy, "--models", "noise").returncode == 0
    assert "my-model" in (copy / CORPUS / "leaderboard.md").read_text()


def test_damage_is_found_and_repaired(copy: Path) -> None:
    before = digests(copy)
    features = copy / CORPUS / "4-features" / "smoke-seed0" / "train.npz"
    os.truncate(features, 100)
    verify = [sys.executable, "-m", "pipeline.verify", "--workdir", str(copy)]
    found = run(verify)
    assert found.returncode == 1
    assert "train.npz" in found.stdout + found.stderr
    run([*verify, "--repair"])
    assert door(copy).returncode == 0
    assert run(verify).returncode == 0
    assert digests(copy) == before


def readme_commands() -> list[str]:
    """Every command line of the README that runs the benchmark or looks at it, without its remark."""
    lines = (line.strip().partition("  #")[0].strip() for line in (REPOSITORY / "README.md").read_text().splitlines())
    return [line for line in lines if line.startswith(("python -m pipeline.", "luigi --module "))]


def test_the_readme_has_the_commands_that_were_promised() -> None:
    assert "python -m pipeline.sc09 --workers 4" in readme_commands()
    assert "luigi --module pipeline.evaluate EvaluateSamples --model wavenet" in readme_commands()


@pytest.fixture(scope="module")
def playground(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished workdir in which the README's commands leave what they make."""
    return Path(shutil.copytree(finished, tmp_path_factory.mktemp("playground") / "workdir", symlinks=True))


def cached(folder: Path) -> None:
    """Outputs of a classifier in the layout of the SaShiMi release, made up."""
    folder.mkdir()
    for seed, name in enumerate(("train", "test")):
        rng = np.random.default_rng(seed)
        np.save(folder / f"{name}_probs.npy", rng.dirichlet(np.ones(10), 60).astype(np.float32))
        np.save(folder / f"{name}_activations.npy", rng.normal(size=(60, 8)).astype(np.float32))


@pytest.mark.parametrize("line", readme_commands())
def test_the_readmes_commands_run_at_smoke(line: str, playground: Path, tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "my_recordings" / label).mkdir(parents=True)
        for number in range(3):
            soundfile.write(tmp_path / "my_recordings" / label / f"{number}.wav", np.zeros(800), 16000)
    (tmp_path / "speech_commands_v0.02.tar.gz").touch()
    wavs = playground / CORPUS / "noise" / "smoke-seed0" / "draw-32" / "2-samples" / "wavs"
    line = line.replace("path/to/wavs", str(wavs)).replace("my_recordings/", f"{tmp_path}/my_recordings/")
    line = line.replace("--source speech", f"--source {tmp_path}/speech").replace("--preset paper", "")
    if "path/to/file.pt" in line:
        torch.save(reference.load("fw_wavenet_v2").state, tmp_path / "file.pt")
        line = line.replace("path/to/file.pt", f"{tmp_path}/file.pt --count 4")
    line = line.replace("path/to/cache/", f"{tmp_path}/cache/")
    if "path/to/scores.jsonl" in line:
        heard = enumerate(sorted(wavs.iterdir()))
        scores = [json.dumps({"key": path.stem, "utmos": 2.0 + number % 3}) for number, path in heard]
        (tmp_path / "scores.jsonl").write_text("\n".join(scores))
        line = line.replace("path/to/scores.jsonl", f"{tmp_path}/scores.jsonl --samples {wavs}")
    if f"{tmp_path}/cache/" in line:
        cached(tmp_path / "cache")
    line = line.replace("before.json after.json", " ".join([str(playground / CORPUS / "leaderboard.json")] * 2))
    words = line.replace("python", sys.executable, 1).split()
    if words[0] == "luigi":
        words[0] = str(Path(sys.executable).with_name("luigi"))
        preset = [] if "--samples" in words else ["--preset", "smoke"]
        words += [*preset, "--classifier", "smoke", "--settings", SMALL_CORPUS, "--machine-workdir", str(playground)]
    elif "pipeline.spoken_digits" in words:
        words += ["--preset", "smoke", "--set", SMALL_CORPUS, "--workdir", str(playground)]
    elif words[2] in ("pipeline.sc09", "pipeline.folder", "pipeline.miniatures", "pipeline.export"):
        # there is no network here, or nothing worth hearing, or other tests run it
        words += ["--preset", "smoke", "--plan", "--workdir", str(tmp_path / "elsewhere")]
    elif "pipeline.compare" not in words:  # which needs no workdir
        words += ["--workdir", str(playground)]
    result = run(words)
    assert result.returncode == 0, result.stdout + result.stderr


def kill_when(workdir: Path, stage: str, seconds: float) -> bool:
    """Run the benchmark, and kill -9 its whole process group `seconds` after `stage` begins; false if it was too late."""
    process = subprocess.Popen(
        [*DOOR, "--workdir", str(workdir)], cwd=REPOSITORY, start_new_session=True, stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None:
        if any((path / "log.txt").exists() for path in workdir.glob(f"{CORPUS}/{stage}.partial")):
            time.sleep(seconds)
            killed = process.poll() is None
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return killed
        time.sleep(0.01)
    return False


def kills(workdir: Path, stages: list[tuple[str, float]], finished: Path) -> None:
    killed = [stage for stage, seconds in stages if kill_when(workdir, stage, seconds)]
    assert killed, "nothing was killed: the stages were over before"
    result = door(workdir)
    assert result.returncode == 0, result.stderr
    assert digests(workdir) == digests(finished)


def test_kill_9_in_training_and_drawing_changes_nothing(finished: Path, copy: Path) -> None:
    for again in ("wavenet", "6-leaderboard"):
        shutil.rmtree(copy / CORPUS / again)
    kills(copy, [("wavenet/smoke-seed0/1-train", 2.5), ("wavenet/smoke-seed0/shards/*", 1.0)], finished)


@pytest.mark.slow
def test_kill_9_in_every_stage_changes_nothing(finished: Path, tmp_path: Path) -> None:
    stages = [
        "1-download", "2-clips", "3-classifier/*", "4-features/*", "5-reference/*", "controls/*/*",
        "*/*/1-train", "*/*/2-likelihood", "*/*/shards/*", "*/*/draw-*/2-samples", "*/*/draw-*/3-*", "*/*/draw-*/4-*",
        "6-leaderboard/*",
    ]  # fmt: skip
    kills(tmp_path, [(stage, seconds) for stage in stages for seconds in (0.05, 0.8)], finished)
