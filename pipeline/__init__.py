"""What a person runs. `python -m pipeline.spoken_digits --workers 2` runs the whole benchmark on one corpus:

    1-download      DownloadCorpus      recordings as they come
        |
    2-clips         PrepareClips        one length, one rate, split, 16 bits
        |--- exports/  ExportClips          for people who train elsewhere
        |---------------------------------------------------.
    3-classifier    TrainClassifier (or ImportClassifier)    |
        |                                             <model>/<preset>-seed<n>/
    4-features      CacheFeatures                            1-train         TrainGenerator (or 1-import, ImportCheckpoint)
        |                                                    |----------- 2-likelihood    MeasureLikelihood
    5-reference     PrepareReference                         draw-<count>/
        |                                                      2-samples     DrawShard ..., DrawSamples  (or ImportSamples)
        |--- controls/  EvaluateControls                       3-features    CacheSampleFeatures
        |                                                      |
        '----------------------------------------------------> 4-evaluation  EvaluateSamples
                                                               |  5-thresholds  TuneThresholds, where it is asked for
                                                               |
    6-leaderboard   CompareGenerators   leaderboard.md, .csv, .json, .tex, report/index.html

What stands under 4-features, 5-reference, 3-features, 4-evaluation and controls/ is there once for the classifier and once
for every other pair of ears (`--features classifier,melproj`); the leaderboard shows both in one row. Of a corpus without
classes there is no 3-classifier, and the first of these ears is the judge.

Every box is a folder in `_workdir/<corpus>/`. A folder that exists is finished, and its `config.json` says from what it was
made. The tasks are in tasks/, the networks in models/, the formulas in evaluation/.
"""

import importlib.util
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def _check_names() -> None:
    """Our package names are common words: say so at once where another package answers to one of them."""
    for name in ("tasks", "models", "evaluation"):
        found = importlib.util.find_spec(name)
        where = Path(found.origin).resolve() if found is not None and found.origin else None
        if where is None:
            sys.exit(f"the package {name!r} is not installed: run `pip install -e {REPOSITORY}`")
        if REPOSITORY not in where.parents:
            sys.exit(
                f"the package {name!r} is shadowed by {where}: run this from {REPOSITORY}, or remove the other one"
            )


_check_names()
