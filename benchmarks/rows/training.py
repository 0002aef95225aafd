"""One step of training: forward, backward, optimizer; clips of one second, with the most memory that the process ever had.

Beside it with bfloat16 where autocast has it. On a graphics card at the published batch, and the memory is the card's. What a
batch costs before the step, from the memory-mapped corpus to the device, is a share of the step that must be small.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import counts
from benchmarks.rows.base import SECOND, Figure, Row, Setting
from benchmarks.timing import GIB, interleaved, peak_bytes

WORK = {
    "wavenet": counts.wavenet_training, "samplernn": counts.samplernn_training, "sashimi": counts.sashimi_training,
}  # fmt: skip
NAMES = {"sashimi": "SaShiMi", "wavenet": "WaveNet", "samplernn": "SampleRNN"}
BATCH = {"sashimi": 1, "wavenet": 1, "samplernn": 4}
# seconds: what must be reached, and what the published code takes; the same of memory in GiB
GOALS = {"sashimi": (5, 61.7), "wavenet": (4.5, 10.3), "samplernn": (15, 36)}
LOADED, LOADING = "its batch", 0.02  # share of a step
CORPUS = 4096  # clips, at random places of which batches are read
MEMORY: dict[str, tuple[float | None, float | None]] = {
    "sashimi": (2.5, 10.5), "wavenet": (None, 1.9), "samplernn": (None, 2.3),
}  # fmt: skip


def run(model: str, setting: Setting) -> list[Figure]:
    """Seconds of a step, the peak of memory, and the share of a step that its batch takes."""
    import numpy as np
    import torch

    from models.clips import Clips
    from models.optimizers import make_optimizer

    torch.set_num_threads(setting.threads)
    net = setting.generator(model)
    timesteps = setting.pick(SECOND, 1024)
    batch = setting.pick(net.config.batch_size if setting.card else BATCH[model], 2)
    optimizer = make_optimizer(net.parameter_groups("model"), net.config)
    rng = torch.Generator(setting.device).manual_seed(0)
    clips = Clips.of(torch.rand(batch, timesteps, device=setting.device) * 1.8 - 0.9)

    def step(mixed: bool = False) -> None:
        with torch.autocast(setting.device, torch.bfloat16, enabled=mixed):
            loss = net.loss("model", clips, rng)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    step()  # with what the optimizer keeps
    peak = torch.cuda.max_memory_allocated() if setting.device == "cuda" else peak_bytes()
    corpus, order = stored(setting, timesteps), np.random.default_rng(0)
    ways: dict[str, Callable[[], object]] = {
        "": step,
        "bf16-mixed": partial(step, mixed=True),
        LOADED: lambda: corpus.batch(order.integers(len(corpus), size=batch), setting.device),
    }
    seconds = interleaved(ways, setting.pick(5, 2), setting.wait)
    shares = [load / whole for load, whole in zip(seconds.pop(LOADED), seconds[""], strict=True)]
    parameters = sum(parameter.numel() for parameter in net.parameters())
    work = WORK[model](net.config, batch, timesteps, parameters)
    goal, reference = setting.of_processor(GOALS[model])
    of_memory, memory_of_reference = setting.of_processor(MEMORY[model])
    return [
        setting.figure(
            f"batch {batch}", "s", seconds.pop(""), work=work, goal=goal, reference=reference, beside=seconds
        ),
        Figure(
            "peak memory", "GiB", [peak / GIB], setting.pick(of_memory, None), setting.pick(memory_of_reference, None)
        ),
        Figure("reading its batch", "share", shares, setting.pick(LOADING, None)),
    ]


def stored(setting: Setting, timesteps: int) -> Any:
    """A corpus as trainings have it: 16 bits, memory-mapped, here just written and so in memory."""
    import numpy as np

    from models.clips import ClipArray

    file, count = setting.scratch / "clips.npy", setting.pick(CORPUS, 16)
    codes = np.lib.format.open_memmap(file, "w+", np.int16, (count, timesteps))
    codes[:] = np.random.default_rng(0).integers(-8000, 8000, timesteps, dtype=np.int16)
    codes.flush()
    return ClipArray(np.load(file, mmap_mode="r"), np.full(count, timesteps))


ROWS = [
    Row(f"{model}-training", f"{NAMES[model]} training step", place, partial(run, model), 2, 2, ("cpu", "cuda"))
    for place, model in enumerate(("sashimi", "wavenet", "samplernn"), 4)
]
