"""One evaluation of a diffusion model's network, as sampling does it: what depends on the noise level alone, on the weights
alone, is at hand. One clip of one second; on a graphics card at the published batch."""

from functools import partial

from benchmarks import counts
from benchmarks.rows.base import Figure, Row, Setting
from benchmarks.timing import interleaved

NAMES = {"diffwave": "DiffWave 24M", "diffwave_sashimi": "DiffWave + SaShiMi 23M"}
WORK = {"diffwave": counts.diffwave_step, "diffwave_sashimi": counts.diffwave_sashimi_step}
# seconds: what must be reached, and what the published code takes; with SaShiMi, that of an evaluation with kernels kept
GOALS = {"diffwave": (4, 5.7), "diffwave_sashimi": (2.5, 6.2)}


def run(model: str, setting: Setting) -> list[Figure]:
    """Seconds of an evaluation."""
    import torch

    torch.set_num_threads(setting.threads)
    net = setting.generator(model).freeze()
    batch = net.config.batch_size if setting.card else 1
    positions = net.representation.positions(net.timesteps)
    noise = torch.randn(batch, net.inputs, positions, device=setting.device)
    with torch.inference_mode(), net.remembered():
        conditions = net.conditions(torch.tensor([7.0], device=setting.device))
        ways = setting.ways(lambda: net.network(noise, conditions))
        seconds = interleaved(ways, setting.pick(5, 2), setting.wait)
    work = WORK[model](net.config, batch, positions, net.inputs, net.outputs)
    goal, reference = setting.of_processor(GOALS[model])
    return [
        setting.figure(
            f"batch {batch}", "s", seconds.pop(""), work=work, goal=goal, reference=reference, beside=seconds
        )
    ]


ROWS = [
    Row(f"{model.replace('_', '-')}-denoising", f"{NAMES[model]} denoising step", place, partial(run, model), 2, 2,
        ("cpu", "cuda"))
    for place, model in enumerate(NAMES, 7)
]  # fmt: skip
