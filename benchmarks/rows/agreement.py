"""Whether the fast way gives the same: the engine, compiled and on the device, against itself operation by operation on a CPU.

Same weights, same uniforms. A uniform within rounding of the border between two codes may fall on either side, and everything
after it is another sample then: so it is whole samples that are counted. Of those that are equal, likelihoods are compared.
"""

from functools import partial

from benchmarks.rows.base import Figure, Row, Setting
from benchmarks.rows.sampling import NAMES

EQUAL, LIKELIHOOD = 0.95, 1e-4  # share of samples, and relative difference of their log-likelihoods
BATCHES, TIMESTEPS = (32, 1), 512


def run(model: str, setting: Setting) -> list[Figure]:
    """Figures for a batch, and on a processor for a single sequence too, whose timesteps may have a form of their own."""
    figures = []
    for batch in BATCHES[: 1 if setting.card else None]:
        figures += of_batch(model, batch, setting)
    return figures


def of_batch(model: str, batch: int, setting: Setting) -> list[Figure]:
    """The share of equal samples, and the largest difference of a likelihood."""
    import torch

    from models.randomness import SampleRandom
    from models.stepping import Drawing

    torch.set_num_threads(setting.threads)
    net = setting.generator(model).freeze()
    timesteps = setting.pick(TIMESTEPS, 64)
    uniforms = SampleRandom(0).uniform(batch, timesteps)
    fast = Drawing(net, batch, compiled=True)
    codes, nats = (result.cpu() for result in fast(uniforms.to(setting.device)))
    expected, expected_nats = Drawing(net.cpu(), batch, compiled=False)(uniforms)
    same = (codes == expected).all(1)
    note = "" if fast.compiled else "COULD NOT BE COMPILED"
    share = [float(same.double().mean())]
    found = [Figure(f"batch {batch}, equal samples", "share", share, EQUAL, limit=1.0, higher=True, note=note)]
    if same.any():
        apart = ((nats - expected_nats) / expected_nats).abs()[same].max()
        found.append(Figure(f"batch {batch}, log-likelihood", "relative error", [float(apart)], LIKELIHOOD))
    return found


ROWS = [
    Row(f"{model}-agreement", f"{name} compiled = eager", place, partial(run, model), 1, 1, ("cpu", "cuda"), exact=True)
    for place, (model, name) in enumerate(NAMES.items(), 18)
]
