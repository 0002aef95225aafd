"""The parts of the page behind the leaderboard: what they show, what they say where there is nothing, how plots are drawn."""

import dataclasses
import math
import re
from typing import Any

import pytest
from markupsafe import Markup

from evaluation.report import axes, bins, labels, looks, memorization, parts, planes, rails, tracks
from evaluation.report.page import render, rendered
from evaluation.seeds import merge_seeds
from evaluation.standings import Standing, standings
from tests.report_parts import checkpoints, full, memorizer, more_metrics, pair, second, tuned
from tests.report_sample import DIGITS, row, rows, run, sample, score
from tests.test_report import HOSTILE, Page

SECTIONS = ["infinity", "parts", "classes", "bins", "planes", "memorization", "influence", "thresholds"]


@pytest.fixture(scope="module")
def text() -> str:
    return render(full())


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def part(text: str, name: str) -> str:
    """One section of the page."""
    return text.split(f'<section id="{name}">', 1)[1].split("</section>", 1)[0]


def lines_of(table: list[dict[str, Any]]) -> list[Standing]:
    return standings(merge_seeds(table), more_metrics())


def generator(name: str, **scores: dict[str, Any]) -> dict[str, Any]:
    """A row of which only these scores, of keys below v1/, are known."""
    one = run([20, 4, 9, 1])
    one["scores"] |= {f"v1/{key}": value for key, value in scores.items()}
    return row(name, [one], title=name)


def test_the_parts_come_in_their_order_and_the_navigation_leads_to_them(page: Page, text: str) -> None:
    order = [section["id"] for section in page.all("section")]
    assert order == ["leaderboard", *SECTIONS, "listen", "training", "classifier", "provenance", "corpus"]
    anchors = [link["href"] for link in page.all("a") if link["href"].startswith("#")]
    anchors = [link for link in anchors if not link.startswith("#artifact-")]  # where settings are listed
    assert anchors == ["#leaderboard", *(f"#{name}" for name in order)]  # the first skips to it
    assert len(text.encode()) < 1_200_000


def test_every_part_can_be_absent_and_one_line_says_why(page: Page) -> None:
    least = Page(render(dataclasses.replace(sample(), histograms={}, audio={}, curves={})))
    ids = [section["id"] for section in least.all("section")]
    assert not set(ids) & set(SECTIONS)
    told = least.words.split("Not on this page", 1)[1]
    assert told.count(": ") >= len(SECTIONS) + 3
    for line in ("Classes: it was not measured for any row", "no thresholds were tuned", "no clips were given"):
        assert line in told
    assert "Not on this page" not in page.words


@pytest.mark.parametrize("name", SECTIONS)
def test_a_part_is_drawn_from_a_single_row(name: str) -> None:
    data = full()
    wavenet = [entry for entry in data.rows if entry["name"] == "wavenet"]
    kept = {field: {"wavenet": getattr(data, field)["wavenet"]} for field in ("audio", "histograms")}
    alone = dataclasses.replace(data, rows=wavenet, about_audio={}, provenance={}, commands={}, **kept)
    shown = part(render(alone), name)
    assert "WaveNet small" in shown
    assert "nan" not in re.sub(r"[\w+/=]{40,}", "", shown)  # no plot goes astray; pictures are base64


def test_what_copies_and_what_has_collapsed_stand_last_on_the_first_screen_which_says_so() -> None:
    collapsed = run([150.0, 1.0, 1.0, 2.2], None, "imported/one-trick")
    collapsed["scores"]["v1/is"]["details"]["alarm"] = "has collapsed: its clips are as diverse as 1.0"
    table = [*rows(), memorizer(), row("one-trick", [collapsed], "imported", "One trick")]
    text = render(dataclasses.replace(full(), rows=table))
    first = text[: text.index("Controls <span>")]
    assert "⚠ Last, and not ranked: Photographic memory, One trick." in Page(text).words
    order = [first.rindex(title) for title in ("DiffWave small", "Spectrum-matched noise", "Models, not ranked")]
    order += [first.rindex(title) for title in ("510 of 512 clips are copies", "has collapsed")]
    assert order == sorted(order)
    assert first.count(' alarmed">') == 2


def test_the_headline_is_drawn_beside_the_table_with_intervals_and_ranks(text: str) -> None:
    board = part(text, "leaderboard")
    places = {
        title: float(dot)
        for title, dot in re.findall(
            r'<span class="title">([^<]+)</span>.*?class="dot" style="left:([\d.]+)%"', board, re.DOTALL
        )
    }
    assert places["DiffWave small"] < places["WaveNet small"] < places["SaShiMi small"] < places["White noise"]
    assert all(0 <= place <= 100 for place in places.values())
    ranks = re.findall(
        r'title="(?:[^"]*)">(\d[–\d]*)</span><span class="span"[^>]*><i style="left:([\d.]+)%;width:([\d.]+)%"', board
    )
    assert ranks == [
        ("1–2", "0.0", "50.0"),
        ("1–2", "0.0", "50.0"),
        ("3", "50.0", "25.0"),
        ("4", "75.0", "25.0"),
        ("1", "0.0", "100.0"),
    ]
    assert 'class="target"' in board  # where held-out clips are


def test_the_axis_of_the_headline_is_linear_where_a_value_is_not_positive() -> None:
    below = row("below", [run([-0.4, 4, 9, 1])])
    shown = lines_of([below, row("above", [run([90.0, 4, 9, 1])])])
    column = tracks.column(shown, more_metrics()[0])
    assert column is not None
    assert column.label == "FID"
    assert tracks.column([], more_metrics()[0]) is None
    wide = tracks.column(lines_of([row("a", [run([1.0])]), row("b", [run([90.0])])]), more_metrics()[0])
    assert wide is not None
    assert wide.label == "FID, log scale"


def test_rows_keep_their_colour_in_every_plot(text: str) -> None:
    found = looks.looks(lines_of(full().rows))
    assert found["diffwave"].classes == "c0"
    assert found["wavenet"].classes == "c1"
    assert found["held-out"].classes == "grey hollow"
    assert found["photographic"].classes.endswith("hollow")
    assert found["photographic"].title == "⚠ Photographic memory"
    many = [row(f"m{i}", [run([20 + i, 4, 9, 1])]) for i in range(12)]
    assert looks.looks(lines_of(many))["m9"].colour == "c0"
    for name in ("infinity", "planes"):
        assert re.search(r'<g class="c1">(?:(?!</g>).)*WaveNet small', part(text, name)), name


def test_the_extrapolation_draws_models_and_leaves_out_what_has_an_alarm(text: str) -> None:
    shown = part(text, "infinity")
    assert shown.count('class="point"') == 15 * 4  # WaveNet's first seed, DiffWave, noise, held-out clips
    assert "Not drawn, but in the table: ⚠ Photographic memory." in shown
    assert "∞" in shown
    assert "FID on a log scale" in shown
    assert "The extrapolation in numbers" in shown


def test_is_is_a_length_and_am_a_sum(text: str) -> None:
    shown = part(text, "parts")
    wide = re.search(r"mean entropy ([\d.]+), entropy of the mean ([\d.]+) nats", shown)
    assert wide is not None
    unsure, varied = map(float, wide.groups())
    assert unsure == pytest.approx(0.2 + 0.2, abs=1e-3)  # DiffWave's confidence
    assert varied - unsure == pytest.approx(math.log(5.02), abs=2e-3)
    assert "imbalance 0.300" in shown


def test_a_histogram_shows_which_classes_miss_the_corpus() -> None:
    even = dict.fromkeys(DIGITS, 100.0)
    drawn = parts.histogram(even | {"one": 10.0}, even, "x")
    assert drawn.count("bar off") == 1
    assert "one: 10.0 of 910.0, corpus 10.0 %" in drawn
    assert parts.histogram(even, None, "x").count("bar off") == 0


def test_intervals_of_shares() -> None:
    assert parts.wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert parts.wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    [(low, high), _] = parts.goodman([5, 5])  # at 0.05 / 2 each
    assert (low, high) == pytest.approx(parts.wilson(5, 10, 2.241403), abs=1e-6)


def test_the_map_of_classes_says_what_is_worst_and_what_is_never_made(text: str) -> None:
    shown = part(text, "classes")
    assert shown.count('<table class="heat"') == 2
    assert "none</td>" in shown
    assert 'style="--shade:1.000"' in shown
    assert ">0.75</td>" in shown  # 1.5 over 2
    assert "zero" in shown
    alone = dataclasses.replace(full(), rows=[generator("x", **_keys(second(1.0)))], **_NO_CLIPS)
    assert "3.00 (2.00 to 4.00)" in part(render(alone), "classes")


def _keys(scores: dict[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("v1/"): value for key, value in scores.items()}


def test_more_classes_than_a_map_has_room_for_are_left_out_with_a_word() -> None:
    scores = second(1.0)
    for key in ("v1/fid/per-class", "v1/vendi/per-class"):
        entry = scores[key]["details"]["classes"][0]
        scores[key]["details"]["classes"] = [{**entry, "class": i} for i in range(90)]
    words = Page(render(dataclasses.replace(full(), rows=[generator("x", **_keys(scores))], **_NO_CLIPS))).words
    assert "90 classes are more than a map has room for" in words


_NO_CLIPS: dict[str, Any] = {
    field: {}
    for field in (
        "audio",
        "about_audio",
        "provenance",
        "commands",
        "histograms",
        "bins",
        "pairs",
        "influential",
        "thresholds",
    )
}


def test_the_worst_bins_are_chosen_among_those_beyond_chance() -> None:
    known = [{"z": z, "holm": holm} for z, holm in ((9.0, False), (4.0, True), (6.0, True), (-5.0, True), (-8.0, True))]
    assert bins.extremes({"bins": known}) == [2, 4]
    assert bins.extremes({"bins": known[:1]}) == []
    assert bins.extremes({}) == []


def test_bins_show_both_shares_and_play_the_worst(text: str, page: Page) -> None:
    shown = part(text, "bins")
    beyond = sum(one["holm"] for one in full().rows[0]["runs"][0]["scores"]["v1/ndb"]["details"]["bins"])
    wavenet = shown.split("WaveNet small: NDB/K", 1)[1].split("</svg>", 1)[0]
    assert wavenet.count("bar off") == wavenet.count("▲") + wavenet.count("▼") == beyond
    (steps,) = re.findall(r'<path d="([^"]*)" class="expected"/>', wavenet)
    assert steps.count("M") == 12
    assert "By chance alone NDB/K would be 0.050. That all shares are the corpus&#39;s: p = 0.0200" in shown
    assert shown.count("<audio") == 3
    assert "<summary>Controls</summary>" in shown


def test_planes_mark_where_a_perfect_generator_would_be(text: str) -> None:
    shown = part(text, "planes")
    assert "A perfect generator, at the count of most rows: recall 0.950, precision 0.960." in shown
    assert shown.count('class="diagonal"') == 4
    assert "DiffWave small recall 0.720 ±0.039, precision 0.760 ±0.039" in shown  # for those who cannot see it


def test_points_that_lie_on_one_another_share_a_label() -> None:
    same = {"recall": score("v1/recall", 0.5, 0.01), "precision": score("v1/precision", 0.5, 0.01)}
    table = lines_of([generator("alike", **same), generator("too", **same)])
    drawn = planes.section(table, looks.looks(table)).groups[0].figures[0].plot
    assert ">alike, too</text>" in drawn


def test_memorization_shows_curves_pairs_and_what_held_out_clips_reach(text: str) -> None:
    shown = part(text, "memorization")
    assert "distance 0.12 · correlation 1.00 · identical" in shown
    assert "distance 0.12 · correlation −0.31" in shown
    assert "stay below 0.64" in shown
    assert shown.count("<audio") == shown.count("data:image/png") == 4
    assert "copies the training set: 510 of 512 clips are copies" in shown
    for curve in ("curve own", "curve held", "curve dashed", "band"):
        assert f'class="{curve}"' in shown


def test_a_correlation_beyond_held_out_clips_is_marked() -> None:
    found = {"limit": 0.2, "pairs": [pair(802)]}
    text = render(dataclasses.replace(full(), pairs={"wavenet": found}))
    assert "correlation −0.31 · ⚠" in part(text, "memorization")
    unknown = render(dataclasses.replace(full(), pairs={"wavenet": found | {"limit": None}}))
    assert "The correlation is of" not in unknown


def test_best_and_worst_samples_are_played(text: str) -> None:
    shown = part(text, "influence")
    assert shown.index("<h4>Worst") < shown.index("<h4>Best")
    assert shown.count("<audio") == 4
    assert "data:image/png" not in shown  # spectrograms are for pairs and grids


def test_the_surface_marks_the_chosen_cell_and_what_it_gave(text: str) -> None:
    shown = part(text, "thresholds")
    assert re.search(r'class="chosen"[^>]*>18.000<', shown)
    assert "kept (180)" in shown
    assert "quantiles 10 to 80 %, 180 of 256 samples" in shown
    assert "would keep 40 to 95 %" in shown
    assert "–</td>" in shown  # a cell without a value
    best = tuned() | {"better": "higher", "criterion": "is"}
    assert "IS" in render(dataclasses.replace(full(), thresholds={"wavenet": [best]}))


def test_a_measure_over_training_names_its_best_checkpoint(text: str) -> None:
    shown = part(text, "training")
    assert "Best by FID: step 2000; not told apart from it: step 2500." in shown
    assert shown.count('class="ring"') == 1
    assert shown.count("dot accent") == len(checkpoints()["checkpoints"])


def test_disagreements_of_the_protocols_are_sentences() -> None:
    table = rows()
    for entry, value in zip(table[:3], (9.0, 50.0, 8.0), strict=True):
        for one in entry["runs"]:
            one["scores"]["sashimi/fid"] = score("v1/fid", value, 0.0) | {"key": "sashimi/fid"}
    words = Page(render(dataclasses.replace(full(), rows=table))).words
    assert "FID ranks DiffWave small over SaShiMi small" in words
    assert "in the published script" in words


def test_hostile_texts_are_only_texts_in_every_part() -> None:
    data, scores = full(), second(0.4)
    scores["v1/authpct"]["details"]["alarm"] = HOSTILE
    scores["v1/fid/per-class"]["details"]["classes"][9]["reason"] = HOSTILE
    one = run([20, 4, 9, 1], 0, "x")
    one["scores"] |= scores
    hostile_clip = {**pair(802)["real"], "caption": HOSTILE, "details": {HOSTILE: HOSTILE}}
    ends = {"worst": [hostile_clip], "best": [hostile_clip]}
    surface = tuned() | {"title": HOSTILE}
    surface["surface"][0]["reason"] = HOSTILE
    training = checkpoints() | {"title": HOSTILE, "criterion": {"key": "v1/fid", "name": HOSTILE, "better": "lower"}}
    training["checkpoints"][0]["name"] = HOSTILE
    bad = dataclasses.replace(
        data,
        rows=[row(HOSTILE, [one], title=HOSTILE, note=HOSTILE, conditional=HOSTILE)],
        classifier={"name": "x", "labels": [HOSTILE] * 10},
        **_NO_CLIPS
        | {
            "histograms": {HOSTILE: {HOSTILE: 3, "b": 4}, "real": {HOSTILE: 1, "b": 1}},
            "bins": {HOSTILE: {0: {"generated": [hostile_clip], "real": [hostile_clip]}}},
            "pairs": {
                HOSTILE: {"limit": 0.1, "pairs": [{**pair(802), "generated": hostile_clip, "real": hostile_clip}]}
            },
            "influential": {HOSTILE: ends},
            "thresholds": {HOSTILE: [surface]},
        },
        checkpoints=[training],
    )
    text = render(bad)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert all(image["src"].startswith("data:image/png") for image in page.all("img"))
    assert all(audio["src"].startswith("audio/") for audio in page.all("audio"))
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert "<script>alert" not in text
    for name in SECTIONS:
        assert "&lt;script&gt;" in part(text, name) or "&lt;script" in part(text, name), name


def test_plots_say_in_words_what_they_show(page: Page) -> None:
    plots = page.all("svg")
    named = [one for one in plots if one.get("role") == "img"]
    assert len(named) > 15
    assert all(one["aria-label"] for one in named)
    assert all(one.get("aria-hidden") == "true" for one in plots if one not in named)
    assert all(
        button["aria-label"].startswith("Play ") for button in page.all("button") if button.get("class") == "play"
    )


def test_a_page_of_many_rows_stays_small_and_readable() -> None:
    table = []
    for i in range(14):
        one = run([20.0 + 9 * i, 4, 9, 1])
        one["scores"] |= second(1 - i / 14, seed=i)
        table.append(row(f"model-{i}", [one], title=f"Model {i} with a rather long name"))
    text, files = rendered(dataclasses.replace(full(), rows=table, **_NO_CLIPS))
    assert len(text.encode()) < 500_000
    assert not files
    words = part(text, "planes")
    assert all(f"Model {i} with a rather" in words for i in range(14))


def test_labels_do_not_cover_each_other_where_there_is_room() -> None:
    points = [(100.0, 100.0 + 3 * i) for i in range(5)]
    found = labels.place(points, ["a label"] * 5, labels.Box(0, 0, 400, 400))
    boxes = []
    for one in found:
        wide = labels.LETTER * 7
        left = one.x if one.anchor == "start" else one.x - wide if one.anchor == "end" else one.x - wide / 2
        boxes.append(labels.Box(left, one.y - 10, left + wide, one.y + 2))
    assert all(a.shared(b) == 0 for i, a in enumerate(boxes) for b in boxes[:i])
    assert labels.apart([5, 5, 5], 10, 0, 100) == [5, 15, 25]
    assert labels.apart([95, 95, 95], 10, 0, 100) == [80, 90, 100]


def test_axes() -> None:
    assert axes.span([1.0, 500.0], 0, 100).log
    assert not axes.span([0.0, 500.0], 0, 100).log
    assert not axes.span([1.0, 500.0], 0, 100, zero=True).log
    assert axes.span([], 0, 100).ticks()
    constant = axes.span([5.0, 5.0], 0, 100)
    assert constant.at(5.0) == pytest.approx(50)
    root = axes.Axis(0.0, 1.0, 0.0, 100.0, root=True)
    assert root.at(0.25) == pytest.approx(50)
    assert root.ticks() == [0, 0.02, 0.1, 0.2, 0.5, 1]
    assert axes.with_room([(0.0, "0"), (0.001, "1"), (1.0, "2")], axes.Axis(0, 1, 0, 100)) == [(0.0, "0"), (1.0, "2")]


def test_a_chart_of_rows_escapes_and_keeps_to_its_axis() -> None:
    row_ = rails.Row(HOSTILE, "c0", [rails.Bar(-5.0, 50.0, "bar", HOSTILE)], [(2.0, "dot")], HOSTILE)
    drawn = rails.chart([row_], axes.Axis(0.0, 10.0, rails.LEFT, rails.RIGHT), HOSTILE, [(5.0, HOSTILE)])
    assert isinstance(drawn, Markup)
    assert "<script" not in drawn
    assert "left:2.00%;width:96.00%" in drawn


def test_the_farthest_curve_ends_the_axis_of_all() -> None:
    curves = {"levels": [0.0, 0.5, 1.0], "generated": [0.0, 2.0, 99.0], "held_out": [0.0, 1.0, 3.0]}
    assert memorization._farthest(curves) == 2.0  # the last percent is left out: one stray clip squeezes nobody
