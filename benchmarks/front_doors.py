"""How long a person waits for nothing: `--help`, the plan, and the rerun of a finished benchmark.

    python benchmarks/front_doors.py [--workdir DIR] [--preset small]

DIR holds a finished `python -m pipeline.spoken_digits`. Medians of whole commands, beside the start of Python itself;
the commands take turns, so that a slow moment of the machine meets all of them.
"""

import argparse
import statistics
import subprocess
import sys
import time

REPETITIONS = 11


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", default="_workdir")
    parser.add_argument("--preset", default="small")
    given = parser.parse_args()
    door = [sys.executable, "-m", "pipeline.spoken_digits"]
    asked = ["--workdir", given.workdir, "--preset", given.preset, "--workers", "2"]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "--help": [*door, "--help"],
        "--plan": [*door, *asked, "--plan"],
        "rerun of a finished benchmark": [*door, *asked],
        "python -m pipeline.status": [sys.executable, "-m", "pipeline.status", "--workdir", given.workdir],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(REPETITIONS):
        for name, command in commands.items():
            started = time.perf_counter()
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds[name].append(time.perf_counter() - started)
            if "starts" in result.stderr:
                sys.exit(f"{given.workdir} was not finished: run the benchmark there first")
    floor = statistics.median(seconds["python -c pass"])
    print("| command | median s | times the start of Python |\n|---|---|---|")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.2f} | {median / floor:.0f} |")


if __name__ == "__main__":
    main()
