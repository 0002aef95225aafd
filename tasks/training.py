"""Inside the stages TrainClassifier and TrainGenerator: from a folder of clips to a folder that `models.load` reads."""

from pathlib import Path
from typing import Any

from tasks import machine
from tasks.artifact import Progress

AUDITION_SAMPLES = 4  # drawn now and then while a generator trains, to listen to


def train_generator(
    spec: str, settings: dict[str, Any], seed: int, limits: dict[str, Any], clips: Path, out: Path, progress: Progress
) -> dict[str, Any]:
    """Train the generator `spec` with `settings` on the clips' train split. Raises KeyboardInterrupt when preempted.

    limits: max_steps and max_hours, or None
    """
    import torch

    from models import generators, save_description
    from models.clips import load_split
    from models.randomness import SampleRandom

    plugin = generators.find(spec)
    sample_rate, timesteps = clip_format(clips)
    torch.manual_seed(seed)
    model = plugin.cls(plugin.config(settings), sample_rate, timesteps)
    if not machine.rank():
        save_description(out, model, plugin)

    def listen() -> tuple[torch.Tensor, int]:
        return model.sample(AUDITION_SAMPLES, SampleRandom(seed)).waveforms, sample_rate

    train, validation = load_split(clips, "train"), load_split(clips, "validation")
    keep_every = int(machine.setting("keep_every"))
    return _fit(model, train, validation, out, seed, progress, listen=listen, keep_every=keep_every, **limits)


def train_classifier(
    name: str, settings: dict[str, Any], seed: int, clips: Path, out: Path, progress: Progress
) -> dict[str, Any]:
    """Train a classifier and assess it on the test split. Raises KeyboardInterrupt when preempted."""
    import json

    import numpy as np
    import torch

    from models import classifiers, save_description
    from models.assessment import assess
    from models.clips import FULL_SCALE, load_split
    from tasks.corpus import BACKGROUND

    plugin = classifiers.find(name)
    sample_rate, timesteps = clip_format(clips)
    labels = json.loads((clips / "labels.json").read_text(encoding="utf-8"))
    torch.manual_seed(seed)
    model = plugin.cls(plugin.config(settings), sample_rate, timesteps, labels)
    if not machine.rank():
        save_description(out, model, plugin)
    background = clips / BACKGROUND
    if background.exists():
        model.use_background_noise(torch.from_numpy(np.load(background)) / FULL_SCALE)
    train, validation, test = (load_split(clips, split) for split in ("train", "validation", "test"))
    metrics = _fit(model, train, validation, out, seed, progress)
    if machine.rank():
        return metrics
    model.to(device()).eval()
    return metrics | {"test": assess(model, test)}


def clip_format(clips: Path) -> tuple[int, int]:
    """(sample rate in Hz, timesteps) of the clips in a folder of PrepareClips."""
    from tasks import folders

    metrics = folders.read_json(clips / folders.METRICS)
    return metrics["sample_rate"], metrics["timesteps"]


def device() -> str:
    """`cuda` or `cpu`: as set, or what there is. Raises ValueError where a GPU is asked for and there is none."""
    import torch

    wanted, found = machine.setting("device"), torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise ValueError("--device cuda: this PyTorch sees no GPU; use --device cpu, or install a CUDA build of torch")
    return "cuda" if found and wanted != "cpu" else "cpu"


def _fit(model: Any, train: Any, validation: Any, out: Path, seed: int, progress: Progress, **options: Any) -> Any:
    """Train, in as many processes as this stage has; what follows is the first one's alone."""
    import torch

    from models.training import Preempted, fit
    from tasks import ranks

    torch.set_num_threads(machine.threads())
    try:
        result = fit(
            model, train, validation, out, config=model.config, seed=seed, device=device(), progress=progress, **options
        )
    except Preempted:
        raise KeyboardInterrupt from None
    if machine.processes() > 1:
        ranks.part()
    return result
