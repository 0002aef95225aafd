"""What people may call things that become a part of a path: an import, a corpus of their own, a preset."""

import re

ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=,@-]*")
# What tables call rows of their own (evaluation/controls.py), and the real clips.
RESERVED = (
    "held-out", "silence", "white-noise", "copied", "repeated", "half-collapsed", "train-split", "test-split", "real",
)  # fmt: skip


def check(what: str, name: str) -> None:
    """Raise ValueError unless `name` can be the name of one visible folder. what: `--name`, say."""
    if not ALLOWED.fullmatch(name) or name.endswith(".partial"):
        raise ValueError(
            f"{what} {name!r} cannot name a folder: write letters (A-Z, a-z), digits and . _ + = , @ -, beginning with a "
            "letter or digit and not ending in .partial"
        )


def check_row(what: str, name: str) -> None:
    """The same for what becomes the name of a row; raises ValueError also for the rows' own."""
    check(what, name)
    if name.lower() in RESERVED:
        raise ValueError(
            f"{what} {name!r} is what tables call a row of their own, as {', '.join(RESERVED)} are: take another"
        )
