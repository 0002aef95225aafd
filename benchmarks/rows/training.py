"""One step of training: forward, backward, optimizer; clips of one second, with the most memory that the process ever had.

On a graphics card at the published batch, beside it with bfloat16 where autocast has it, and the memory is the card's.
"""

from collections.abc import Callable
from functools import partial

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
MEMORY: dict[str, tuple[float | None, float | None]] = {
    "sashimi": (2.5, 10.5), "wavenet": (None, 1.9), "samplernn": (None, 2.3),
}  # fmt: skip


def run(model: str, setting: Setting) -> list[Figure]:
    """Seconds of a step, and the peak of memory."""
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

    ways: dict[str, Callable[[], object]] = {"": step}
    if setting.card:
        ways["bf16-mixed"] = partial(step, mixed=True)
    seconds = interleaved(ways, setting.pick(5, 2), setting.wait)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    work = WORK[model](net.config, batch, timesteps, parameters)
    goal, reference = setting.of_processor(GOALS[model])
    of_memory, memory_of_reference = setting.of_processor(MEMORY[model])
    peak = torch.cuda.max_memory_allocated() if setting.device == "cuda" else peak_bytes()
    return [
        setting.figure(
            f"batch {batch}", "s", seconds.pop(""), work=work, goal=goal, reference=reference, beside=seconds
        ),
        Figure(
            "peak memory", "GiB", [peak / GIB], setting.pick(of_memory, None), setting.pick(memory_of_reference, None)
        ),
    ]


ROWS = [
    Row(f"{model}-training", f"{NAMES[model]} training step", place, partial(run, model), 2, 2, ("cpu", "cuda"))
    for place, model in enumerate(("sashimi", "wavenet", "samplernn"), 4)
]
