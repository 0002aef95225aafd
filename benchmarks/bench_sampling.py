"""Milliseconds that autoregressive models take for one timestep of a batch, on one thread.

All of sampling is timed: the network, the draw of a code, its likelihood. With --compiled, steps are compiled first, and a
last column says how long that took before the first batch, seconds; from an empty cache where TORCHINDUCTOR_CACHE_DIR names
an empty folder.
"""

import argparse
import statistics
import time

import torch

from models import generators
from models.randomness import SampleRandom
from models.stepping import Drawing

BATCHES = (1, 32, 256)


def milliseconds_per_timestep(
    model: str, preset: str, batch: int, timesteps: int, compiled: bool
) -> tuple[float, float]:
    """The median of five runs, and the seconds until the engine was ready."""
    plugin = generators.find(model)
    net = plugin.cls(plugin.presets[preset], 16000, timesteps).freeze()
    uniforms, begun, seconds = SampleRandom(0).uniform(batch, timesteps), time.perf_counter(), []
    drawing = Drawing(net, batch, compiled)
    drawing(uniforms[:, :1])
    ready = time.perf_counter() - begun
    for _ in range(5):
        start = time.perf_counter()
        drawing(uniforms)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds) / timesteps, ready


def main() -> None:
    """Print a table, a row for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["wavenet", "sashimi", "samplernn"])
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--timesteps", type=int, default=64)
    parser.add_argument("--compiled", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("ms per timestep " + "".join(f"{f'batch {batch}':>12}" for batch in BATCHES) + f"{'ready after':>16}")
    for model in options.models:
        results = [
            milliseconds_per_timestep(model, options.preset, batch, options.timesteps, options.compiled)
            for batch in BATCHES
        ]
        cells = "".join(f"{ms:>12.3f}" for ms, _ in results)
        print(f"{model:<16}{cells}    {max(ready for _, ready in results):.1f} s", flush=True)


if __name__ == "__main__":
    main()
