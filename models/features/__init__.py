"""What else can listen than the benchmark's own classifier: ears that no generator was chosen by, nor trained with.

    melproj                    a mel spectrogram and a fixed random projection: no weights, always there
    wavlm-base and the like    self-supervised speech models (`names()`), where their weights are on this machine
    path/to/module.py[:weights]      any module with the HEAR interface: load_model and get_scene_embeddings

`find` says what a name means, and whether its weights are there, without importing anything heavy; `Source.load` loads it.
"""

import ast
import difflib
import hashlib
import importlib
import os
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from models.features.base import Ears

SPECIAL = ("base", "pretrained", "hear")
HERE = Path(__file__).parent
WEIGHTS_URL = "https://download.pytorch.org/torchaudio/models"
# Name -> torchaudio's bundle, and the file of its weights.
PRETRAINED = {
    "wav2vec2-base": ("WAV2VEC2_BASE", "wav2vec2_fairseq_base_ls960.pth"),
    "wav2vec2-large": ("WAV2VEC2_LARGE", "wav2vec2_fairseq_large_ls960.pth"),
    "wav2vec2-large-lv60k": ("WAV2VEC2_LARGE_LV60K", "wav2vec2_fairseq_large_lv60k.pth"),
    "wav2vec2-xlsr53": ("WAV2VEC2_XLSR53", "wav2vec2_fairseq_large_xlsr53.pth"),
    "hubert-base": ("HUBERT_BASE", "hubert_fairseq_base_ls960.pth"),
    "hubert-large": ("HUBERT_LARGE", "hubert_fairseq_large_ll60k.pth"),
    "hubert-xlarge": ("HUBERT_XLARGE", "hubert_fairseq_xlarge_ll60k.pth"),
    "wavlm-base": ("WAVLM_BASE", "wavlm_base.pth"),
    "wavlm-base-plus": ("WAVLM_BASE_PLUS", "wavlm_base_plus.pth"),
    "wavlm-large": ("WAVLM_LARGE", "wavlm_large.pth"),
}


class Source(NamedTuple):
    """A pair of ears by name. spec: what finds it again; file: its code; weights: the file of them, if it has one."""

    name: str
    spec: str
    file: Path
    weights: Path | None = None

    @property
    def uses_torch(self) -> bool:
        """Whether loading it needs torch, and may use a GPU."""
        return self.name in PRETRAINED or self.spec != self.name

    @property
    def version(self) -> int | str:
        """VERSION: raised when features change. Of a module from outside, its source counts as well."""
        if self.spec != self.name:
            source = hashlib.sha256(self.file.read_bytes()).hexdigest()
            return f"{_version(HERE / 'hear.py')}+sha256:{source[:16]}"
        return _version(self.file)

    def missing(self) -> str:
        """Which file is missing, and how to get it; "" where all are there."""
        if not self.file.is_file():
            return f"--features {self.spec}: there is no module {self.file}. Give the path of a file with the HEAR interface"
        if self.weights is None or self.weights.is_file():
            return ""
        if self.name not in PRETRAINED:
            return f"--features {self.spec}: there are no weights {self.weights}. Give their path after the module's"
        url = f"{WEIGHTS_URL}/{self.weights.name}"
        return (
            f"--features {self.name}: its weights are not on this machine: looked for {self.weights}. Nothing is "
            f"downloaded during an evaluation; get them once with\n"
            f"    mkdir -p {self.weights.parent} && curl -L -o {self.weights} {url}\n"
            f"or copy the file there from a machine that has it (TORCH_HOME names another place)"
        )

    def load(self, device: str = "cpu") -> "Ears":
        """The ears, ready to listen. Raises ValueError where a file is missing, or is not what it should be."""
        if problem := self.missing():
            raise ValueError(problem)
        if self.name in PRETRAINED:
            from models.features import pretrained

            assert self.weights is not None
            return pretrained.Pretrained(self.name, PRETRAINED[self.name][0], self.weights, device)
        if self.spec != self.name:
            from models.features import hear

            return hear.HearModule(self.name, self.file, self.weights, device)
        module = importlib.import_module(f"models.features.{self.name}")
        classes = {name.lower(): value for name, value in vars(module).items() if isinstance(value, type)}
        if self.name.replace("_", "") not in classes:
            raise ValueError(f"{self.file} must define one class with the file's name, {self.name!r} in any capitals")
        ears: Ears = classes[self.name.replace("_", "")]()
        return ears


def names() -> list[str]:
    """All that are known by a name: the files of this folder, sorted, then the pretrained ones."""
    found = (module.name for module in pkgutil.iter_modules([str(HERE)]))
    return [*sorted(name for name in found if name not in SPECIAL and not name.startswith("_")), *PRETRAINED]


def find(spec: str) -> Source:
    """The ears of that name, or of that `path/to/module.py[:weights]`. Raises ValueError that lists the choices."""
    if spec in PRETRAINED:
        return Source(spec, spec, HERE / "pretrained.py", _hub() / PRETRAINED[spec][1])
    file, colon, weights = spec.partition(".py:")
    if colon or spec.endswith(".py"):
        module, own = Path(f"{file.removesuffix('.py')}.py"), Path(weights) if weights else None
        return Source("-".join(["hear", module.stem, *([own.stem] if own else [])]), spec, module, own)
    if spec not in names():
        close = difflib.get_close_matches(spec, names(), n=1)
        raise ValueError(
            f"unknown features {spec!r}.{f' Did you mean {close[0]}?' if close else ''} Available: "
            f"{', '.join(names())}, or path/to/module.py[:weights] with the HEAR interface"
        )
    return Source(spec, spec, HERE / f"{spec}.py")


def _version(file: Path) -> int:
    """Its VERSION, read without importing it, which may import torch."""
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "VERSION":
            return int(ast.literal_eval(statement.value))
    raise ValueError(f"{file} has no VERSION: a whole number, raised when its features change")


def _hub() -> Path:
    """Where torch.hub keeps weights, and torchaudio looks for them."""
    cache = os.getenv("XDG_CACHE_HOME", "~/.cache")
    home = os.path.expanduser(os.getenv("TORCH_HOME", os.path.join(cache, "torch")))
    return Path(home) / "hub" / "checkpoints"
