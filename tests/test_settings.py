"""Settings by name: how they are read, what they come to, how paths show them, and what is said of wrong ones."""

import pytest

from tasks import descriptions, settings
from tasks.errors import EarshotError
from tasks.evaluation import EvaluateSamples
from tasks.parameters import SettingsParameter, preset_settings

DEFAULTS = {
    "layers": 30, "rate": 1e-3, "name": "cosine", "ema": True, "limit": None, "sizes": [1, 2], "whole": 2.0,
}  # fmt: skip


def resolve(*assignments):
    return settings.resolve(DEFAULTS, settings.parse(assignments), "wavenet")


def variant(*assignments):
    return settings.variant(DEFAULTS, resolve(*assignments))


def test_assignments_are_sorted_pairs_and_the_last_of_several_wins():
    assert settings.parse(["b.x=2", " a.y = 1 ", "b.x=3"]) == (("a.y", "1"), ("b.x", "3"))
    assert settings.parse(["a.text=x=y.z"]) == (("a.text", "x=y.z"),)
    assert settings.parse([]) == ()


@pytest.mark.parametrize("text", ["layers=20", "wavenet.layers", "wavenet.=20", ".layers=20", "=20", "", "wavenet=a.b"])
def test_what_cannot_be_read_is_refused_with_an_example(text):
    with pytest.raises(EarshotError, match=r"write SPACE\.FIELD=VALUE, e\.g\. wavenet\.layers=20"):
        settings.parse([text])


@pytest.mark.parametrize(
    ("assignment", "field", "value"),
    [
        ("wavenet.layers=20", "layers", 20),
        ("wavenet.rate=3e-4", "rate", 3e-4),
        ("wavenet.rate=1", "rate", 1.0),
        ("wavenet.name=plateau", "name", "plateau"),
        ("wavenet.name=20", "name", "20"),
        ("wavenet.ema=false", "ema", False),
        ("wavenet.ema=Yes", "ema", True),
        ("wavenet.limit=500", "limit", 500),
        ("wavenet.limit=None", "limit", None),
        ("wavenet.sizes=3,4", "sizes", [3, 4]),
        ("wavenet.sizes=[5]", "sizes", [5]),
        ("wavenet.sizes=6", "sizes", [6]),
    ],
)
def test_a_value_is_read_as_what_its_default_is(assignment, field, value):
    found = resolve(assignment)[field]
    assert found == value
    assert type(found) is type(value)


def test_only_the_named_space_is_touched():
    found = resolve("classifier.layers=3", "wavenet.layers=20")
    assert found == DEFAULTS | {"layers": 20}
    pairs = settings.parse(["classifier.layers=3", "wavenet.layers=20", "corpus.x=1"])
    assert settings.in_space(pairs, "wavenet", "corpus") == (("corpus.x", "1"), ("wavenet.layers", "20"))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("wavenet.layer=20", "unknown setting of wavenet 'layer'. Did you mean layers? Available: ema, layers"),
        ("wavenet.layers=many", "cannot read wavenet.layers=many: its default is 30"),
        ("wavenet.layers=2.5", "wavenet.layers is of type int, like 30, not '2.5'"),
        ("wavenet.layers=True", "wavenet.layers is of type int, like 30, not 'True'"),
        ("wavenet.ema=maybe", "wavenet.ema is true or false, not 'maybe'"),
        ("wavenet.rate=fast", "cannot read wavenet.rate=fast"),
        ("wavenet.rate=[1]", "wavenet.rate is of type float, like 0.001"),
    ],
)
def test_wrong_settings_are_refused_by_name(assignment, message):
    with pytest.raises(EarshotError) as refusal:
        resolve(assignment)
    assert message in str(refusal.value)


def test_a_setting_of_no_space_is_not_passed_over():
    given = settings.parse(["noise.bands=9", "classifier.steps=3", "sashimi.steps=3", "My.size=1"])
    settings.check_spaces(given, ("corpus", "My"))
    with pytest.raises(EarshotError, match=r"unknown space of settings 'My'\. .*Available: classifier, corpus"):
        settings.check_spaces(given, ("corpus",))
    with pytest.raises(EarshotError, match=r"unknown space of settings 'wavnet'\. Did you mean wavenet\?"):
        EvaluateSamples(model="noise", preset="smoke", settings=(("wavnet.steps", "2"),)).complete()


def test_a_path_shows_what_was_changed_and_only_that():
    assert variant() == ""
    assert variant("wavenet.layers=30", "wavenet.rate=0.001", "wavenet.ema=true") == ""
    assert variant("wavenet.rate=0.01", "wavenet.layers=20") == "+layers=20+rate=0.01"
    assert variant("wavenet.sizes=3,4", "wavenet.ema=no") == "+ema=False+sizes=3,4"


@pytest.mark.parametrize("text", ["../../etc", "a/b", "x+y=z", "a\nb", "*"])
def test_whatever_is_set_stays_one_harmless_name_in_a_path(text):
    shown = settings.variant(DEFAULTS, DEFAULTS | {"name": text})
    assert not set(shown.removeprefix("+name=")) & set("/+=\n*")
    assert shown.startswith("+name=")


def test_settings_that_a_model_refuses_are_refused_at_once(monkeypatch):
    asked = []

    def ask(module, words, sources, failure):
        asked.append(words)
        if words[0] == "--check" and '"layers":0' in words[2]:
            raise EarshotError(f"{failure}: layers=0 must be at least 1")
        return {} if words[0] == "--check" else {words[0]: {"presets": {"smoke": {"layers": 4}, "../x": {}}}}

    monkeypatch.setattr(descriptions, "_ask", ask)
    for cached in (descriptions.of_model, descriptions._check):
        cached.cache_clear()
    try:
        preset_settings("generators", "noise", "smoke", settings.parse(["noise.max_steps=7"]), "noise")
        assert [words[0] for words in asked] == ["generators/noise"]
        for text, name in (("noise.layers=5", "smoke+layers=5"), ("noise.layers=4", "smoke")):
            assert preset_settings("generators", "noise", "smoke", settings.parse([text]), "noise")[1] == name
        with pytest.raises(EarshotError, match=r"these settings of noise make no sense: layers=0 must be at least 1"):
            preset_settings("generators", "noise", "smoke", settings.parse(["noise.layers=0"]), "noise")
        with pytest.raises(EarshotError, match="cannot name a folder"):
            preset_settings("generators", "noise", "../x", (), "noise")
    finally:
        for cached in (descriptions.of_model, descriptions._check):
            cached.cache_clear()


def test_luigis_spelling_of_settings_reads_back_as_what_was_written():
    parameter = SettingsParameter()
    pairs = settings.parse(["wavenet.sizes=3,4", "corpus.sample_rate=8000"])
    assert parameter.serialize(pairs) == "corpus.sample_rate=8000,wavenet.sizes=3,4"
    assert parameter.parse(parameter.serialize(pairs)) == pairs
    assert parameter.normalize(list(pairs)) == pairs
    assert parameter.parse("") == ()
