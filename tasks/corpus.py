"""From a corpus to clips of one length: DownloadCorpus and PrepareClips."""

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from tasks import corpora, folders, machine
from tasks import settings as setting_tools
from tasks.artifact import ArtifactTask, Progress
from tasks.parameters import CorpusParameter, SettingsParameter

LABELS = "labels.json"  # the classes in order, [] where there are none
BACKGROUND = "background.npy"  # clips of noise, where the corpus comes with some


class CorpusTask(ArtifactTask):
    """What all tasks about a corpus share. Their folders lie in `_workdir/<corpus>[@rate][+variant]/`."""

    corpus = CorpusParameter(default="spoken_digits", description="a file in tasks/corpora/")
    settings = SettingsParameter(default=(), description="SPACE.FIELD=VALUE,... in place of a preset's")

    def spaces(self) -> tuple[str, ...]:
        """The spaces of settings that matter to this task; others are not handed to it."""
        return ("corpus",)

    def upstream(self, task: type["CorpusTask"], **parameters: Any) -> "CorpusTask":
        """The task of that class about the same things, with the settings that matter to it."""
        return self.clone(task, **parameters).with_own_settings()

    def with_own_settings(self) -> Self:
        """This task without the settings that do not matter to it."""
        return self.clone(settings=setting_tools.in_space(self.settings, *self.spaces()))

    def _complete(self) -> bool:
        setting_tools.check_spaces(self.settings, self.spaces())
        return super()._complete()

    def corpus_settings(self) -> dict[str, Any]:
        """The corpus's settings, resolved."""
        return setting_tools.corpus_settings(self.corpus, self.settings)[1]

    def corpus_config(self) -> Any:
        """The corpus's `Config`; raises ValueError for settings that make no sense."""
        return corpora.find(self.corpus).config(**self.corpus_settings())

    def has_classes(self) -> bool:
        """Whether the corpus has classes, so that a classifier can judge. Known before anything runs.

        Of a local source that is not said any more, what was found in it is asked.
        """
        plugin, source = corpora.find(self.corpus), _source()
        if plugin.cls.needs_source and source is None:
            listed = self.upstream(DownloadCorpus).folder
            if (listed / folders.MANIFEST).exists():
                found = plugin.cls().recordings(self.corpus_config(), listed)
                return any(recording.label is not None for recording in found)
        return _has_classes(self.corpus, folders.canonical(self.corpus_settings()), source)

    def check_corpus(self) -> None:
        """Raise ValueError for settings, or a local source, of which no benchmark can come."""
        corpus, source, config = corpora.find(self.corpus).cls(), _source(), self.corpus_config()
        listed = self.upstream(DownloadCorpus).folder / folders.MANIFEST
        if source is not None or not (corpus.needs_source and listed.exists()):
            corpus.check(config, source)

    def corpus_place(self, fields: Iterable[str] | None = None) -> Path:
        """The corpus's folder. fields: the settings that may show in its name; all of them unless given."""
        defaults, resolved = setting_tools.corpus_settings(self.corpus, self.settings)
        if fields is not None:
            resolved = {name: value if name in fields else defaults[name] for name, value in resolved.items()}
        name = "-".join(filter(None, [self.corpus.replace("_", "-"), resolved.get("name")]))
        rate = f"@{resolved['sample_rate']}" if resolved["sample_rate"] != defaults["sample_rate"] else ""
        shown_otherwise = {field: defaults[field] for field in ("sample_rate", "name") if field in defaults}
        return Path(name + rate + setting_tools.variant(defaults, resolved | shown_otherwise))


class DownloadCorpus(CorpusTask):
    """The recordings as they come: downloaded, taken from `--source`, or synthesized."""

    VERSION = 1
    stage = "download"
    unhashed = ("source.json",)  # where on this machine a local source lay

    def place(self) -> Path:
        return self.corpus_place(corpora.find(self.corpus).cls.download_settings) / "1-download"

    def resolved(self) -> Mapping[str, Any]:
        plugin, settings = corpora.find(self.corpus), self.corpus_settings()
        return {
            "corpus_version": plugin.version,
            "fingerprint": self._fingerprint(),
            **{name: settings[name] for name in plugin.cls.download_settings},
        }

    def expected_bytes(self) -> int:
        return corpora.find(self.corpus).cls().expected_size(self.corpus_config())[0]

    def _fingerprint(self) -> str:
        """What a local source holds; what it held, where a corpus that needs one is looked at without it."""
        corpus, source, config = corpora.find(self.corpus).cls(), _source(), self.folder / folders.CONFIG
        if corpus.needs_source and source is None and config.exists():
            return folders.read_json(config)["settings"]["fingerprint"]
        return corpus.fingerprint(self.corpus_config(), source)

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        corpus = corpora.find(self.corpus).cls()
        return corpus.download(self.corpus_config(), out, _source(), progress, machine.cores())


class PrepareClips(CorpusTask):
    """Every recording as 16-bit clips of one length and rate, in one memory-mappable array: `clips.npy`, `clips.csv`."""

    VERSION = 1
    stage = "clips"

    def place(self) -> Path:
        return self.corpus_place() / "2-clips"

    def inputs(self) -> Mapping[str, ArtifactTask]:
        return {"download": self.upstream(DownloadCorpus)}

    def resolved(self) -> Mapping[str, Any]:
        return {"corpus_version": corpora.find(self.corpus).version, **self.corpus_settings()}

    def build(self, out: Path, progress: Progress) -> dict[str, Any]:
        from tasks.background import prepare_background
        from tasks.clips import prepare_clips

        corpus, config = corpora.find(self.corpus).cls(), self.corpus_config()
        source = self.inputs()["download"].folder
        metrics = prepare_clips(corpus, config, source, out, machine.cores(), progress)
        labels = json.loads((out / LABELS).read_text(encoding="utf-8"))
        if bool(labels) != self.has_classes():
            found = f"the classes {', '.join(labels[:5])}" if labels else "no labels"
            raise ValueError(
                f"the recordings of {self.corpus} have {found}, and its file says otherwise: name them in `labels`, or "
                "write has_classes (tasks/corpora/base.py)"
            )
        if noise := corpus.background(config, source):
            metrics["background_clips"] = prepare_background(noise, config, out / BACKGROUND)
        return metrics

    def expected_bytes(self) -> int:
        config = self.corpus_config()
        return 2 * corpora.find(self.corpus).cls().expected_size(config)[1] * config.timesteps

    def headline(self, metrics: Mapping[str, Any]) -> str:
        return ", ".join(f"{count} {split}" for split, count in metrics["clips"].items())

    def account(self, metrics: Mapping[str, Any]) -> list[str]:
        """What was taken and what was not, where that is not simply everything."""
        lines: list[str] = metrics.get("account", [])
        return lines if len(lines) > 1 or corpora.find(self.corpus).cls.needs_source else []


@functools.cache
def _has_classes(corpus: str, settings: str, source: Path | None) -> bool:
    """Asked of a corpus once in a process: it may have to look at every file of a folder."""
    plugin = corpora.find(corpus)
    return plugin.cls().has_classes(plugin.config(**json.loads(settings)), source)


def _source() -> Path | None:
    text = machine.setting("source")
    return Path(text).expanduser().resolve() if text else None
