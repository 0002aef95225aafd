"""The few words that all tasks share: corpus, model, preset, seed, count, settings, classifier.

A parameter is checked when a task is made, so that a wrong name fails before anything runs.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import luigi

from models import plugins
from tasks import descriptions, names
from tasks import settings as setting_tools
from tasks.errors import EarshotError, unknown
from tasks.settings import Settings


class SettingsParameter(luigi.Parameter[Settings]):
    """`wavenet.layers=20,sampling.temperature=0.9` <-> sorted pairs. An item without a dot continues the value before it."""

    def parse(self, text: str) -> Settings:
        items: list[str] = []
        for item in filter(None, text.split(",")):
            if "=" in item or not items:
                items.append(item)
            else:
                items[-1] += f",{item}"
        return setting_tools.parse(items)

    def serialize(self, value: Settings) -> str:
        return ",".join(f"{name}={text}" for name, text in value)

    def normalize(self, value: str | Iterable[tuple[str, str]]) -> Settings:
        return self.parse(value) if isinstance(value, str) else tuple(sorted((n, t) for n, t in value))


class CorpusParameter(luigi.Parameter[str]):
    """The name of a corpus: a file in tasks/corpora/."""

    def normalize(self, value: str) -> str:
        from tasks import corpora

        try:
            return corpora.find(value).name
        except ValueError as error:
            raise EarshotError(str(error)) from None


class ModelParameter(luigi.Parameter[str]):
    """The name of a generator, a file in models/generators/, or `path/to/mine.py:Mine`."""

    def normalize(self, value: str) -> str:
        if not value:  # tasks about imported samples have no model
            return value
        check_plugin("generators", value)
        file, colon, cls = value.rpartition(":")
        return f"{Path(file).resolve()}:{cls}" if colon else value


def check_name(what: str, value: str, row: bool = False) -> None:
    """Raise EarshotError unless `value` can be the name of one visible folder (row: and of a row in tables)."""
    try:
        (names.check_row if row else names.check)(what, value)
    except ValueError as error:
        raise EarshotError(str(error)) from None


def check_plugin(kind: str, value: str) -> None:
    """Raise EarshotError unless `value` names a file in models/<kind>/, or an existing `file.py:Class`."""
    try:
        names.check("the model", plugins.find(kind, value).name)
    except ValueError as error:
        raise EarshotError(str(error)) from None


def model_name(spec: str) -> str:
    """What a model is called in paths and settings: `wavenet`, or `Mine` for `path/to/mine.py:Mine`."""
    return spec.rpartition(":")[2]


def preset_settings(kind: str, spec: str, preset: str, settings: Settings, space: str) -> tuple[dict[str, Any], str]:
    """(resolved settings, what the path calls them: `small`, `small+layers=20`) of a model's preset.

    Raises EarshotError for a preset or a field that does not exist, or settings that the model refuses.
    """
    presets = descriptions.of_model(kind, spec)["presets"]
    if preset not in presets:
        raise EarshotError(unknown(f"preset of {spec}", preset, presets))
    check_name(f"the preset of {spec}", preset)
    defaults = presets[preset] | (setting_tools.LIMITS if kind == "generators" else {})
    resolved = setting_tools.resolve(defaults, settings, space)
    own = {field: resolved[field] for field in presets[preset]}
    if own != presets[preset]:
        descriptions.check(kind, spec, own)
    return resolved, preset + setting_tools.variant(defaults, resolved)
