"""Drawing samples from the autoregressive models: milliseconds per timestep of a whole batch, on one thread.

All of sampling is timed: the network, the draw of a code, its likelihood, and clearing the state at the start, which a whole
second of audio has but once. The engine as it is used, compiled, and the same engine operation by operation, in turns.

On a graphics card also what 10,240 one-second samples take: that of a timestep, times 16,000, times the batches.
"""

from functools import partial

from benchmarks import counts
from benchmarks.rows.base import SECOND, Figure, Row, Setting
from benchmarks.timing import interleaved

BATCHES, BATCHES_OF_CARD = (1, 32, 256), (256, 1024, 5120)
DRAWN = 10240  # samples of one second, whose time on a card is a goal
STEP = {"wavenet": counts.wavenet_step, "samplernn": counts.samplernn_step, "sashimi": counts.sashimi_step}
NAMES = {"wavenet": "WaveNet", "samplernn": "SampleRNN", "sashimi": "SaShiMi"}
# ms per timestep by batch: what must be reached, and what the published code takes; SaShiMi's exact way of stepping
GOALS = {
    "wavenet": {1: (0.6, 2.08), 32: (3.6, 13.2), 256: (26, 56)},
    "sashimi": {1: (0.4, 4.4), 32: (2.0, 17.2), 256: (18, 126)},
    "samplernn": {1: (1.5, 6.1), 32: (4.5, 14.9), 256: (30, 70)},
}
SPEED_UP = 10  # over plain eager on the same card, at a batch of 256
SECONDS_FOR_DRAWN = 120


def run(model: str, setting: Setting) -> list[Figure]:
    """A figure for each batch size."""
    figures = []
    for batch in setting.pick(BATCHES_OF_CARD if setting.card else BATCHES, (2,)):
        figures += of_batch(model, batch, setting)
    return figures


def of_batch(model: str, batch: int, setting: Setting) -> list[Figure]:
    """Milliseconds per timestep; on a card also how many times faster than eager, and 10,240 samples of the largest batch."""
    import torch

    from models.randomness import SampleRandom
    from models.stepping import Drawing

    torch.set_num_threads(setting.threads)
    net = setting.generator(model).freeze()
    # some seconds at most; on a card compiled so many that the two spans that come before the graph weigh little
    timesteps = setting.pick(512 if setting.card else max(192, 1536 // batch), 32)
    lengths = {"compiled": setting.pick(8192, 64) if setting.card else timesteps, "eager": timesteps}
    uniforms = SampleRandom(0).uniform(batch, max(lengths.values())).to(setting.device)
    engines = {name: Drawing(net, batch, compiled=name == "compiled") for name in lengths}
    runs = {name: partial(engine, uniforms[:, : lengths[name]]) for name, engine in engines.items()}
    seconds = interleaved(runs, setting.pick(7 if batch < 256 else 5, 2), setting.wait)
    times = {name: [one / lengths[name] for one in values] for name, values in seconds.items()}

    goal, reference = setting.of_processor(GOALS[model].get(batch, (None, None)))
    work = STEP[model](net.config, batch)
    fell_back = "" if engines["compiled"].compiled else "COULD NOT BE COMPILED"
    step = setting.figure(
        f"batch {batch}", "ms per timestep", times["compiled"], 1000, work=work, goal=goal, reference=reference,
        beside={"eager": times["eager"]}, note=fell_back,
    )  # fmt: skip
    if not setting.card:
        return [step]
    ratios = [slow / fast for fast, slow in zip(times["compiled"], times["eager"], strict=True)]
    faster = Figure(f"batch {batch}", "x eager", ratios, SPEED_UP if batch == BATCHES_OF_CARD[0] else None, higher=True)
    if model != "sashimi" or batch < setting.pick(BATCHES_OF_CARD[-1], 0):
        return [step, faster]
    whole = [one * SECOND * DRAWN / batch for one in times["compiled"]]
    drawn = setting.figure(
        f"{DRAWN:,} samples of a second", "s", whole, goal=SECONDS_FOR_DRAWN, work=work.times(SECOND * DRAWN / batch),
        note=f"from {lengths['compiled']} timesteps at a batch of {batch}",
    )  # fmt: skip
    return [step, faster, drawn]


ROWS = [
    Row(f"{model}-sampling", f"{NAMES[model]} sampling", place, partial(run, model), devices=("cpu", "cuda"))
    for place, model in enumerate(("wavenet", "sashimi", "samplernn"), 1)
]
