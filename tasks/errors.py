"""What can go wrong that is not a bug: errors whose message is all that a person needs to read."""

import contextlib
import difflib
import errno
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class EarshotError(Exception):
    """A mistake or a circumstance, told in one message: what is wrong, which choices there are, what to do next."""


class AlreadyRunning(EarshotError):
    """Another process is building the same folder at this moment."""


class StaleArtifact(EarshotError):
    """A finished folder was made from other settings, inputs or code than the ones asked for now. place: which one."""

    def __init__(self, message: str, place: str = ""):
        super().__init__(message)
        self.place = place


class StageFailed(EarshotError):
    """The process that built a folder died; its `.partial/log.txt` tells why."""


def in_words(error: Exception) -> str:
    """What the person is told: an expected error by its message alone, anything else with the name of its kind."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or (isinstance(error, OSError) and re.match(r"\d+ requested and \d+ written", str(error))):  # NumPy's way
        return f"the disk is full ({error}): make room, and the same command goes on from here"
    text = str(error) or "no message"
    return text if isinstance(error, EarshotError | ValueError) else f"{type(error).__name__}: {text}"


def unknown(what: str, value: str, choices: Iterable[str], hint: str = "") -> str:
    """The message for a name that does not exist: the nearest one, all of them, and what to do."""
    choices = sorted(choices)
    near = difflib.get_close_matches(value, choices, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    return f"unknown {what} {value!r}.{guess} Available: {', '.join(choices) or 'none'}.{' ' + hint if hint else ''}"


@contextlib.contextmanager
def warnings_told(kind: type[Warning], tell: Callable[[str], None]) -> Iterator[None]:
    """Meanwhile, warnings of that kind are told, each once; others go where they always go."""
    shown = warnings.showwarning

    def show(message: Any, category: Any, *where: Any, **more: Any) -> None:
        if issubclass(category, kind):
            tell(str(message))
        else:
            shown(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("once", kind)
        warnings.showwarning = show
        yield
