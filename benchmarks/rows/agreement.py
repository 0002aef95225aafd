"""Whether the fast way gives the same: the engine, compiled and on the device, against itself operation by operation on a CPU.

Same weights, same uniforms. A uniform within rounding of the border between two codes may fall on either side, and everything
after it is another sample then: so it is whole samples that are counted. Of those that are equal, likelihoods are compared.
"""

from functools import partial

from benchmarks.rows.base import Figure, Row, Setting
from benchmarks.rows.sampling import NAMES

EQUAL, LIKELIHOOD = 0.95, 1e-4  # share of samples, and relative difference of their log-likelihoods
BATCH, TIMESTEPS = 32, 512


def run(model: str, setting: Setting) -> list[Figure]:
    """The share of equal samples, and the largest difference of a likelihood."""
    import torch

    from models.randomness import SampleRandom
    from models.stepping import Drawing

    torch.set_num_threads(setting.threads)
    net = setting.generator(model).freeze()
    batch, timesteps = setting.pick((BATCH, TIMESTEPS), (2, 64))
    uniforms = SampleRandom(0).uniform(batch, timesteps)
    fast = Drawing(net, batch, compiled=True)
    codes, nats = (result.cpu() for result in fast(uniforms.to(setting.device)))
    expected, expected_nats = Drawing(net.cpu(), batch, compiled=False)(uniforms)
    same = (codes == expected).all(1)
    note = "" if fast.compiled else "COULD NOT BE COMPILED"
    found = [
        Figure("equal samples", "share", [float(same.double().mean())], EQUAL, limit=1.0, higher=True, note=note)
    ]  # fmt: skip
    if same.any():
        apart = ((nats - expected_nats) / expected_nats).abs()[same].max()
        found.append(Figure("log-likelihood", "relative error", [float(apart)], LIKELIHOOD))
    return found


ROWS = [
    Row(f"{model}-agreement", f"{name} compiled = eager", place, partial(run, model), devices=("cpu", "cuda"))
    for place, (model, name) in enumerate(NAMES.items(), 18)
]
