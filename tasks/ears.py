"""`--features classifier,melproj`: whose features the metrics compare. The benchmark's classifier's, and those of other ears.

A generator may be good at pleasing one listener. Ears that are independent of the classifier (models/features/) have folders of
their own beside its: `4-features/melproj/`, `5-reference/melproj/`, `<draw>/3-features-melproj`, `<draw>/4-evaluation-melproj`,
which any classifier's leaderboard shows.

Of a corpus without classes there is no classifier, and these ears are the judge: the first that are named, or melproj.
Their name then stands wherever the classifier's does: `6-leaderboard/melproj/`.
"""

import os
from collections.abc import Iterable, Sequence

import luigi

from models import features
from models.features import Source
from tasks.errors import EarshotError
from tasks.parameters import check_name
from tasks.settings import CLASSIFIER_FEATURES, INDEPENDENT

DESCRIPTION = "classifier, melproj, wavlm-base and the like, or path/to/module.py[:weights]"


class FeaturesParameter(luigi.Parameter[tuple[str, ...]]):
    """`classifier,melproj` <-> ("classifier", "melproj"): each once, in this order."""

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(filter(None, text.split(",")))

    def serialize(self, value: Iterable[str]) -> str:
        return ",".join(value)

    def normalize(self, value: str | Iterable[str]) -> tuple[str, ...]:
        asked = self.parse(value) if isinstance(value, str) else value
        found = tuple(dict.fromkeys(map(_normal, asked)))
        if not found:
            raise EarshotError(f"--features names none: give {DESCRIPTION}")
        return found


def _normal(spec: str) -> str:
    """A module by its path from the root. Raises EarshotError for ears that do not exist."""
    if spec == CLASSIFIER_FEATURES:
        return spec
    try:
        source = features.find(spec)
    except ValueError as error:
        raise EarshotError(str(error).replace("Available: ", f"Available: {CLASSIFIER_FEATURES}, ")) from None
    check_name("the module of --features", source.name)
    if spec == source.name:
        return spec
    return ":".join(os.path.abspath(os.path.expanduser(path)) for path in (source.file, source.weights) if path)


def listening(asked: Sequence[str], has_classes: bool) -> tuple[str, ...]:
    """Who listens, of those that `--features` names: of a corpus without classes, not the classifier."""
    if has_classes:
        return tuple(asked)
    return tuple(spec for spec in asked if spec != CLASSIFIER_FEATURES) or (INDEPENDENT,)


def find_ears(spec: str) -> Source | None:
    """The ears of that name; None for the benchmark's classifier."""
    return None if spec == CLASSIFIER_FEATURES else features.find(spec)
