"""`luigi --module pipeline.evaluate EvaluateSamples --model wavenet`: single tasks, by Luigi's own command.

With `--samples path/to/wavs --name my-model` in place of `--model` it evaluates anybody's samples; with `--prefix-seconds 0.25`
samples that continue real clips. `DrawSamples` stops at the wavs; `TuneThresholds` finds out which to keep by their likelihood;
`ImportScores` adds what VERSA says of them.
"""

import sys

import luigi

from tasks.benchmark import RunBenchmark
from tasks.checkpoints import ImportCheckpoint, ImportClassifier
from tasks.evaluation import CompareGenerators, EvaluateSamples
from tasks.external import ExportProbabilities, ImportScores
from tasks.generator import DrawSamples
from tasks.releases import DownloadRelease
from tasks.selection import EvaluateCheckpoints
from tasks.thresholds import TuneThresholds

__all__ = [
    "CompareGenerators",
    "DownloadRelease",
    "DrawSamples",
    "EvaluateCheckpoints",
    "EvaluateSamples",
    "ExportProbabilities",
    "ImportCheckpoint",
    "ImportClassifier",
    "ImportScores",
    "RunBenchmark",
    "TuneThresholds",
]

if any(word.startswith("--scheduler-") for word in sys.argv) and luigi.configuration.get_config().getboolean(
    "core", "local_scheduler", False
):
    print(
        "luigi.cfg says local_scheduler = true, which wins over --scheduler-host: to share the work with other machines, "
        "set LUIGI_CONFIG_PATH=pipeline/cluster.cfg",
        file=sys.stderr,
    )
