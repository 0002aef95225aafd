"""Milliseconds that WaveNet takes for one timestep of a batch: `python benchmarks/wavenet_sampling.py [--threads 1]`.

All of sampling is timed: the network, the draw of a code, its likelihood. The queues are filled beforehand.
"""

import argparse
import time

import torch

from models import generators
from models.autoregressive import draw
from models.randomness import SampleRandom

BATCHES = (1, 32, 128, 256)


@torch.inference_mode()
def milliseconds_per_timestep(preset: str, batch: int, timesteps: int) -> float:
    """Of the fastest of three runs, since other programs can only slow a run down."""
    plugin = generators.find("wavenet")
    net = plugin.cls(plugin.presets[preset], 16000, timesteps).freeze()
    uniforms, nothing = SampleRandom(0).uniform(batch, timesteps), torch.empty(batch, 0, dtype=torch.int64)
    seconds = []
    for _ in range(3):
        step = net.stepper(batch)
        start = time.perf_counter()
        draw(step, net.before, uniforms, nothing)
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds) / timesteps


def main() -> None:
    """Print a table, a row for each preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timesteps", type=int, default=200)
    parser.add_argument("--presets", nargs="+", default=["small", "paper"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("ms per timestep " + "".join(f"{f'batch {batch}':>12}" for batch in BATCHES))
    for preset in options.presets:
        times = [milliseconds_per_timestep(preset, batch, options.timesteps) for batch in BATCHES]
        print(f"{preset:<16}" + "".join(f"{ms:>12.3f}" for ms in times), flush=True)


if __name__ == "__main__":
    main()
