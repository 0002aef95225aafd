"""Networks: pure PyTorch, without Luigi and without knowledge of `_workdir`.

model = models.load("_workdir/spoken-digits/wavenet/small-seed0/1-train")
waveforms = model.sample(16).waveforms
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.plugins import Plugin

DESCRIPTION, WEIGHTS = "model.json", "model.safetensors"


def save_description(folder: Path, model: Any, plugin: "Plugin") -> None:
    """Write `folder/model.json`: what `load` needs, beside the weights, to build `model` again."""
    description = {
        "kind": plugin.kind.removesuffix("s"),
        "name": plugin.name,
        "spec": plugin.spec,
        "version": plugin.version,
        "config": asdict(model.config),
        "sample_rate": model.sample_rate,
        "timesteps": model.timesteps,
        "labels": getattr(model, "labels", None),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load(folder: Path | str, device: str = "cpu") -> Any:
    """The trained generator or classifier in a folder, ready for use: no dropout, no gradients.

    Raises ValueError where the folder holds none, or one that this version of its file cannot read.
    """
    from models import plugins
    from models.checkpoints import load_weights

    folder = Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} holds no trained model: there is no {name}. Name a folder like .../1-train")
    described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    plugin = plugins.find(f"{described['kind']}s", described["spec"])
    labels = () if described["labels"] is None else (described["labels"],)
    config = plugin.config(described["config"])
    model = plugin.cls(config, described["sample_rate"], described["timesteps"], *labels)
    try:
        model.load_state_dict(load_weights(folder / WEIGHTS))
    except RuntimeError as error:
        raise ValueError(
            f"{folder}/{WEIGHTS} does not fit {plugin.source_path} (version {plugin.version}, trained with "
            f"{described['version']}); train it again. {error}"
        ) from error
    return model.to(device).eval().requires_grad_(False)
