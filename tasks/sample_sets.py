"""Several sets of samples at once: `--samples runs/a/wavs runs/b/wavs`, `--samples 'runs/*/wavs'`, `--samples mine=some/wavs`.

A set is called by the last folder of its path that says something (`runs/wavenet/samples` is wavenet). Where two would be
called the same, each is called by the part of its path in which they differ; `NAME=PATH` calls it NAME.
"""

import glob
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import luigi

from tasks.corpora.base import natural_key
from tasks.errors import EarshotError
from tasks.parameters import check_name
from tasks.releases import PREFIX

SampleSet = tuple[str, str]  # name, and path or release:NAME
ARRAY, ARCHIVE = ".npy", ".zip"
SAYS_NOTHING = ("samples", "2-samples", "wavs", "wav", "flac", "ogg", "audio", "generated", "out", "output")
DESCRIPTION = "folders of wavs, .npy, .zip or release:NAME; NAME=PATH gives a name; quoted, * stands for several"


class SampleSetsParameter(luigi.Parameter[tuple[SampleSet, ...]]):
    """`["runs/a/wavs", "mine=path/to/wavs"]`, or one of them without brackets <-> (("a", "/.../runs/a/wavs"), ...)."""

    def parse(self, text: str) -> tuple[SampleSet, ...]:
        try:
            words = json.loads(text) if text.startswith("[") else [text] * bool(text)
        except ValueError:
            raise EarshotError(f'cannot read {text}: write \'["runs/a/wavs", "mine=path/to/wavs"]\'') from None
        return named(words)

    def serialize(self, value: Iterable[SampleSet]) -> str:
        return json.dumps([f"{name}={path}" for name, path in value])

    def normalize(self, value: str | Iterable[Sequence[str]]) -> tuple[SampleSet, ...]:
        return self.parse(value) if isinstance(value, str) else tuple((name, path) for name, path in value)


def named(words: Iterable[str]) -> tuple[SampleSet, ...]:
    """The sets that these words ask for, each with its name; relative paths are from the current folder.

    Raises EarshotError where a pattern fits nothing, two sets are called the same, or a name cannot be a row's.
    """
    given = [(name, path) for word in words for name, path in _expanded(word)]
    paths = [path for name, path in given if not name]
    chosen = dict(zip(paths, _names(paths), strict=True))
    sets = [(name or chosen[path], path) for name, path in given]
    for name, path in sets:
        check_name(f"--samples {path}: its name", name, row=True)
    twice = [name for name, count in Counter(name for name, _ in dict.fromkeys(sets)).items() if count > 1]
    if twice:
        paths = [path for name, path in sets if name == twice[0]]
        raise EarshotError(f"{' and '.join(paths)} would both be called {twice[0]!r}: write NAME=PATH")
    return tuple(dict.fromkeys(sets))


def is_array(path: str) -> bool:
    """Whether a set is a `.npy`, which does not say its sample rate."""
    return path.endswith(ARRAY)


def _expanded(word: str) -> list[SampleSet]:
    """(name or "", absolute path) for a word, or for everything that its pattern fits."""
    before, equals, after = word.partition("=")
    name, text = (before, after) if equals and "/" not in before and not Path(word).exists() else ("", word)
    if not text:
        raise EarshotError(f"--samples {word!r}: give a folder of wavs, or NAME=PATH")
    if text.startswith(PREFIX):
        return [(name, text)]
    path = os.path.abspath(os.path.expanduser(text))
    if not glob.has_magic(path) or Path(path).exists():
        return [(name, path)]
    fitting = [found for found in glob.glob(path, recursive=True) if _may_be_samples(Path(found))]
    if name and not fitting:  # a folder that is gone since it was imported
        return [(name, path)]
    if not fitting:
        raise EarshotError(f"--samples {text}: no folder, .npy or .zip is called like that")
    if name and len(fitting) > 1:
        raise EarshotError(f"--samples {word}: {len(fitting)} sets cannot all be called {name!r}; leave out the name")
    return [(name, os.path.abspath(found)) for found in sorted(fitting, key=natural_key)]


def _may_be_samples(path: Path) -> bool:
    return path.is_dir() or path.suffix in (ARRAY, ARCHIVE)


def _names(paths: Sequence[str]) -> list[str]:
    """A name for each path: what it says by itself, or where that is not enough, the part in which they differ."""
    parts = [tuple(map(_as_name, _saying(path))) for path in paths]
    names = [saying[-1] for saying in parts]
    count = Counter(dict(zip(paths, names, strict=True)).values())
    alike = [saying for saying, name in zip(parts, names, strict=True) if count[name] > 1]
    return [_differing(saying, alike) if count[name] > 1 else name for saying, name in zip(parts, names, strict=True)]


def _saying(path: str) -> tuple[str, ...]:
    """The parts of a path, up to the last one that says something; of a file without its suffix."""
    if path.startswith(PREFIX):
        return (path.removeprefix(PREFIX),)
    place = Path(path)
    whole = place.with_suffix("") if place.suffix in (ARRAY, ARCHIVE) else place
    parts = whole.parts[1:]
    while len(parts) > 1 and parts[-1].lower() in SAYS_NOTHING:
        parts = parts[:-1]
    return parts or (place.name,)


def _differing(parts: Sequence[str], others: Sequence[Sequence[str]]) -> str:
    """What is left of a path without the folders that all of these begin and end with."""
    shortest = min(map(len, others))
    begin = next((i for i in range(shortest) if len({other[i] for other in others}) > 1), shortest)
    end = next((i for i in range(shortest - begin) if len({other[-1 - i] for other in others}) > 1), shortest - begin)
    return "-".join(parts[begin : len(parts) - end]) or parts[-1]


def _as_name(part: str) -> str:
    """A folder's name as the name of a row: what paths of ours do not hold becomes a dash."""
    return re.sub(r"[^A-Za-z0-9._+=,@-]+", "-", part).strip("-._+=,@") or part
