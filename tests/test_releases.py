"""Published weights by name: fetched once, checked against what was published or first fetched, and imported."""

import hashlib
import http.server
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import models
from tasks import folders, releases
from tasks.checkpoints import ImportCheckpoint
from tasks.download import DownloadError
from tasks.errors import EarshotError, StaleArtifact
from tasks.releases import RELEASES, DownloadRelease, find
from tests import toy_runs
from tests.containers import CONTAINERS
from tests.test_import_checkpoint import SHORT, make, wavenet_weights


class Hub(http.server.ThreadingHTTPServer):
    """A mirror of the Hub that has one file under every name, and remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        content = self.server.content
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """With a tiny WaveNet in the release's layout."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
        hub.content = CONTAINERS["state_dict"](wavenet_weights(), tmp_path)[0].read_bytes()
        yield hub
        hub.shutdown()
        thread.join()


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    with toy_runs.settings(workdir=tmp_path / "workdir"):
        yield tmp_path / "workdir"


def note(workdir: Path) -> Path:
    return workdir / "releases" / "wavenet_sc09.sha256"


def test_the_table_is_in_order() -> None:
    from models import classifiers, generators

    for name, release in RELEASES.items():
        assert release.network in {*generators.names(), *classifiers.names()} | {"sashimi", "diffwave_sashimi"}, name
        assert release.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", release.sha256) or not release.sha256
        assert release.size > 10_000_000
    assert find("sashimi_sc09").file == "sashimi_sc09.pt"
    assert find("resnext").url.endswith("/krandiash/sashimi-release/resolve/main/sc09_classifier/resnext.pth")
    assert {name for name in RELEASES if RELEASES[name].sha256} == {
        name for name in RELEASES if name.startswith("diffwave")
    }
    with pytest.raises(EarshotError, match=r"Did you mean sashimi_sc09\? Available: .*resnext.*its path in place of"):
        find("sashimi_sc9")


def test_a_release_is_fetched_once_and_its_content_noted(hub: Hub, workdir: Path) -> None:
    task = DownloadRelease(release="wavenet_sc09")
    folder = make(task)
    assert task.path().read_bytes() == hub.content
    assert hub.asked == [("/krandiash/sashimi-release/resolve/main/checkpoints/wavenet_sc09.pt", None)]
    found = hashlib.sha256(hub.content).hexdigest()
    assert note(workdir).read_text() == f"{found}  wavenet_sc09.pt\n"
    metrics = folders.read_json(folder / folders.METRICS)
    assert metrics == {"sha256": found, "bytes": len(hub.content), "published_sha256": False}
    assert folders.read_json(folder / "source.json")["url"].startswith(hub.url)
    make(task)
    assert len(hub.asked) == 1


def test_an_interrupted_download_goes_on(hub: Hub, workdir: Path) -> None:
    task = DownloadRelease(release="wavenet_sc09")
    building = folders.partial(task.folder)
    building.mkdir(parents=True)
    (building / "wavenet_sc09.pt.part").write_bytes(hub.content[:1000])
    make(task)
    assert hub.asked[0][1] == "bytes=1000-"
    assert task.path().read_bytes() == hub.content


def test_another_content_later_is_refused(hub: Hub, workdir: Path) -> None:
    task = DownloadRelease(release="wavenet_sc09")
    before = folders.digest_of(make(task))
    folders.remove(task.folder)
    first, hub.content = hub.content, hub.content + b"more"
    with pytest.raises(
        DownloadError, match=r"wavenet_sc09\.pt is refused: its sha256 is .*when it was first downloaded"
    ):
        make(task)
    assert not list(folders.partial(task.folder).glob("wavenet_sc09.pt*"))
    hub.content = first
    assert folders.digest_of(make(task)) == before
    folders.remove(task.folder)
    hub.content += b"trusted"
    note(workdir).unlink()
    assert folders.digest_of(make(task)) != before


def test_a_published_sha256_is_required(hub: Hub, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = RELEASES["wavenet_sc09"].url
    monkeypatch.setitem(RELEASES, "pinned", releases.Release("wavenet", url, 1000, "0" * 64))
    with pytest.raises(DownloadError, match=f"is not what was published.*expected {'0' * 64}"):
        make(DownloadRelease(release="pinned"))
    found = hashlib.sha256(hub.content).hexdigest()
    monkeypatch.setitem(RELEASES, "pinned", releases.Release("wavenet", url, 1000, found))
    folder = make(DownloadRelease(release="pinned"))
    assert folders.read_json(folder / folders.METRICS)["published_sha256"] is True
    assert not (workdir / "releases" / "pinned.sha256").exists()


def test_without_a_network_it_says_so(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.download.time.sleep", lambda seconds: None)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(DownloadError, match=r"cannot download http://127\.0\.0\.1.*wavenet_sc09\.pt.*refused"):
            make(DownloadRelease(release="wavenet_sc09"))


def test_a_release_becomes_a_model_and_need_not_be_kept(hub: Hub, workdir: Path, tmp_path: Path) -> None:
    task = ImportCheckpoint(model="wavenet", checkpoint="release:wavenet_sc09", settings=SHORT)
    assert task.place().parts[1:] == ("wavenet", "checkpoint-wavenet_sc09", "1-import")
    make(task.inputs()["release"])
    model = models.load(make(task))
    state = wavenet_weights()
    assert torch.equal(model.output.weight, state["decoder.output_transform.weight"])
    config = folders.read_json(task.folder / folders.CONFIG)
    assert config["settings"]["checkpoint"] == hashlib.sha256(hub.content).hexdigest()
    assert config["inputs"] == {}
    folders.remove(task.inputs()["release"].folder)
    assert task.complete()
    assert task.inputs() == {}
    (tmp_path / "wavenet_sc09.pt").write_bytes(hub.content)
    local = ImportCheckpoint(model="wavenet", checkpoint=str(tmp_path / "wavenet_sc09.pt"), settings=SHORT)
    assert local.complete()
    assert len(hub.asked) == 1


def test_what_was_imported_notices_that_its_release_has_changed(hub: Hub, workdir: Path) -> None:
    task = ImportCheckpoint(model="wavenet", checkpoint="release:wavenet_sc09", settings=SHORT)
    download = task.inputs()["release"]
    make(download)
    make(task)
    folders.remove(download.folder)
    note(workdir).unlink()
    hub.content += b"\0"
    make(download)
    with pytest.raises(StaleArtifact, match=r"settings\.checkpoint"):
        task.complete()


def test_a_stage_fetches_and_imports(hub: Hub, workdir: Path) -> None:
    """As a run does it: each in a process of its own."""
    folder = toy_runs.build(ImportCheckpoint(model="wavenet", checkpoint="release:wavenet_sc09", settings=SHORT))
    assert models.load(folder).timesteps == 320
    assert (workdir / "releases" / "wavenet_sc09" / "wavenet_sc09.pt").read_bytes() == hub.content
