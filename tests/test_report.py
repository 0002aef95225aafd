"""The report page: self-contained, safe with any name, and every sound, picture and number on it is the given one."""

import base64
import dataclasses
import hashlib
import io
import re
from html.parser import HTMLParser
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import soundfile

from evaluation.report import ReportData, axes, players, plots, write_report
from evaluation.report.board import artifact_link
from evaluation.report.page import render
from evaluation.report.sections import duration
from tests.report_sample import RATE, clip, metrics, provenance, row, rows, run, sample

VOID = {"meta", "link", "img", "br", "hr", "input"}
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """Every tag with its attributes; raises where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def text() -> str:
    return render(sample())


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def decoded(uri: str) -> bytes:
    return base64.b64decode(uri.split(",", 1)[1])


def test_the_page_fetches_nothing_and_is_small(page, text):
    for tag, attributes in page.tags:
        for key in ("src", "data", "poster", "srcset"):
            if key in attributes and tag != "audio":
                assert attributes[key].startswith("data:"), (tag, attributes[key][:80])
        assert not any(key.startswith("on") for key in attributes)
    assert "url(" not in text
    assert "@import" not in text
    assert all(re.fullmatch(r"audio/[0-9a-f]{16}\.flac", audio["src"]) for audio in page.all("audio"))
    assert {audio["preload"] for audio in page.all("audio")} == {"none"}
    assert len(text.encode()) < 500_000


def test_only_our_script_may_run(page, text):
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}" in policy
    assert "default-src 'none'" in policy
    assert "media-src 'self' file:" in policy
    assert "http" not in policy


def test_hostile_names_are_only_text():
    data = sample()
    bad = dataclasses.replace(
        data,
        corpus={**data.corpus, "title": HOSTILE, "homepage": "javascript:alert(3)", "citation": HOSTILE},
        rows=[row(HOSTILE, [run([20, 4, 9, 1], 0, HOSTILE)], model=HOSTILE, preset=HOSTILE, note=HOSTILE)],
        metrics=[metric | {"doc": HOSTILE} for metric in metrics()],
        audio={
            HOSTILE: [{"caption": HOSTILE, "codes": clip(1, "voice"), "sample_rate": RATE, "details": {"x": HOSTILE}}]
        },
        about_audio={HOSTILE: HOSTILE},
        curves={HOSTILE: {"step": [1, 2], "train_loss": [1.0, 2.0], "validation_loss": [], "unit": HOSTILE}},
        provenance={HOSTILE: [{"stage": HOSTILE, "path": HOSTILE, "digest": HOSTILE, "settings": {HOSTILE: HOSTILE}}]},
        commands={HOSTILE: HOSTILE},
        histograms={HOSTILE: {HOSTILE: 3, "b": 4}},
        classifier={"name": HOSTILE, "labels": [HOSTILE, "b"], "confusion": [[1, 2], [3, 4]]},
        environment={HOSTILE: HOSTILE},
        notes=[HOSTILE],
    )
    text = render(bad)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert all(image["src"].startswith("data:image/png") for image in page.all("img"))
    assert not any("javascript:" in link["href"] for link in page.all("a"))
    assert page.words.count(HOSTILE) > 8


def test_the_table_shows_values_intervals_ties_and_reasons(page, text):
    for shown in ("18.4", "±1.3", "1–2", "3 seeds", "imported", "402", "Models, 500 samples", "Hollow: controls"):
        assert shown in page.words
    assert 'title="not told apart from WaveNet small"' in text
    assert "the model gives no exact likelihood" in page.words
    assert "Over 512 samples: DiffWave small and WaveNet small cannot be told apart in FID" in page.words
    tips = [cell.get("title", "") for cell in page.all("td")]
    assert any(tip.startswith("95 % interval [17.072, 19.668]; mean over training seeds (0: 18.31,") for tip in tips)
    sorting = {head.get("data-sort") for head in page.all("th") if "data-sort" in head}
    assert sorting == {"number", "text"}
    # In colour: what no comparable model beats. The single NLL of its space leads nothing.
    assert len(re.findall(r'class="first"', text)) == 5  # two tied in FID, one each in IS, mIS, AM


def test_rows_that_were_given_something_are_marked_everywhere():
    data = sample()
    given = row("given", [run([3, 8, 90, 0.3])], title="WaveNet small", conditional="0.25 s prefix", nfe=16000)
    audio = {"given": data.audio["wavenet"][:1]}
    page = render(
        dataclasses.replace(data, rows=[*data.rows, given], audio=audio, histograms={"given": {"a": 1, "b": 2}})
    )
    assert '<span class="tag given">conditional: 0.25 s prefix</span>' in page
    assert "<h3>WaveNet small (conditional: 0.25 s prefix)</h3>" in page
    assert "Models, 512 samples (conditional: 0.25 s prefix) <span>Conditional rows are ranked apart" in page
    assert '<td data-value="16000" class="count">16,000</td>' in page
    assert '<td data-value="50" class="count">50</td>' in page
    assert "WaveNet small (conditional)</figcaption>" in page  # what was heard


def test_every_number_and_its_source_is_listed(page, text):
    links = [link["href"] for link in page.all("a")]
    for entry in rows():
        for one in entry["runs"]:
            assert f"../{one['source']}/" in links
    numbers = text.split('<table class="plain numbers sortable">', 1)[1].split("</details>", 1)[0]
    assert numbers.count('<tr><th scope="row">') == sum(len(one["scores"]) for entry in rows() for one in entry["runs"])
    assert numbers.count("infinitesimal jackknife") == 1  # what many numbers have in common is said once
    assert "<td>1</td></tr>" in numbers


def test_provenance_names_each_artifact_and_the_command(page, text):
    for step in provenance("wavenet"):
        assert step["path"] in page.words
        assert step["digest"] in text
    assert "1 h 23 min" in page.words
    assert "layers = 20" in page.words
    assert "python -m pipeline.test_data --models wavenet --preset small" in page.words
    assert "commit 0123456789, modified" in page.words


def test_settings_of_an_artifact_behind_several_rows_are_listed_once():
    shared = provenance("wavenet")
    data = dataclasses.replace(sample(), provenance={"wavenet": shared, "diffwave": shared})
    text = render(data)
    with_settings = sum(bool(step.get("settings")) for step in shared)
    assert text.count('<details class="settings">') == with_settings == text.count("as above</a>")
    assert all(f'id="{link}"' in text for link in re.findall(r'href="#(artifact-\d+)"', text))


def test_the_sounds_beside_the_page_are_the_given_codes(tmp_path):
    given = sample().audio
    page = Page(write_report(sample(), tmp_path).read_text(encoding="utf-8"))
    sounds = [audio["src"] for audio in page.all("audio")]
    order = ["real", "diffwave", "wavenet", "sashimi", "noise"]  # real clips first, then as in the table
    expected = [one["codes"] for name in order for one in given[name]]
    assert len(sounds) == len(expected) == 60
    assert {f"audio/{file.name}" for file in (tmp_path / "audio").iterdir()} == set(sounds)
    for place, codes in zip(sounds[::7], expected[::7], strict=True):
        heard, rate = soundfile.read(tmp_path / place, dtype="int16")
        assert rate == RATE
        np.testing.assert_array_equal(heard, codes)


def played(codes: np.ndarray) -> dict[str, Any]:
    return {"caption": "x", "codes": codes, "sample_rate": RATE}


def test_audio_beyond_the_budget_is_compressed_and_says_so():
    long = played(np.tile(clip(3, "voice"), 40))
    sounds = players.Sounds([long], budget=1000)
    place = sounds.player(long).sound
    assert not sounds.lossless
    assert place.endswith(".ogg")
    assert soundfile.info(io.BytesIO(sounds.files[place])).frames == 40 * RATE
    assert players.Sounds([long]).lossless


def test_incompressible_audio_is_wav_when_that_is_smaller():
    white = played(np.random.default_rng(0).integers(-32768, 32768, 4000).astype(np.int16))
    assert players.Sounds([white]).player(white).sound.endswith(".wav")


def test_a_clip_that_is_played_twice_is_one_file():
    here, there, other = played(clip(3, "voice")), played(clip(3, "voice")), played(clip(4, "voice"))
    sounds = players.Sounds([here, there, other])
    assert len({sounds.player(one).sound for one in (here, there, other)}) == len(sounds.files) == 2


def test_a_spectrogram_shows_a_tone_at_its_height():
    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.int16)
    power = players.mel_power(tone, RATE)
    mel = 2595 * np.log10(1 + 1000 / 700)
    expected = int(players.ROWS * mel / (2595 * np.log10(1 + 8000 / 700)))
    assert abs(int(power[:, 75].argmax()) - expected) <= 1
    uri = players.spectrogram_uri(tone, RATE, players.shared_scale([(tone, RATE)]))
    pixels = matplotlib.image.imread(io.BytesIO(decoded(uri)))
    assert pixels.shape == (players.ROWS, players.COLUMNS)
    assert abs(int(pixels[:, 75].argmin()) - (players.ROWS - 1 - expected)) <= 1  # low frequencies at the bottom
    assert pixels.min() == 0
    assert pixels[0].mean() > 0.9


def test_clips_share_one_scale():
    loud, quiet = np.full(1000, 8000, np.int16), np.full(1000, 800, np.int16)
    scale = players.shared_scale([(loud, RATE), (quiet, RATE)])
    assert scale.peak == 8000
    tops = [float(re.findall(r"^M0 (-?\d+)V", players.waveform_path(codes, scale))[0]) for codes in (loud, quiet)]
    assert tops == [pytest.approx(0, abs=2), pytest.approx(0.45 * players.HEIGHT, abs=2)]


@pytest.mark.parametrize("length", [1, 40, 200, 16001])
def test_clips_of_any_length_and_silence_can_be_drawn(length):
    silence = np.zeros(length, np.int16)
    scale = players.shared_scale([(silence, RATE)])
    assert players.waveform_path(silence, scale).count("M") == players.COLUMNS
    pixels = matplotlib.image.imread(io.BytesIO(decoded(players.spectrogram_uri(silence, RATE, scale))))
    assert pixels.min() == pixels.max() >= 1  # white; matplotlib scales four bits as if they were eight


def test_the_least_data_makes_a_page(tmp_path):
    path = write_report(ReportData({"name": "c", "title": "C"}, rows()[:1], metrics()), tmp_path / "report")
    page = Page(path.read_text(encoding="utf-8"))
    assert "One generator has been measured: WaveNet small." in page.words
    ids = {tag["id"] for tag in page.all("section")}
    assert ids == {"leaderboard", "corpus", "missing"}
    for absent in ("Listening grids: no clips were given", "Thresholds: no thresholds were tuned"):
        assert absent in page.words
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]


def test_no_rows_yet_is_a_page_too():
    assert (
        "No generator has been measured yet."
        in Page(render(ReportData({"name": "c", "title": "C"}, [], metrics()))).words
    )


def test_the_same_data_gives_the_same_page(text):
    assert render(sample()) == text


@pytest.mark.parametrize("field", ["audio", "about_audio", "provenance", "commands", "histograms"])
def test_what_belongs_to_no_row_is_refused(field):
    wrong: dict[str, Any] = {field: {"wavnet": []}}
    data = dataclasses.replace(sample(), **wrong)
    with pytest.raises(ValueError, match=f"{field} names 'wavnet', which is no row. Rows: diffwave, wavenet"):
        render(data)


def test_a_class_without_test_clips_has_no_accuracy():
    classifier = {"name": "x", "labels": ["a", "b"], "confusion": [[3, 1], [0, 0]], "per_class_accuracy": [0.75, None]}
    page = Page(render(dataclasses.replace(sample(), classifier=classifier)))
    assert "75.0 %" in page.words
    assert [cell for cell in page.all("td") if cell.get("class") == "each"] == [{"class": "each"}] * 2


def test_the_page_says_which_clips_these_are(page):
    assert "From unlikely to likely" in page.words
    assert "log likelihood −37,800" in page.words


def test_many_labels_leave_the_matrix_out_with_a_word():
    labels = [f"label-{index}" for index in range(60)]
    data = dataclasses.replace(sample(), classifier={"name": "x", "labels": labels, "confusion": np.eye(60).tolist()})
    assert "60 labels: the confusion matrix is in the classifier's artifact." in Page(render(data)).words


def test_ticks_are_round_numbers_inside_the_axis():
    assert axes.nice_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert axes.nice_ticks(3.1, 7.9) == [4, 5, 6, 7] or axes.nice_ticks(3.1, 7.9) == [4, 6]
    assert axes.Axis(1.2, 520, 0, 100, log=True).ticks() == [2, 5, 10, 20, 50, 100, 200, 500]
    assert [axes.short(value) for value in (0.2, 1000, 40_000, 3e6)] == ["0.2", "1000", "40k", "3M"]


def test_plots_leave_out_what_is_missing_and_bear_constants():
    drawn = plots.curves({"a": ([0, 1, 2], [1.0, None, float("nan")]), "b": ([0, 2], [1.0, 1.0])}, "nats", "x")
    assert "nan" not in drawn
    assert plots.curves({"a": ([], [])}, "nats", "x") == ""


def test_links_stay_below_the_corpus_folder():
    assert artifact_link("wavenet/small+a=1-seed0/1-train") == "../wavenet/small%2Ba%3D1-seed0/1-train/"
    for path in ("", "/etc", "../x", "a/../../x", "javascript:alert(1)"):
        assert artifact_link(path) == ""


def test_durations_read_well():
    shown = [duration(seconds) for seconds in (None, 0.44, 12.4, 59.7, 200, 3599.9, 7500)]
    assert shown == ["–", "0.4 s", "12 s", "1 min 00 s", "3 min 20 s", "1 h 00 min", "2 h 05 min"]
