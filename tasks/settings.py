"""Settings by name: `space.field=value`, resolved against a preset's or a corpus's defaults, and shown in paths."""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from models import generators
from tasks.errors import EarshotError, unknown

Settings = tuple[tuple[str, str], ...]  # (("wavenet.layers", "20"), ...): sorted, hashable
SPACES = ("corpus", "classifier", "features", "sampling")  # and every model's own
# What is compared unless somebody says otherwise: one of each family, and the floor.
MODELS = ("wavenet", "sashimi", "wavegan", "flow_matching", "noise")
# Whose features are compared: those of the benchmark's classifier, and of ears that are independent of it.
CLASSIFIER_FEATURES = "classifier"
INDEPENDENT = "melproj"  # the judge of a corpus that has no classes, unless others are named
FEATURES = (CLASSIFIER_FEATURES, INDEPENDENT)
# Limits of a training change its result, so they are settings of every model, and show in its path.
LIMITS: dict[str, Any] = {"max_steps": None, "max_hours": None}


def every_model() -> list[str]:
    """All generators that there are: what `--models all` means."""
    return generators.names()


def parse(assignments: Iterable[str]) -> Settings:
    """`["wavenet.layers=20", ...]` as sorted pairs; the last of several for one field wins."""
    pairs: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        space, dot, field = name.strip().partition(".")
        if not (equals and dot and space and field):
            raise EarshotError(
                f"cannot read the setting {assignment!r}: write SPACE.FIELD=VALUE, e.g. wavenet.layers=20"
            )
        pairs[f"{space}.{field}"] = value.strip()
    return tuple(sorted(pairs.items()))


def in_space(settings: Settings, *spaces: str) -> Settings:
    """The settings that concern the given spaces."""
    return tuple((name, value) for name, value in settings if name.partition(".")[0] in spaces)


def check_only(settings: Settings, spaces: Iterable[str]) -> None:
    """Raise EarshotError where a setting is of another space than these."""
    spaces = set(spaces)
    for name, _ in settings:
        if (space := name.partition(".")[0]) not in spaces:
            raise EarshotError(unknown("space of settings", space, spaces))


def check_spaces(settings: Settings, own: Iterable[str]) -> None:
    """Raise EarshotError where a setting is of a space that there is not. own: the spaces that matter to who was given them;
    those of other tasks may be among them."""
    known = (*SPACES, *own)
    if in_space(settings, *known) != settings:  # else nobody needs to look which models there are
        check_only(settings, (*known, *every_model()))


def resolve(defaults: Mapping[str, Any], settings: Settings, space: str) -> dict[str, Any]:
    """`defaults` with the settings of `space` put in, each read as what its default is.

    Raises EarshotError for a field that does not exist or a value of the wrong kind.
    """
    resolved = dict(defaults)
    for name, text in in_space(settings, space):
        field = name.partition(".")[2]
        if field not in defaults:
            raise EarshotError(unknown(f"setting of {space}", field, defaults))
        resolved[field] = _read(text, defaults[field], name)
    return resolved


def _read(text: str, default: Any, name: str) -> Any:
    """The value that `text` stands for, of the kind of `default`."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        choices = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in choices:
            raise EarshotError(f"{name} is true or false, not {text!r}")
        return choices[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise EarshotError(f"cannot read {name}={text}: its default is {default!r}, write it like that") from None
    if isinstance(default, list | tuple):
        return list(value) if isinstance(value, list | tuple) else [value]
    if isinstance(default, float) and isinstance(value, int):
        return float(value)
    if default is not None and type(value) is not type(default):
        raise EarshotError(f"{name} is of type {type(default).__name__}, like {default!r}, not {text!r}")
    return value


def variant(defaults: Mapping[str, Any], resolved: Mapping[str, Any]) -> str:
    """What a path shows of changed settings: `+layers=20+learning_rate=0.001`, or "" where nothing was changed."""
    changed = {field: value for field, value in resolved.items() if value != defaults[field]}
    return "".join(f"+{field}={_spell(value)}" for field, value in sorted(changed.items()))


def _spell(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return quote(text, safe=",.-_ ").replace(" ", "_")


def corpus_settings(corpus: str, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """(defaults, resolved settings) of a corpus; its file is light, so it is simply imported."""
    from tasks import corpora

    defaults = asdict(corpora.find(corpus).config())
    return defaults, resolve(defaults, settings, "corpus")


def of_corpus(corpus: str, models: Iterable[str], preset: str) -> list[str]:
    """The settings with which a corpus' front door trains these models, where nobody says otherwise.

    Of a corpus whose published models hear linear codes, `wavenet.quantization=linear` and the like.
    """
    from tasks import corpora, descriptions

    codes, found = corpora.find(corpus).cls.quantization, []
    for model in models if codes else ():
        settings = descriptions.of_model("generators", model)["presets"].get(preset, {})
        if settings.get("quantization", codes) != codes:
            found.append(f"{model.rpartition(':')[2]}.quantization={codes}")
    return found
