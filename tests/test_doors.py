"""The front doors' flags: what is understood, and what a person is told who got one wrong. No stage runs here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.options import parse

REPOSITORY = Path(__file__).resolve().parent.parent
SECONDS = 60  # for a command that should take one; a door that starts to work instead is stopped


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, so that the models are asked only once what their presets are."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def workdir(tmp_path: Path, cache: Path) -> Path:
    (workdir := tmp_path / "workdir").mkdir()
    (workdir / ".cache").symlink_to(cache)
    return workdir


def command(*words: str, **how: object) -> subprocess.CompletedProcess[str]:
    options: dict[str, object] = {"cwd": REPOSITORY, "timeout": SECONDS, "stdin": subprocess.DEVNULL} | how
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def door(workdir: Path, *words: str, corpus: str = "spoken_digits") -> subprocess.CompletedProcess[str]:
    return command(sys.executable, "-m", f"pipeline.{corpus}", "--workdir", str(workdir), "--preset", "smoke", *words)


def luigi(workdir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("luigi"))
    evaluate = ["--module", "pipeline.evaluate", "EvaluateSamples", "--machine-workdir", str(workdir)]
    return command(program, *evaluate, *words)


def artifacts(workdir: Path) -> list[str]:
    """Everything in the workdir but the cache of what plug-ins say of themselves."""
    return sorted(path.name for path in workdir.iterdir() if path.name != ".cache")


@pytest.mark.parametrize("corpus", ["sc09", "spoken_digits", "folder"])
def test_help_explains_every_flag_and_the_exit_status(corpus: str) -> None:
    answer = command(sys.executable, "-m", f"pipeline.{corpus}", "--help")
    assert answer.returncode == 0
    ours = "models preset classifier seed count set source stale workdir device max-steps max-hours plan"
    ours += " prefix-seconds repeats split features samples samples-rate keep-every"
    for text in (*(f"--{flag}" for flag in ours.split()), "--workers", "--scheduler-host", "Exit status", corpus):
        assert text in answer.stdout


WRONG = {
    "model": (["--models", "wavnet"], ["'wavnet'", "Did you mean wavenet?", "noise", "models/generators/wavnet.py"]),
    "outside model": (["--models", "gone/mine.py:Mine"], ["gone/mine.py:Mine", "path/to/file.py:ClassName"]),
    "outside model without class": (
        ["--models", "examples/my_model.py"],
        ["which class", "examples/my_model.py:ClassName"],
    ),
    "preset": (["--preset", "smal"], ["'smal'", "Did you mean small?", "paper"]),
    "classifier": (["--classifier", "papr"], ["'papr'", "Did you mean paper?"]),
    "field": (["--set", "wavenet.layer=20"], ["'layer'", "Did you mean layers?"]),
    "corpus field": (["--set", "corpus.sample_rat=8000"], ["'sample_rat'", "Did you mean sample_rate?"]),
    "sampling field": (["--set", "sampling.temprature=1"], ["'temprature'", "Did you mean temperature?"]),
    "space": (["--set", "wavnet.layers=20"], ["'wavnet'", "Did you mean wavenet?", "classifier", "corpus", "sampling"]),
    "value": (["--set", "wavenet.layers=many"], ["wavenet.layers=many", "its default is"]),
    "value that makes no sense": (
        ["--set", "wavenet.layers=0"],
        ["settings of wavenet", "layers=0 must be at least 1"],
    ),
    "kind of value": (["--set", "wavenet.layers=2.5"], ["wavenet.layers", "int"]),
    "assignment": (["--set", "layers"], ["'layers'", "SPACE.FIELD=VALUE"]),
    "stage": (["--stale", "rebuild=feature"], ["'feature'", "Did you mean features?", "evaluation"]),
    "stale": (["--stale", "rebuild"], ["--stale", "refuse", "rebuild=STAGE"]),
    "count": (["--count", "-3"], ["--count", "-3"]),
    "no samples": (["--count", "0"], ["--count 0", "at least 2 samples"]),
    "seed": (["--seed", "one"], ["--seed", "whole numbers", "one"]),
    "no models": (["--models", ","], ["--models names no model"]),
    "device": (["--device", "tpu"], ["--device", "'cpu'", "'cuda'"]),
    "steps": (["--max-steps", "0"], ["--max-steps", "0"]),
    "hours": (["--max-hours", "-1"], ["--max-hours", "-1"]),
    "flag": (["--modles", "noise"], ["--modles"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_before_anything_runs(case: str, workdir: Path) -> None:
    words, told = WRONG[case]
    answer = door(workdir, *words)
    assert answer.returncode == 2, answer.stderr
    for text in told:
        assert text in answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    assert artifacts(workdir) == []


def test_a_wrong_flag_is_told_by_plan_too(workdir: Path) -> None:
    answer = door(workdir, "--plan", "--modles", "noise")
    assert answer.returncode == 2, answer.stdout
    assert "--modles" in answer.stderr


@pytest.mark.parametrize("corpus", ["spoken_digits", "sc09"])
def test_plan_shows_everything_and_runs_nothing(corpus: str, workdir: Path) -> None:
    answer = door(workdir, "--plan", "--models", "noise", "--seed", "0,2", "--count", "24", corpus=corpus)
    assert answer.returncode == 0, answer.stderr
    place = corpus.replace("_", "-")
    for text in ("Licence", "Citation", f"{place}/1-download", f"{place}/3-classifier/smoke-seed0", "Disk"):
        assert text in answer.stdout
    for seed in (0, 2):
        assert f"{place}/noise/smoke-seed{seed}/draw-24/4-evaluation-smoke-seed0" in answer.stdout
    assert "0 done" in answer.stdout
    assert artifacts(workdir) == []


def test_a_changed_setting_is_a_path_of_its_own(workdir: Path) -> None:
    answer = door(
        workdir, "--plan", "--models", "wavenet", "--set", "wavenet.layers=3", "--set", "sampling.temperature=0.9"
    )
    assert answer.returncode == 0, answer.stderr
    assert "wavenet/smoke+layers=3-seed0/draw-32+temperature=0.9/2-samples" in answer.stdout


def test_the_rate_and_length_of_clips_have_flags_of_their_own(workdir: Path) -> None:
    words = ("--plan", "--models", "noise", "--sample-rate", "8000", "--clip-seconds", "0.25")
    answer = door(workdir, *words, corpus="spoken_digits")
    assert answer.returncode == 0, answer.stderr
    assert " spoken-digits@8000+clip_seconds=0.25" in answer.stdout
    for wrong, told in (
        (("--sample-rate", "800"), "corpus.sample_rate=800 is not a rate in Hz"),
        (("--clip-seconds", "0.001"), "are 16 timesteps, and a clip needs 32"),
        (("--sample-rate", "8000", "--models", "sashimi", "--checkpoint", "release:sashimi_sc09"),
         "release:sashimi_sc09 has learned audio at 16000 Hz, and spoken_digits is to be at 8000 Hz"),
    ):  # fmt: skip
        answer = door(workdir, "--plan", *wrong, corpus="spoken_digits")
        assert answer.returncode == 2, answer.stdout
        assert told in answer.stderr


def test_a_folder_of_which_nothing_can_come_is_told_at_once(workdir: Path, tmp_path: Path) -> None:
    (source := tmp_path / "takes").mkdir()
    for name in ("0.wav", "1.wav", "a/2.wav"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).touch()
    for words, told in (([], "give --source"), (["--source", str(source)], "2 files in")):
        answer = door(workdir, *words, corpus="folder")
        assert answer.returncode == 2, answer.stderr
        assert told in answer.stderr
        assert "Traceback" not in answer.stderr
    assert artifacts(workdir) == []


@pytest.mark.parametrize(
    ("words", "seeds"),
    [([], [0]), (["--seed", "3"], [3]), (["--seed", "0,1,2"], [0, 1, 2]), (["--seed", "2", "--seed", "0,2"], [0, 2])],
)
def test_seeds_are_given_in_any_way(words: list[str], seeds: list[int]) -> None:
    assert parse("sc09", words).seeds == seeds


@pytest.mark.parametrize(
    ("preset", "classifier"), [("smoke", "smoke"), ("paper", "paper"), ("paper-unet", "paper"), ("mine", "small")]
)
def test_the_classifier_goes_with_the_preset(preset: str, classifier: str) -> None:
    assert parse("sc09", ["--preset", preset]).classifier == classifier
    assert parse("sc09", ["--preset", preset, "--classifier", "smoke"]).classifier == "smoke"


def test_settings_limits_and_luigis_flags_are_told_apart() -> None:
    words = "--models wavenet,noise --set wavenet.layers=3 --set sampling.temperature=0.9 --max-steps 7"
    words += " --workers 4 --workdir here"
    options = parse("sc09", words.split())
    given = {"wavenet.layers=3", "sampling.temperature=0.9", "wavenet.max_steps=7", "noise.max_steps=7"}
    assert set(options.assignments) == given
    assert options.luigi == ["--workers", "4"]
    assert options.machine["workdir"] == os.path.abspath("here")


LUIGI_WRONG = {
    "model": (["--model", "wavnet"], ["'wavnet'", "Did you mean wavenet?"]),
    "corpus": (["--model", "noise", "--corpus", "sc9"], ["'sc9'", "Did you mean sc09?"]),
    "nothing": ([], ["--model wavenet", "--samples path/to/wavs --name my-model"]),
    "no name": (["--samples", "wavs"], ["--samples needs --name"]),
    "preset": (["--model", "noise", "--preset", "smal"], ["'smal'", "Did you mean small?"]),
    "field": (["--model", "noise", "--settings", "noise.step=3"], ["'step'", "Did you mean steps?"]),
    "memory": (["--model", "noise", "--prefix-seconds", "0.1"], ["noise cannot continue a clip", "wavenet"]),
    "split": (["--model", "wavenet", "--prefix-seconds", "0.1", "--split", "tset"], ["'tset'", "Did you mean test?"]),
}


@pytest.mark.parametrize("case", LUIGI_WRONG)
def test_the_luigi_command_says_what_is_wrong(case: str, workdir: Path) -> None:
    words, told = LUIGI_WRONG[case]
    answer = luigi(workdir, *words)
    shown = answer.stdout + answer.stderr
    assert answer.returncode != 0, shown
    for text in told:
        assert text in shown
    assert "Traceback" not in shown
    assert artifacts(workdir) == []


@pytest.mark.parametrize("name", ["tasks", "models", "evaluation"])
def test_a_package_that_shadows_ours_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    answer = command(sys.executable, "-m", "pipeline.sc09", "--help", cwd=elsewhere, env=environment)
    assert answer.returncode != 0
    assert f"the package {name!r} is shadowed by {tmp_path / name}" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_sampling_setting_is_for_the_models_that_have_it(workdir: Path) -> None:
    answer = door(workdir, "--plan", "--set", "sampling.temperature=0.9")
    assert "wavenet/smoke-seed0/draw-32+temperature=0.9/2-samples" in answer.stdout
    assert "noise/smoke-seed0/draw-32/2-samples" in answer.stdout
    wrong = door(workdir, "--plan", "--set", "sampling.temprature=0.9")
    assert wrong.returncode == 2
    assert "Did you mean temperature?" in wrong.stderr


@pytest.mark.parametrize(("config", "warned"), [("luigi.cfg", True), ("pipeline/cluster.cfg", False)])
def test_a_scheduler_that_the_configuration_overrules_is_told(config: str, warned: bool) -> None:
    words = [sys.executable, "-c", "import pipeline.evaluate", "--scheduler-host", "elsewhere"]
    answer = command(*words, env={**os.environ, "LUIGI_CONFIG_PATH": config, "PYTHONPATH": str(REPOSITORY)})
    assert answer.returncode == 0, answer.stderr
    assert ("LUIGI_CONFIG_PATH" in answer.stderr) == warned
