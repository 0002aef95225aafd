"""A row in a process of its own, so that threads, memory and environment are nobody else's.

`measure` starts it, and `python -m benchmarks.child REQUEST ANSWER` is it: REQUEST and ANSWER are JSON files.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import REPOSITORY, Watch
from benchmarks.roofline import Rates

ROOFLINE = "roofline"
LONGEST = 1800  # seconds that a row may take


class FailedError(Exception):
    """A row that came to no end; the message is one line, `log` the end of what it wrote."""

    def __init__(self, reason: str, log: str):
        super().__init__(reason)
        self.log = log


def measure(
    name: str, device: str, quick: bool, cores: tuple[int, ...], threads: int, rates: dict[str, Any] | None
) -> dict[str, Any]:
    """A row's figures as JSON values, `seconds` that it took and what `others` took of the processor meanwhile.

    Raises FailedError where its process fails.
    """
    watch, started = Watch(), time.perf_counter()
    # BLAS and OpenMP read their number of threads once, when they are loaded
    environment = {**os.environ, **{f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}}
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        scratch, request, answer = (Path(place, part) for part in ("scratch", "request.json", "answer.json"))
        scratch.mkdir()
        request.write_text(
            json.dumps(
                {"name": name, "device": device, "quick": quick, "cores": cores, "threads": threads, "rates": rates,
                 "scratch": str(scratch)}
            )
        )  # fmt: skip
        if name != ROOFLINE:
            environment["NVIDIA_TF32_OVERRIDE"] = "0"  # as in stages
        with open(Path(place, "log"), "w+", encoding="utf-8", errors="replace") as log:
            command = [sys.executable, "-m", "benchmarks.child", str(request), str(answer)]
            process = subprocess.Popen(
                command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            try:
                code = process.wait(LONGEST)
            except BaseException as interruption:
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
                process.wait()
                if isinstance(interruption, subprocess.TimeoutExpired):
                    raise FailedError(f"took more than {LONGEST} s", "") from interruption
                raise
            log.seek(0)
            lines = [line for line in log.read().splitlines() if line.strip()]
        if code != 0 or not answer.exists():
            raise FailedError(
                reason(lines) or f"its process ended with status {code} and said nothing", "\n".join(lines[-200:])
            )
        found = json.loads(answer.read_text())
    return {**found, "seconds": round(time.perf_counter() - started, 1), **watch.shares()}


def reason(lines: list[str]) -> str:
    """The last line that names an error: PyTorch adds advice to its own. Else the last line, "" where there is none."""
    errors = [
        line for line in lines if re.match(r"[\w.]*(Error|Exception|Unsupported|Failed|Interrupt)\w*(: |$)", line)
    ]
    return [*lines[-1:], *errors][-1].strip() if lines else ""


def main() -> None:
    """Measure what REQUEST says, and write ANSWER."""
    request, answer = (Path(word) for word in sys.argv[1:])
    asked = json.loads(request.read_text())

    from benchmarks.timing import pin

    pin(tuple(asked["cores"]))
    answer.write_text(json.dumps(_measured(asked)))


def _measured(asked: dict[str, Any]) -> dict[str, Any]:
    from benchmarks import roofline, rows
    from benchmarks.rows.base import Setting

    rates = None if asked["rates"] is None else Rates.of_json(asked["rates"])
    setting = Setting(
        asked["device"], asked["quick"], tuple(asked["cores"]), asked["threads"], rates, Path(asked["scratch"])
    )
    if asked["name"] == ROOFLINE:
        import torch

        torch.set_num_threads(setting.threads)
        found = (
            {"accelerator": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
            if setting.device == "cuda"
            else {}
        )
        return {"rates": asdict(roofline.measure(setting.device, setting.quick, setting.wait)), "environment": found}
    return {"figures": [asdict(figure) for figure in rows.find(asked["name"]).run(setting)]}


if __name__ == "__main__":
    main()
