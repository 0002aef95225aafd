"""The few words that all tasks share: corpus, model, preset, seed, count, settings, classifier.

A parameter is checked when a task is made, so that a wrong name fails before anything runs.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import luigi

from tasks import descriptions
from tasks import settings as setting_tools
from tasks.errors import EarshotError, unknown
from tasks.settings import Settings

PRESETS = ("smoke", "small", "paper")


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

        value = value.replace("-", "_")
        if value not in corpora.names():
            raise EarshotError(unknown("corpus", value, corpora.names(), f"Add one as tasks/corpora/{value}.py"))
        return value


class ModelParameter(luigi.Parameter[str]):
    """The name of a generator, a file in models/generators/, or `path/to/mine.py:Mine`."""

    def normalize(self, value: str) -> str:
        if not value:  # tasks about imported samples have no model
            return value
        check_plugin("generators", value)
        file, colon, cls = value.rpartition(":")
        return f"{Path(file).resolve()}:{cls}" if colon else value


def check_name(what: str, value: str) -> None:
    """Raise EarshotError unless `value` can be the name of one visible folder."""
    if not re.fullmatch(r"\w[\w .+-]*", value) or value.endswith(".partial"):
        raise EarshotError(
            f"{what} {value!r} cannot name a folder: write letters, digits, spaces and . _ + -, beginning with a letter "
            "or digit and not ending in .partial"
        )


def check_plugin(kind: str, value: str) -> None:
    """Raise EarshotError unless `value` names a file in models/<kind>/, or an existing `file.py:Class`."""
    file, colon, cls = value.rpartition(":")
    if colon:
        if not (file.endswith(".py") and Path(file).is_file() and cls.isidentifier()):
            raise EarshotError(f"no such model: {value!r}; write path/to/file.py:ClassName, with a file that exists")
        return
    names = plugin_names(kind)
    if value not in names:
        what = kind.removesuffix("s").replace("generator", "model")
        raise EarshotError(unknown(what, value, names, f"Add one as models/{kind}/{value}.py"))


def plugin_names(kind: str) -> list[str]:
    """The plug-ins of a kind, `generators` or `classifiers`: their files' names."""
    import importlib

    return list(importlib.import_module(f"models.{kind}").names())


def model_name(spec: str) -> str:
    """What a model is called in paths and settings: `wavenet`, or `Mine` for `path/to/mine.py:Mine`."""
    return spec.rpartition(":")[2]


def preset_settings(kind: str, spec: str, preset: str, settings: Settings, space: str) -> tuple[dict[str, Any], str]:
    """(resolved settings, what the path calls them: `small`, `small+layers=20`) of a model's preset.

    Raises EarshotError for a preset or a field that does not exist.
    """
    presets = descriptions.of_model(kind, spec)["presets"]
    if preset not in presets:
        raise EarshotError(unknown(f"preset of {spec}", preset, presets))
    defaults = presets[preset] | (setting_tools.LIMITS if kind == "generators" else {})
    resolved = setting_tools.resolve(defaults, settings, space)
    return resolved, preset + setting_tools.variant(defaults, resolved)
