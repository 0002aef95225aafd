"""Being asked to stop: SIGTERM (preemption, shutdown) and SIGINT (Ctrl-C) set a flag that is read between steps."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Preempted(Exception):
    """Training was asked to stop by a signal; its checkpoint is on disk, and the same call goes on from there."""


class Interruption:
    """While entered, SIGTERM and SIGINT set `requested`; a second SIGINT raises KeyboardInterrupt at once.

    Outside the main thread, where Python installs no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = ""
        self._previous: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
