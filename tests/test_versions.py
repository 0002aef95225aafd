"""Code that makes numbers does not change unnoticed: every plug-in and task is as tests/versions.json recorded it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import record_versions
from tests.record_versions import changed, complaint, entries, main, module, read_record

Write = Callable[[str, str], None]


def test_no_number_changes_without_a_word() -> None:
    record, now = read_record(), entries()
    told = []
    for name, entry in now.items():
        old = record["entries"].get(name)
        if old is None or entry.version > old["version"]:
            told.append(f"{name}: VERSION {entry.version} is not recorded yet: run `python tests/record_versions.py`.")
        elif (entry.version, entry.hash) != (old["version"], old["hash"]):
            told.append(complaint(name, entry, old, record))
    told += [
        f"{name} is gone: run `python tests/record_versions.py`." for name in sorted({*record["entries"]} - {*now})
    ]
    assert not told, "\n" + "\n".join(told)


def test_entries_stand_on_the_code_that_makes_their_numbers() -> None:
    now = {name: {str(definition) for definition in entry.definitions} for name, entry in entries().items()}
    assert "models/stepping.py: sampling_law" in now["generators/wavenet"]
    assert "models/training_run.py: TrainingRun" in now["tasks/TrainGenerator"]
    assert "tasks/drawing.py: draw" in now["tasks/DrawShard"]
    assert "tasks/drawing.py: merge" not in now["tasks/DrawShard"]
    assert "tasks/corpora/_espeak.py: speak" in now["corpora/spoken_digits"]
    assert "evaluation/uncertainty.py: normal_interval" in now["metrics/frechet"]
    assert not any("generator.py: TrainGenerator" in text for text in now["tasks/DrawShard"])


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a file of a small repository with one model, one task, and a module that both use."""
    monkeypatch.setattr(record_versions, "REPOSITORY", tmp_path)
    monkeypatch.setattr(record_versions, "RECORD", tmp_path / "versions.json")

    def forget() -> None:
        for function in (module, record_versions.file_of, record_versions.used_by, record_versions.tree_hash):
            function.cache_clear()

    def write(file: str, text: str) -> None:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
        forget()

    write("models/__init__.py", "")
    write(
        "models/shared.py",
        '"""Shared."""\nHALF = 0.5\n\ndef scale(x):\n    return HALF * x\n\ndef other():\n    return 1\n',
    )
    write("models/generators/toy.py", "from models.shared import scale\nVERSION = 1\n\nclass Toy:\n    k = scale(3)\n")
    write("tasks/toy.py", TASK)
    assert main([]) == 0
    yield write
    forget()


TASK = """class Draw:
    VERSION = 1

    def build(self, out):
        from models import shared

        return shared.other()

    def headline(self):
        return "drawn"
"""


def complaints() -> dict[str, list[str]]:
    record = read_record()
    now = {name: entry for name, entry in entries().items() if entry.hash != record["entries"][name]["hash"]}
    return {name: [str(definition) for definition in changed(entry, record)] for name, entry in now.items()}


def test_words_and_layout_do_not_count(write: Write) -> None:
    text = '"""Said otherwise."""\nHALF = (\n    0.5  # a remark\n)\n\n'
    text += 'def scale(x):\n    """Half."""\n    return HALF*x\n\ndef other(): return 1\n'
    write("models/shared.py", text)
    write("tasks/toy.py", TASK.replace("drawn", "drawn at last"))
    assert complaints() == {}


def test_a_change_concerns_who_uses_it_and_nobody_else(write: Write) -> None:
    write("models/shared.py", "HALF = 0.25\n\ndef scale(x):\n    return HALF * x\n\ndef other():\n    return 1\n")
    assert complaints() == {"generators/toy": ["models/shared.py: HALF"]}
    write("models/shared.py", "HALF = 0.5\n\ndef scale(x):\n    return HALF * x\n\ndef other():\n    return 2\n")
    assert complaints() == {"tasks/Draw": ["models/shared.py: other"]}


def test_cpp_beside_a_file_belongs_to_it_but_for_its_remarks(write: Write) -> None:
    write("models/shared.cpp", "int half() {\n  return 2;  // a half\n}\n")
    top = ["models/shared.py: statements at the top level"]
    assert complaints() == {"generators/toy": top, "tasks/Draw": top}
    before = {name: entry.hash for name, entry in entries().items()}
    write("models/shared.cpp", "// Half.\nint half() { return 2; }\n")
    assert {name: entry.hash for name, entry in entries().items()} == before
    write("models/shared.cpp", "int half() { return 3; }\n")
    assert {name: entry.hash for name, entry in entries().items()} != before


def test_moving_code_costs_nothing(write: Write) -> None:
    write("models/scaling.py", "HALF = 0.5\n\ndef scale(x):\n    return HALF * x\n")
    write("models/shared.py", "def other():\n    return 1\n")
    write("models/generators/toy.py", "from models.scaling import scale\nVERSION = 1\n\nclass Toy:\n    k = scale(3)\n")
    assert complaints() == {}


def test_another_definition_of_the_same_name_counts(write: Write) -> None:
    write("models/elsewhere.py", "def scale(x):\n    return x\n")
    write(
        "models/generators/toy.py", "from models.elsewhere import scale\nVERSION = 1\n\nclass Toy:\n    k = scale(3)\n"
    )
    assert complaints() == {"generators/toy": ["models/elsewhere.py: scale"]}


def test_a_change_is_recorded_with_a_bump_or_a_word_only(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("tasks/toy.py", TASK.replace("shared.other()", "shared.other() + 0"))
    assert main([]) == 1
    assert "tasks/Draw: still VERSION 1, but changed: tasks/toy.py: Draw" in (told := capsys.readouterr().err)
    assert '--same tasks/Draw --because "why it changes no number"' in told
    assert main(["--same", "tasks/Draw", "--because", "adding 0"]) == 0
    assert read_record()["entries"]["tasks/Draw"]["word"] == "adding 0"
    write("tasks/toy.py", TASK.replace("VERSION = 1", "VERSION = 2").replace("shared.other()", "7"))
    assert main([]) == 0
    assert read_record()["entries"]["tasks/Draw"]["version"] == 2
    assert "word" not in read_record()["entries"]["tasks/Draw"]
    write("tasks/toy.py", TASK)
    assert main([]) == 1
    assert "never goes back" in capsys.readouterr().err


def test_a_word_about_a_file_serves_all_who_use_it(write: Write) -> None:
    write("models/shared.py", "HALF = 1 / 2\n\ndef scale(x):\n    return HALF * x\n\ndef other():\n    return 2 - 1\n")
    assert main(["--same", "models/shared.py", "--because", "the same numbers"]) == 0
    assert complaints() == {}


def test_a_word_needs_a_reason(write: Write) -> None:
    with pytest.raises(SystemExit):
        main(["--same", "tasks/Draw"])
