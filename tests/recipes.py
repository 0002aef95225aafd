"""The table of published recipes in docs/models.md, from the presets themselves: `python tests/recipes.py` prints it.

`tests/test_docs.py` fails where the page says something else than the presets do.
"""

from typing import Any

import torch

from models import generators

HEAD = (
    "| model | preset | parameters | optimizer | learning rate | batch | steps | clipping | EMA | codes |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def parameters(plugin: Any, preset: str) -> str:
    """How many are trained, of each part where there are several, for SC09's clips; nothing is allocated."""
    with torch.device("meta"):
        model = plugin.cls(plugin.presets[preset], 16000, 16000)
    counts = {
        part: sum(p.numel() for group in model.parameter_groups(part) for p in group["params"])
        for part, _ in model.schedule
    }
    return ", ".join(f"{part} {count:,}" if len(counts) > 1 else f"{count:,}" for part, count in counts.items())


def row(plugin: Any, preset: str) -> str:
    """One line of the table."""
    config = plugin.presets[preset]
    decay = f", weight decay {config.weight_decay:g}" if config.weight_decay else ""
    betas = "" if (config.beta1, config.beta2) == (0.9, 0.999) else f" ({config.beta1:g}, {config.beta2:g})"
    warmup = f", {config.warmup_steps:,} steps of warm-up" if config.warmup_steps else ""
    clipping = config.gradient_clip and f"norm {config.gradient_clip:g}"
    clipping = clipping or (config.gradient_clip_value and f"value {config.gradient_clip_value:g}") or "–"
    quantization = getattr(config, "quantization", "–") + (
        ", per clip" if getattr(config, "scale_per_clip", False) else ""
    )
    cells = [
        plugin.name,
        preset,
        parameters(plugin, preset),
        f"{config.optimizer}{betas}{decay}",
        f"{config.learning_rate:g}, {config.learning_rate_schedule}{warmup}",
        config.batch_size,
        f"{config.steps:,}",
        clipping,
        f"{config.ema:g}" if config.ema else "–",
        quantization,
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def table() -> str:
    """Every generator's published presets."""
    plugins = map(generators.find, generators.names())
    rows = [row(plugin, preset) for plugin in plugins for preset in plugin.presets if preset.startswith("paper")]
    return "\n".join([HEAD, *rows])


if __name__ == "__main__":
    print(table())
