"""Downloads that break and continue, and archives that are broken or hostile, against a server on this machine."""

import gzip
import hashlib
import http.server
import io
import socket
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import download
from tasks.download import BLOCK, ArchiveError, DownloadError, extract, fetch

CONTENT = bytes(hashlib.sha256(str(i).encode()).digest()[0] for i in range(50_000)) * 40  # 2 MB, no two equal ends
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def quiet(done: int, total: int, text: str) -> None:
    assert 0 <= done <= total


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; breaks connections after `cuts` bytes, one after the other, and remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.ranges: list[str | None] = []
        self.content = CONTENT
        self.ranged = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/archive.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        content, first = self.server.content, 0
        if asked and self.server.ranged:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            if first >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        end = first + self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.wfile.write(content[first:end])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_download_arrives_and_leaves_no_part(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    fetch(server.url, tmp_path / "new" / "a.tar.gz", SHA256, lambda done, total, text: said.append(text))
    assert (tmp_path / "new" / "a.tar.gz").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.tar.gz"]
    assert "2.0 of 2.0 MB" in said[-1]


def test_a_finished_download_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "a", SHA256, quiet)
    assert server.ranges == []


def test_a_download_continues_from_its_last_byte(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT[:1_234_567])
    fetch(server.url, tmp_path / "a", SHA256, quiet)
    assert server.ranges == ["bytes=1234567-"]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_broken_connections_are_continued(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000, 500_000]
    fetch(server.url, tmp_path / "a", SHA256, quiet, wait=0.01)
    assert server.ranges[0] is None
    assert server.ranges[1:] == [f"bytes={4 * BLOCK}-", f"bytes={(4 + 7) * BLOCK}-"]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 500]
    fetch(server.url, tmp_path / "a", SHA256, quiet, wait=0.01)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranged = False
    (tmp_path / "a.part").write_bytes(b"x" * 1000)
    fetch(server.url, tmp_path / "a", SHA256, quiet)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_part_that_was_complete_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "a", SHA256, quiet)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT + b"more")
    fetch(server.url, tmp_path / "a", SHA256, quiet, wait=0.01)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_wrong_file_is_refused_and_deleted(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError, match=rf"not what was published.*expected {SHA256}"):
        fetch(server.url, tmp_path / "a", SHA256, quiet)
    assert list(tmp_path.iterdir()) == []


def test_giving_up_keeps_what_has_arrived_and_names_the_url(server: Server, tmp_path: Path) -> None:
    server.cuts = [700_000, 0, 0, 0]
    kept = 700_000 // BLOCK * BLOCK
    with pytest.raises(DownloadError, match=r"archive\.tar\.gz.*0\.7 MB.* is kept"):
        fetch(server.url, tmp_path / "a", SHA256, quiet, attempts=3, wait=0.01)
    assert (tmp_path / "a.part").read_bytes() == CONTENT[:kept]


def test_a_missing_page_is_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(DownloadError, match="404"):
        fetch(server.url, tmp_path / "a", SHA256, quiet)
    assert len(server.ranges) == 1


def test_no_network_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/archive.tar.gz"
        with pytest.raises(DownloadError, match=r"cannot download http://127\.0\.0\.1.*refused"):
            fetch(url, tmp_path / "a", SHA256, quiet, attempts=2, wait=0.01)


def test_a_full_disk_is_noticed_before_it_is_full(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(DownloadError, match=r"2 MB are to be written.*--workdir"):
        fetch(server.url, tmp_path / "a", SHA256, quiet)


def tar(path: Path, *members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


GOOD = (("./zero/a.wav", b"a" * 1000), ("./one/b.wav", b"b" * 2000), ("./list.txt", b"c"))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_only_what_is_wanted_is_unpacked(tmp_path: Path, mode: str) -> None:
    archive = tar(tmp_path / "a.tar", special("./zero", tarfile.DIRTYPE), *GOOD, mode=mode)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    assert extract(archive, tmp_path / "out", lambda name: name.startswith("zero/"), quiet) == 1
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["zero", "a.wav"]
    assert (tmp_path / "out" / "zero" / "a.wav").read_bytes() == b"a" * 1000


def test_a_zip_is_unpacked_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("zero/a.wav", b"abc")
        archive.writestr("empty/", b"")
    assert extract(tmp_path / "a.zip", tmp_path / "out", lambda name: True, quiet) == 1
    assert (tmp_path / "out" / "zero" / "a.wav").read_bytes() == b"abc"


HOSTILE: dict[str, tuple[tarfile.TarInfo | tuple[str, bytes], str]] = {
    "parent": (("../escaped.wav", b"x"), "outside"),
    "parent inside": (("zero/../../escaped.wav", b"x"), "outside"),
    "absolute": (("/escaped.wav", b"x"), "outside"),
    "backslash": (("..\\escaped.wav", b"x"), "outside"),
    "drive": (("C:escaped.wav", b"x"), "outside"),
    "symbolic link": (special("zero/link.wav", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
    "hard link": (special("zero/link.wav", tarfile.LNKTYPE, "../../secret"), "is a link"),
    "device": (special("zero/null", tarfile.CHRTYPE), "is a device"),
    "pipe": (special("zero/pipe", tarfile.FIFOTYPE), "is a device"),
    "twice": (GOOD[0], "twice"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("wanted", [True, False])
def test_hostile_archives_are_refused_whole(tmp_path: Path, case: str, wanted: bool) -> None:
    if case == "twice" and not wanted:
        pytest.skip("what is not written cannot be overwritten")
    member, reason = HOSTILE[case]
    (tmp_path / "in").mkdir()
    archive = tar(tmp_path / "in" / "a.tar.gz", *GOOD, member)
    with pytest.raises(ArchiveError, match=reason):
        extract(archive, tmp_path / "in" / "out", lambda name: wanted, quiet)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar.gz", "in"]


def test_a_zip_with_a_link_or_an_escape_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.wav")
    link.external_attr = 0o120777 << 16
    for name, member, reason in (("a", link, "is a link"), ("b", zipfile.ZipInfo("../b.wav"), "outside")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, "/etc/passwd")
        with pytest.raises(ArchiveError, match=reason):
            extract(tmp_path / name, tmp_path / "out", lambda name: True, quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_archive_that_is_too_large_is_refused(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar.gz", *GOOD, ("zeros", bytes(10_000_000)))
    with pytest.raises(ArchiveError, match="more than"):
        extract(archive, tmp_path / "out", lambda name: True, quiet, most_bytes=5_000_000)
    with pytest.raises(ArchiveError, match="more than 3 members"):
        extract(archive, tmp_path / "out", lambda name: True, quiet, most_members=3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("left", [0.3, 0.6, 0.9, 0.99])
def test_a_cut_archive_is_damaged_wherever_it_is_cut(tmp_path: Path, mode: str, left: float) -> None:
    noise = [(f"zero/{i}.wav", CONTENT[i * 5000 : i * 5000 + 5000]) for i in range(10)]
    whole = tar(tmp_path / "whole", *noise, mode=mode).read_bytes()
    end = len(whole) if mode == "w:gz" else 10 * (512 + 5120)  # a plain tar ends with blocks of zeros
    (tmp_path / "cut").write_bytes(whole[: int(left * end)])
    with pytest.raises(ArchiveError, match=r"damaged or cut short|ends .* bytes early"):
        extract(tmp_path / "cut", tmp_path / "out", lambda name: True, quiet)
    assert not (tmp_path / "out").exists()


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar.gz", ("zero/a.wav", CONTENT[:50_000]))
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged"):
        extract(archive, tmp_path / "out", lambda name: True, quiet)


def test_a_broken_header_in_the_middle_is_not_the_end(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", *GOOD, mode="w")
    content = bytearray(archive.read_bytes())
    content[1536:1600] = b"?" * 64
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged"):
        extract(archive, tmp_path / "out", lambda name: True, quiet)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>no such file</html>" * 100, gzip.compress(b"hello" * 1000)],
    ids=["empty", "a page", "gzip alone"],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged"):
        extract(tmp_path / "a.tar.gz", tmp_path / "out", lambda name: True, quiet)
