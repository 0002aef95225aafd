"""How an artifact lies on disk: one spelling of JSON, manifests, digests, publishing in one step, moving aside."""

import os

import pytest

from tasks import folders


def fill(folder, **files):
    folder.mkdir(parents=True)
    for name, text in {"config.json": "{}\n", "metrics.json": "{}\n", "log.txt": "one\n", **files}.items():
        path = folder / name.replace("__", "/").replace("_txt", ".txt")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_canonical_json_has_one_spelling_per_value():
    assert folders.canonical({"b": 1, "a": (1, "é")}) == '{"a":[1,"é"],"b":1}'
    assert folders.canonical({"a": 1, "b": 2}) == folders.canonical({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        folders.canonical(float("nan"))


def test_json_is_written_in_one_step_and_read_again_when_it_changed(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    folders.write_json(path, {"a": 1})
    assert folders.read_json(path) == {"a": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        folders.write_json(path, {"a": float("inf")})
    assert folders.read_json(path) == {"a": 1}
    folders.write_json(path, {"a": 2})
    assert folders.read_json(path) == {"a": 2}


def test_equal_builds_have_equal_digests_and_a_changed_file_another(tmp_path):
    def digest(name, **files):
        return folders.make_manifest(fill(tmp_path / name, **files), ("events/",))["digest"]

    one = digest("one", a_txt="same", b__c_txt="same")
    assert digest("two", a_txt="same", b__c_txt="same") == one
    assert digest("log", a_txt="same", b__c_txt="same", **{"log.txt": "another day"}) == one
    assert digest("events", a_txt="same", b__c_txt="same", events__c_txt="time") == one
    changed = {
        digest("content", a_txt="other", b__c_txt="same"),
        digest("name", aa_txt="same", b__c_txt="same"),
        digest("missing", a_txt="same"),
        digest("extra", a_txt="same", b__c_txt="same", d_txt=""),
        digest("identity", a_txt="same", b__c_txt="same", **{"config.json": '{"seed": 1}\n'}),
        digest("metrics", a_txt="same", b__c_txt="same", **{"metrics.json": '{"fid": 1}\n'}),
    }
    assert len(changed) == 6
    assert one not in changed


def test_the_manifest_lists_every_file_also_those_outside_the_digest(tmp_path):
    folder = fill(tmp_path / "x", a_txt="abc", events__c_txt="time")
    files = folders.make_manifest(folder, ("events/",))["files"]
    assert sorted(files) == ["a.txt", "config.json", "events/c.txt", "log.txt", "metrics.json"]
    assert files["a.txt"] == {
        "size": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    }
    assert [name for name, entry in files.items() if not entry.get("in_digest", True)] == ["events/c.txt", "log.txt"]


def test_publishing_leaves_the_folder_and_nothing_of_the_building(tmp_path):
    building = fill(tmp_path / "x.partial", a_txt="abc")
    for name in (folders.ATTEMPT, folders.PROGRESS, folders.DIED, ".a.txt.1.tmp", folders.LOCK):
        (building / name).write_text("{}")
    folders.publish(building, tmp_path / "x")
    assert not building.exists()
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [
        "a.txt", "config.json", "log.txt", "manifest.json", "metrics.json",
    ]  # fmt: skip
    assert folders.digest_of(tmp_path / "x") == folders.read_json(tmp_path / "x/manifest.json")["digest"]


@pytest.mark.parametrize("keep", [True, False])
def test_publishing_over_an_old_folder(tmp_path, keep):
    folders.publish(fill(tmp_path / "toy/x.partial", a_txt="old"), tmp_path / "toy/x")
    folders.publish(
        fill(tmp_path / "toy/x.partial", a_txt="new"), tmp_path / "toy/x", replace=tmp_path if keep else None
    )
    assert (tmp_path / "toy/x/a.txt").read_text() == "new"
    aside = list(tmp_path.glob(".superseded/toy/x.*/a.txt"))
    assert [path.read_text() for path in aside] == (["old"] if keep else [])
    assert [path.name for path in (tmp_path / "toy").iterdir()] == ["x"]


def test_moving_aside_twice_in_a_second_keeps_both(tmp_path):
    for text in ("one", "two"):
        (tmp_path / "toy/x").mkdir(parents=True)
        (tmp_path / "toy/x/a.txt").write_text(text)
        folders.move_aside(tmp_path / "toy/x", tmp_path)
    assert {path.read_text() for path in tmp_path.glob(".superseded/toy/x.*/a.txt")} == {"one", "two"}


def test_what_is_half_removed_does_not_look_like_an_artifact(tmp_path, monkeypatch):
    folder = fill(tmp_path / "x", a_txt="abc")

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        folders.remove(folder)
    assert not folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == [f".x.{os.getpid()}.removed"]


def test_who_waits_for_a_folder_that_gets_published_begins_a_new_one(tmp_path):
    building = tmp_path / "x.partial"
    with folders.lock(building, "x"):
        fill(tmp_path / "y.partial")
        os.rename(tmp_path / "y.partial/config.json", building / "config.json")
        folders.publish(building, tmp_path / "x")
        with folders.lock(building, "x", patience=0.0):
            assert [path.name for path in building.iterdir()] == [folders.LOCK]
