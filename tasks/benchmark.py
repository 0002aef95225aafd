"""RunBenchmark: every chosen model on one corpus, trained with every seed, judged, and put on one leaderboard."""

import luigi

from tasks.checkpoints import DESCRIPTION, CheckpointParameter, ClassifierParameter
from tasks.continuing import PrefixParameters
from tasks.ears import DESCRIPTION as FEATURES_DESCRIPTION
from tasks.ears import FeaturesParameter
from tasks.evaluation import CompareGenerators
from tasks.external import SaveProbabilities
from tasks.parameters import CorpusParameter, SettingsParameter
from tasks.sample_sets import DESCRIPTION as SAMPLES_DESCRIPTION
from tasks.sample_sets import SampleSetsParameter
from tasks.settings import FEATURES, MODELS


class RunBenchmark(PrefixParameters, luigi.WrapperTask):
    """What `python -m pipeline.<corpus>` runs."""

    corpus = CorpusParameter(default="spoken_digits", description="a file in tasks/corpora/")
    settings = SettingsParameter(default=(), description="SPACE.FIELD=VALUE,... in place of a preset's")
    models = luigi.ListParameter(default=MODELS, description="generators")
    preset = luigi.Parameter(default="small", description="smoke, small, paper, or another preset of the models")
    seeds = luigi.ListParameter(default=(0,), description="training seeds; several make one row with its spread")
    count = luigi.IntParameter(default=0, description="samples in a row; 0: what suits the preset")
    checkpoint = CheckpointParameter(default="", description=f"in place of the one model's training, {DESCRIPTION}")
    classifier = ClassifierParameter(
        default="small", description="the classifier's preset, release:resnext, or path/to/resnext.pth"
    )
    classifier_seed = luigi.IntParameter(default=0, description="seed of the classifier's training")
    features = FeaturesParameter(default=FEATURES, description=FEATURES_DESCRIPTION)
    sample_sets = SampleSetsParameter(default=(), description=f"samples of other models: {SAMPLES_DESCRIPTION}")
    samples_rate = luigi.IntParameter(default=0, description="sample rate of a .npy among them, in Hz")
    save_probabilities = SaveProbabilities()

    def requires(self) -> CompareGenerators:
        return self.clone(CompareGenerators)

    def complete(self) -> bool:
        return self.requires().complete()
