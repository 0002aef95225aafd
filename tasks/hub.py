"""Files on the Hugging Face Hub, without a published sha256: where they lie, and whether they stay what they were."""

import os
from pathlib import Path

HUB = "https://huggingface.co"


def mirrored(url: str) -> str:
    """The address on the mirror that HF_ENDPOINT names, as it does for the Hub's own client."""
    return url.replace(HUB, os.environ.get("HF_ENDPOINT", HUB).rstrip("/"), 1)


def pin(note: Path, file: str, found: str) -> None:
    """Note the sha256 of a first download in `note`. Raises ValueError where an earlier one brought something else."""
    if note.exists():
        pinned = note.read_text(encoding="utf-8").split()[0]
        if pinned != found:
            raise ValueError(
                f"its sha256 is {found}, but {pinned} when it was first downloaded, as noted in {note}. If you trust the "
                "new content, remove that file and run again; else use the old content by its path"
            )
        return
    temporary = note.with_name(f".{note.name}.{os.getpid()}.tmp")
    temporary.write_text(f"{found}  {file}\n", encoding="utf-8")
    os.replace(temporary, note)
