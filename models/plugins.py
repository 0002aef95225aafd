"""Finding plug-ins: any file without a special role in `models/generators/` or `models/classifiers/` is one, by its name.

Nothing registers it. A file elsewhere is named `path/to/mine.py:Mine`; what it leaves out is filled in: without PRESETS, its
Config's defaults serve as smoke, small and paper. The sha256 of its source is part of its version.
Names are found without importing anything heavy; only a `Plugin`'s `module` and what comes from it imports torch.
"""

import dataclasses
import difflib
import functools
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

SPECIAL = ("base",)
PRESET_NAMES = ("smoke", "small", "paper")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Plugin:
    """A generator or classifier by name.

    kind: generators or classifiers; name: of its file, or of its class for a file outside; spec: what finds it again;
    class_name: "" = the one class of its module that has the file's name
    """

    kind: str
    name: str
    spec: str
    class_name: str
    source_path: Path

    @functools.cached_property
    def module(self) -> ModuleType:
        """The file, imported."""
        if not self.class_name:
            return importlib.import_module(f"models.{self.kind}.{self.name}")
        # dataclasses and pickling look a class's module up by name, so it must have one that is its own
        name = f"earshot_plugin_{hashlib.sha256(str(self.source_path).encode()).hexdigest()[:12]}"
        if name not in sys.modules:
            found = importlib.util.spec_from_file_location(name, self.source_path)
            assert found is not None
            assert found.loader is not None
            module = importlib.util.module_from_spec(found)
            sys.modules[name] = module
            try:
                found.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
        return sys.modules[name]

    @functools.cached_property
    def cls(self) -> type[Any]:
        """The network's class. Raises ValueError where the file has none of the right name."""
        classes = {name: value for name, value in vars(self.module).items() if isinstance(value, type)}
        if self.class_name:
            wanted = [classes[self.class_name]] if self.class_name in classes else []
        else:
            plain = self.name.replace("_", "")
            wanted = [value for name, value in classes.items() if name.lower() == plain]
        if len(wanted) != 1:
            expected = self.class_name or f"one class with the file's name, {self.name!r} in whatever capitals"
            raise ValueError(
                f"{self.source_path} must define {expected}; it has {', '.join(sorted(classes)) or 'none'}"
            )
        return wanted[0]

    @property
    def version(self) -> int | str:
        """VERSION: raised when trained models or samples change. Of an outside file, its source counts as well."""
        stated: int | None = getattr(self.module, "VERSION", None)
        if stated is not None and not self.class_name:
            return stated
        source = f"sha256:{hashlib.sha256(self.source_path.read_bytes()).hexdigest()[:16]}"
        return source if stated is None else f"{stated}+{source}"

    @property
    def presets(self) -> dict[str, Any]:
        """Complete configurations by name."""
        presets: dict[str, Any] | None = getattr(self.module, "PRESETS", None)
        return presets or dict.fromkeys(PRESET_NAMES, self.config({}))

    def config(self, settings: dict[str, Any]) -> Any:
        """A Config with these settings, the others at their defaults. Raises ValueError on a name that it does not have."""
        if not hasattr(self.module, "Config"):
            raise ValueError(f"{self.source_path} must define Config, a frozen dataclass that inherits TrainingConfig")
        cls = self.module.Config
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in settings:
            if name not in fields:
                raise ValueError(
                    f"{self.name} has no setting {name!r}.{_hint(name, fields)} Available: {', '.join(fields)}"
                )
        # JSON knows no tuples
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        return cls(**values)


def names(kind: str) -> list[str]:
    """All plug-ins of a kind, sorted."""
    modules = (module.name for module in pkgutil.iter_modules([str(HERE / kind)]))
    return sorted(name for name in modules if name not in SPECIAL and not name.startswith("_"))


def find(kind: str, spec: str) -> Plugin:
    """The plug-in `spec`: a name, or `path/to/mine.py:Mine`. Raises ValueError that lists the choices where there is none."""
    file, colon, class_name = spec.rpartition(":")
    if colon:
        path = Path(file)
        if not (path.suffix == ".py" and path.is_file() and class_name.isidentifier()):
            raise ValueError(f"no such model: {spec!r}. Write path/to/file.py:ClassName, with a file that exists")
        return Plugin(kind, class_name, f"{path.resolve()}:{class_name}", class_name, path.resolve())
    if spec.endswith(".py"):
        raise ValueError(f"which class of {spec}? Write {spec}:ClassName")
    available = names(kind)
    if spec not in available:
        what = "model" if kind == "generators" else kind.removesuffix("s")
        raise ValueError(
            f"unknown {what} {spec!r}.{_hint(spec, available)} Available: {', '.join(available)}. "
            f"Add one as models/{kind}/{spec}.py"
        )
    return Plugin(kind, spec, spec, "", HERE / kind / f"{spec}.py")


def _hint(name: str, available: Any) -> str:
    close = difflib.get_close_matches(name, list(available), n=1)
    return f" Did you mean {close[0]}?" if close else ""
