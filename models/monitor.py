"""Watching a training: `curve.csv`, TensorBoard, samples to listen to, and a line of progress with the time left."""

import csv
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.checkpoints import write_atomically
from models.clips import to_int16

Row = dict[str, float]
PAUSE_SECONDS = 0.25  # of silence between the samples of one file
WARM, ESTIMATED = 5, 50  # steps after which a machine's pace is measured, and told
FIRST_COLUMNS = ("step", "train_loss", "validation_loss", "learning_rate")


def duration(seconds: float) -> str:
    """A length of time in one unit, as in "40 s", "12 min", "3.5 h", "2.1 days"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def curve_csv(curve: Sequence[Row]) -> str:
    """The curve as CSV, an empty cell where a row has no value; no clock times, so that equal runs give equal bytes."""
    columns = dict.fromkeys([*FIRST_COLUMNS, *(name for row in curve for name in row)])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in curve:
        writer.writerow([format(row[name], ".9g") if name in row else "" for name in columns])
    return text.getvalue()


class Monitor:
    """Everything that a person sees of a training in `folder`; nothing that the training depends on.

    step: where training (re)starts. What an earlier attempt told TensorBoard about later steps is struck out there.
    progress: called about once a second; where it has a method `note`, that is told once, after 50 steps, how long it will take
    """

    def __init__(
        self,
        folder: Path,
        curve: Sequence[Row],
        step: int,
        steps: int,
        progress: Callable[[int, int, str], None] | None,
    ):
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.first, self.steps = folder, step, steps
        self.progress = progress
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if curve else 0)
        self._started = self._told = time.monotonic()
        self._warm: tuple[int, float] | None = None  # (step, when)
        self._estimated = False
        self._write_curve(curve)
        self._validation = self._describe(curve)

    def validated(self, curve: Sequence[Row]) -> None:
        """The curve has a new last row."""
        row = curve[-1]
        for name, value in row.items():
            if name != "step":
                self.board.add_scalar(name.replace("_", "/", 1), value, int(row["step"]))
        self._write_curve(curve)
        self._validation = self._describe(curve)

    def stepped(self, step: int, loss: float) -> None:
        """`step` steps are done, and the last one had this loss."""
        if step % 10 == 0:
            self.board.add_scalar("step/loss", loss, step)
        now = time.monotonic()
        if self.progress and (now - self._told > 1 or step == self.steps):
            self._told = now
            left = (now - self._started) / (step - self.first) * (self.steps - step)
            self.progress(step, self.steps, f"loss {loss:.4g}{self._validation}, {duration(left)} left")
        self._estimate(step, now)

    def _estimate(self, step: int, now: float) -> None:
        """After 50 steps, once: the pace, and when it will be done. The first steps do not count, they are slower."""
        done, note = step - self.first, getattr(self.progress, "note", None)
        if self._warm is None and done >= WARM:
            self._warm = (step, now)
        elif self._warm and done >= ESTIMATED and not self._estimated:
            self._estimated = True
            pace = (now - self._warm[1]) / (step - self._warm[0])
            left = pace * (self.steps - step)
            if note and left > 0:
                end = time.strftime("%H:%M", time.localtime(time.time() + left))
                note(
                    f"{1000 * pace:.0f} ms a step: about {duration(left)} for the other {self.steps - step:,} steps, to {end}"
                )

    def heard(self, step: int, waveforms: Tensor, sample_rate: int) -> None:
        """Keep `waveforms` (k, timesteps) in [-1, 1], one after another, as `listen/step-000500.wav`."""
        import soundfile

        waveforms = waveforms.detach().float().cpu()
        pause = torch.zeros(len(waveforms), int(PAUSE_SECONDS * sample_rate))
        audio = torch.cat([waveforms, pause], dim=1).flatten()
        path = self.folder / "listen" / f"step-{step:06d}.wav"
        codes: np.ndarray = to_int16(audio.numpy())
        write_atomically(path, lambda file: soundfile.write(file, codes, sample_rate, "PCM_16", format="WAV"))
        self.board.add_audio("samples", audio[None], step, sample_rate)

    def flush(self) -> None:
        """Bring what was told to TensorBoard to the disk."""
        self.board.flush()

    def close(self) -> None:
        self.board.close()

    def _write_curve(self, curve: Sequence[Row]) -> None:
        text = curve_csv(curve)
        write_atomically(self.folder / "curve.csv", lambda file: file.write(text.encode()))

    def _describe(self, curve: Sequence[Row]) -> str:
        return f", validation {curve[-1]['validation_loss']:.4g}" if curve else ""
