"""`luigi --module pipeline.evaluate EvaluateSamples --model wavenet`: single tasks, by Luigi's own command.

With `--samples path/to/wavs --name my-model` in place of `--model` it evaluates anybody's samples.
"""

import sys

import luigi

from tasks.benchmark import RunBenchmark
from tasks.evaluation import CompareGenerators, EvaluateSamples

__all__ = ["CompareGenerators", "EvaluateSamples", "RunBenchmark"]

if any(word.startswith("--scheduler-") for word in sys.argv) and luigi.configuration.get_config().getboolean(
    "core", "local_scheduler", False
):
    print(
        "luigi.cfg says local_scheduler = true, which wins over --scheduler-host: to share the work with other machines, "
        "set LUIGI_CONFIG_PATH=pipeline/cluster.cfg",
        file=sys.stderr,
    )
