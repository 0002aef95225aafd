"""Which code makes a number, and whether it has changed: tests/versions.json, and the command that records it.

    python tests/record_versions.py                          record what is new, and what was given a higher VERSION
    python tests/record_versions.py --same wavenet --because "the loop is unrolled; the products are the same"

Every plug-in and every task with a VERSION is an entry. An entry stands on definitions (functions, classes, constants): its
own file's, or of a task its class; then, by the names that occur in them, those of the repository's other modules. Each
definition is hashed as a syntax tree without comments, docstrings and layout, and without the place where it is defined, so
that moving it costs nothing; C++ beside a module is a statement of it. Where a definition changes, every entry that stands
on it needs a higher VERSION, or a word why no number changes. Not followed: other entries' tasks, whose bytes are inputs by
digest, and the modules in NO_NUMBERS.
"""

import argparse
import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
RECORD = REPOSITORY / "tests" / "versions.json"
PUBLISHED = REPOSITORY / "models" / "published"
PLUGINS = {
    "generators": "models/generators",
    "classifiers": "models/classifiers",
    "features": "models/features",
    "metrics": "evaluation/metrics",
    "corpora": "tasks/corpora",
}
# What runs a stage, finds a plug-in, resolves a setting (compared by value in config.json) or paints a number.
NO_NUMBERS = (
    "pipeline/", "evaluation/report/", "evaluation/wording.py", "evaluation/describe.py", "models/describe.py",
    "models/plugins.py", "models/generators/__init__.py", "models/classifiers/__init__.py", "models/features/__init__.py",
    "tasks/corpora/__init__.py", "tasks/ears.py",
    "tasks/artifact.py", "tasks/console.py", "tasks/descriptions.py", "tasks/errors.py",
    "tasks/folders.py", "tasks/machine.py", "tasks/parameters.py", "tasks/provenance.py", "tasks/ranks.py",
    "tasks/settings.py", "tasks/stage.py", "tasks/supervisor.py",
)  # fmt: skip
# What a task says of its folder besides building it.
NO_BYTES = ("place", "headline", "expected_bytes", "clean_up")
# What no import leads to, since it is run by its path, or found by its name.
ALSO = {
    "corpora/spoken_digits": ("tasks/corpora/_espeak.py",),
    "tasks/ImportCheckpoint": tuple(f"models/published/{path.name}" for path in sorted(PUBLISHED.glob("[!_]*.py"))),
    "tasks/ImportClassifier": ("models/published/resnext.py",),
}


class Definition(NamedTuple):
    """A top-level statement of a file, by the first name that it defines; "" for all those that define none."""

    file: str
    name: str

    def __str__(self) -> str:
        return f"{self.file}: {self.name or 'statements at the top level'}"


class Module:
    """One file: its definitions, and what its imports mean."""

    def __init__(self, file: str):
        self.file = file
        self.statements: dict[str, list[ast.stmt]] = {"": []}
        self.names: dict[str, str] = {}  # every defined name -> the definition that it belongs to
        tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
        self.imports = _imports(tree.body)
        for statement in tree.body:
            names = list(_defined(statement))
            if names:
                self.names |= dict.fromkeys(names, names[0])
                self.statements.setdefault(names[0], []).append(_without_remarks(statement, file))
            elif not isinstance(statement, ast.Import | ast.ImportFrom) and not _is_type_checking(statement):
                self.statements[""].append(statement)

    def definitions(self) -> list[Definition]:
        return [Definition(self.file, name) for name in self.statements]


def _defined(statement: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for node in (node for target in targets for node in ast.walk(target)):
            if isinstance(node, ast.Name):
                yield node.id


def _without_remarks(statement: ast.stmt, file: str) -> ast.stmt:
    """The statement, less what a task's class holds besides the making of bytes."""
    if isinstance(statement, ast.ClassDef) and file.startswith("tasks/"):
        statement.body = [s for s in statement.body if getattr(s, "name", "") not in NO_BYTES]
    return statement


def _is_type_checking(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test)


def _imports(body: Iterable[ast.stmt]) -> dict[str, tuple[str, str]]:
    """name -> (module, the name in it, or "" for the module itself), of the import statements among `body`."""
    found = {}
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                found[alias.asname or module] = (module, "")
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    return found


@cache
def module(file: str) -> Module:
    return Module(file)


@cache
def file_of(name: str) -> str | None:
    """The file of a module of ours, relative to the repository; None for anybody else's."""
    path = Path(*name.split("."))
    found = (file for file in (path.with_suffix(".py"), path / "__init__.py") if (REPOSITORY / file).is_file())
    return next((file.as_posix() for file in found), None)


def resolve(dotted: list[str], imports: dict[str, tuple[str, str]], home: Module) -> Iterator[Definition]:
    """The definitions that `a.b.c` means where `imports` hold; none if it is not ours."""
    first, rest = dotted[0], dotted[1:]
    if first not in imports:
        if first in home.names:
            yield Definition(home.file, home.names[first])
        return
    name, symbol = imports[first]
    rest = [symbol, *rest] if symbol else rest
    while (file := file_of(name)) is not None:
        found = module(file)
        if not rest:  # a module passed around as a value
            yield from found.definitions()
            return
        if rest[0] in found.names or rest[0] in found.imports:
            yield from resolve(rest, found.imports, found)
            return
        name, rest = f"{name}.{rest[0]}", rest[1:]


@cache
def used_by(definition: Definition) -> frozenset[Definition]:
    """The definitions whose names occur in this one, and the bare statements of its module."""
    home, found = module(definition.file), {Definition(definition.file, "")}
    for statement in home.statements[definition.name]:
        imports = home.imports | _imports(node for node in ast.walk(statement) if isinstance(node, ast.stmt))
        for dotted in _dotted_names(statement):
            found |= set(resolve(dotted, imports, home))
    return frozenset(found)


def _dotted_names(node: ast.AST) -> Iterator[list[str]]:
    """["a", "b"] for every expression `a.b` within; of longer chains only the whole."""
    chain: list[str] = []
    root = node
    while isinstance(root, ast.Attribute):
        chain, root = [root.attr, *chain], root.value
    if isinstance(root, ast.Name):
        yield [root.id, *chain]
    else:
        for child in ast.iter_child_nodes(node):
            yield from _dotted_names(child)


@cache
def tree_hash(definition: Definition) -> str:
    """A hash of what a definition means, the same on every supported Python."""
    source = (REPOSITORY / definition.file).with_suffix(".cpp")
    beside = "" if definition.name or not source.is_file() else re.sub("//.*", "", source.read_text(encoding="utf-8"))
    meaning = json.dumps(_plain(module(definition.file).statements[definition.name]))
    return _hash(meaning + " ".join(beside.split()))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _plain(node: Any) -> Any:
    """A syntax tree as lists: without positions, docstrings, VERSION, empty fields, and what differs among Pythons."""
    if isinstance(node, list):
        return [_plain(item) for item in node if not _is_remark(item)]
    if isinstance(node, ast.Constant):
        return ["Constant", repr(node.value)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if name not in ("ctx", "type_comment", "kind"))
    return [type(node).__name__, *([name, _plain(value)] for name, value in fields if value not in (None, []))]


def _is_remark(node: Any) -> bool:
    """Whether it is a bare string, which documents what is beside it, or `VERSION = ...`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VERSION"


EMPTY = _hash("[]")  # of what holds nothing but imports, docstrings and VERSION


class Entry(NamedTuple):
    """A plug-in or a task: its VERSION, and the hash of every definition that it stands on."""

    version: int
    definitions: dict[Definition, str]

    @property
    def hash(self) -> str:
        """Of all definitions, wherever they are defined."""
        hashes = sorted(f"{definition.name} {text}" for definition, text in self.definitions.items())
        return _hash("\n".join(hashes))


def entries() -> dict[str, Entry]:
    """`generators/wavenet`, `tasks/DrawSamples`, ... as the code is now."""
    found: dict[str, Entry] = {}
    roots: dict[str, list[Definition]] = {}
    for kind, folder in PLUGINS.items():
        for path in sorted((REPOSITORY / folder).glob("[!_]*.py")):
            if path.stem != "base":
                files = (f"{folder}/{path.name}", *ALSO.get(f"{kind}/{path.stem}", ()))
                roots[f"{kind}/{path.stem}"] = [d for file in files for d in module(file).definitions()]
    tasks = set()
    for path in sorted((REPOSITORY / "tasks").glob("*.py")):
        file = f"tasks/{path.name}"
        for name, statements in module(file).statements.items():
            if any(isinstance(s, ast.ClassDef) and _version(s.body) is not None for s in statements):
                tasks.add(Definition(file, name))
                also = [d for file in ALSO.get(f"tasks/{name}", ()) for d in module(file).definitions()]
                roots[f"tasks/{name}"] = [Definition(file, name), *also]
    for name, start in roots.items():
        defined = module(start[0].file).statements
        body = defined[start[0].name] if name.startswith("tasks/") else defined.get("VERSION", [])
        version = _version(s for statement in body for s in getattr(statement, "body", [statement]))
        if version is None:
            raise ValueError(f"{start[0].file} has no VERSION: a whole number, raised when its numbers change")
        hashes = {definition: tree_hash(definition) for definition in sorted(_closure(start, tasks))}
        found[name] = Entry(version, {definition: text for definition, text in hashes.items() if text != EMPTY})
    return found


def _version(body: Iterable[ast.stmt]) -> int | None:
    for statement in body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "VERSION":
            return int(ast.literal_eval(statement.value))
    return None


def _closure(start: list[Definition], tasks: set[Definition]) -> set[Definition]:
    found: set[Definition] = set()
    waiting = list(start)
    while waiting:
        definition = waiting.pop()
        elsewhere = definition not in start and (definition in tasks or _only_names_settings(definition))
        if definition in found or elsewhere or definition.file.startswith(NO_NUMBERS):
            continue
        found.add(definition)
        waiting += used_by(definition)
    return found


def _only_names_settings(definition: Definition) -> bool:
    """Whether it is a base of tasks, as DrawTask: parameters, places and settings, which config.json holds by value."""
    return definition.file.startswith("tasks/") and definition.name.endswith("Task")


def read_record() -> dict[str, Any]:
    """{"entries": {name: {version, hash, word?}}, "definitions": {"file: name": hash}}; empty where there is none."""
    empty: dict[str, Any] = {"entries": {}, "definitions": {}}
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else empty


def changed(entry: Entry, record: dict[str, Any]) -> list[Definition]:
    """The definitions of an entry that are not recorded as they are now, under whatever file."""
    known = {(text.partition(": ")[2], value) for text, value in record["definitions"].items()}
    return [d for d, value in entry.definitions.items() if (str(d).partition(": ")[2], value) not in known]


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--same", action="append", default=[], metavar="NAME", help="an entry whose numbers stay as "
        "they are, or a file or `file: definition` for all entries where nothing else has changed")  # fmt: skip
    parser.add_argument("--because", metavar="WHY", help="why no number changes")
    given = parser.parse_args(words)
    if bool(given.same) != bool(given.because):
        parser.error('--same NAME and --because "why it changes no number" go together')
    now, record, refused = entries(), read_record(), []
    recorded: dict[str, Any] = {}
    for name, entry in now.items():
        old = record["entries"].get(name)
        recorded[name] = {"version": entry.version, "hash": entry.hash}
        if old is None or entry.version > old["version"]:
            continue
        if entry.version == old["version"] and entry.hash == old["hash"]:
            recorded[name] = old
            continue
        places = [{str(d), d.file} for d in changed(entry, record)]
        excused = name in given.same or (places and all(place & set(given.same) for place in places))
        if entry.version == old["version"] and excused:
            recorded[name]["word"] = given.because
        else:
            refused.append(complaint(name, entry, old, record))
    if refused:
        print("\n".join(refused), file=sys.stderr)
        return 1
    definitions = {str(d): value for entry in now.values() for d, value in entry.definitions.items()}
    content = {"entries": dict(sorted(recorded.items())), "definitions": dict(sorted(definitions.items()))}
    RECORD.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(recorded)} entries, {len(definitions)} definitions in {RECORD.relative_to(REPOSITORY)}")
    return 0


def complaint(name: str, entry: Entry, old: dict[str, Any], record: dict[str, Any]) -> str:
    """What is wrong with an entry that is not as recorded, and what to do."""
    if entry.version < old["version"]:
        return f"{name}: VERSION is {entry.version}, but it has been {old['version']}; a VERSION never goes back."
    what = ", ".join(str(d) for d in changed(entry, record)) or "the set of definitions that it uses"
    return (
        f"{name}: still VERSION {entry.version}, but changed: {what}. If its numbers change, raise VERSION and run "
        f'`python tests/record_versions.py`; if not, add `--same {name} --because "why it changes no number"`.'
    )


if __name__ == "__main__":
    sys.exit(main())
