"""`luigi --module pipeline.evaluate EvaluateSamples --model wavenet`: single tasks, by Luigi's own command.

With `--samples path/to/wavs --name my-model` in place of `--model` it evaluates anybody's samples.
"""

from tasks.benchmark import RunBenchmark
from tasks.evaluation import CompareGenerators, EvaluateSamples

__all__ = ["CompareGenerators", "EvaluateSamples", "RunBenchmark"]
