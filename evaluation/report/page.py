"""The report page: what goes into it (`ReportData`), and `write_report`, which renders it to a folder that works offline.

The page needs no network: style, script, plots and pictures are inside, sounds in files beside it, fetched when they are
played. Its content security policy forbids every other fetch and every script but our own, by hash; templates escape all text,
so a model may be called `<script>`. The same data gives the same bytes.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class ReportData:
    """Everything the page shows, as plain JSON-like values (and int16 arrays for the clips)."""

    corpus: Mapping[str, Any]
    """name, title, licence, citation, homepage, sample_rate (Hz), timesteps (per clip), and
    clips: {split: number} or {split: {label: number}}. All but name and title may be absent."""
    rows: Sequence[Mapping[str, Any]]
    """Leaderboard rows: name, title, kind (measured, imported, published, control), model, preset, seeds, draw, count,
    parameters, nfe (network evaluations for one sample), runs: [{seed, trained, scores: {key: Score JSON}, source, digest}];
    optionally `conditional` (what its samples were given: "0.25 s prefix"), `note` (a sentence about the row) and
    `reasons`: {score key: why there is no number}. Rows of several seeds may come merged or one by one."""
    metrics: Sequence[Mapping[str, Any]]
    """key, name, unit, better, digits, doc, headline (shown in the main table; the first one sorts it), version; in display
    order: `Metric.to_json()`."""
    judge: str = ""
    """The ears whose features are compared in place of a classifier's, where the corpus has no classes."""
    classifier: Mapping[str, Any] | None = None
    """name, preset, accuracy {value, low, high}, labels, confusion (rows: true label, columns: predicted; counts),
    per_class_accuracy (one per label; None for one without clips), calibration {bins: [{confidence, accuracy, count}],
    ece}, parameters. All but name may be absent; None leaves the section out."""
    curves: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Title of a training -> {step: [...], train_loss: [...], validation_loss: [...] (None where not taken), unit}."""
    audio: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Row name, or "real" for the corpus -> clips: caption, codes (int16 (timesteps,)), sample_rate (Hz),
    details (shown below: predicted label, confidence, log-likelihood ...)."""
    about_audio: Mapping[str, str] = field(default_factory=dict)
    """Row name or "real" -> a sentence on which clips these are, and in what order."""
    provenance: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Row name -> the artifacts its numbers came from, first to last: stage, path (relative to the corpus folder),
    digest, version, seconds, settings (dict), commit, modified (whether the files differed from that commit)."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """Row name -> the command line that rebuilds it."""
    histograms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Row name or "real" -> {label: number of clips that the classifier heard as it}."""
    bins: Mapping[str, Mapping[int, Mapping[str, Sequence[Mapping[str, Any]]]]] = field(default_factory=dict)
    """Row name -> bin of v1/ndb -> {"generated": clips of it, the most typical first, "real": likewise}: of `bins.extremes`."""
    pairs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Row name -> limit (of the waveforms' correlation, from held-out clips; or None) and pairs, nearest first: [{generated and
    real: a clip each, distance, and perhaps correlation and identical, as `evaluation.audit.nearest_pairs` gives them}]."""
    influential: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]] = field(default_factory=dict)
    """Row name -> {"worst": clips whose absence would lower FID most, "best": raise it most}."""
    thresholds: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Row name -> what each search of likelihood thresholds found: `evaluation.rejection.Tuned.to_json()`, with `scores` of
    the reporting half, {"inside": {key: Score JSON}, "whole": ...}, and perhaps a `title`."""
    checkpoints: Sequence[Mapping[str, Any]] = ()
    """Measures over training, each a `curve.json` of EvaluateCheckpoints: title, criterion {key, name}, samples, and
    checkpoints [{name, step, best, tied, scores: {key: Score JSON}}]."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Library versions, host, device, threads, git commit; may be nested."""
    notes: Sequence[str] = ()
    """What a reader must know, such as why published rows are absent."""


def write_report(data: ReportData, folder: Path) -> Path:
    """Render the page to folder/index.html, its sounds to folder/audio/, and return the page's path.

    Links to artifacts are relative to a report that lies in a folder of the corpus folder (`spoken-digits/report/`).
    Raises ValueError where rows contradict each other, or audio, provenance or histograms name a row that is not there.
    """
    from evaluation.leaderboard import replace_text

    text, files = rendered(data)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    path = folder / "index.html"
    replace_text(path, text)
    return path


def render(data: ReportData) -> str:
    """The page as text."""
    return rendered(data)[0]


def rendered(data: ReportData) -> tuple[str, dict[str, bytes]]:
    """The page as text, and the files beside it: path -> content."""
    import jinja2

    from evaluation.report.sections import context

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The hash is over the very text between the tags, which the template includes as it is.
    script = environment.get_template("page.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shown = context(data)
    text = environment.get_template("page.html").render(shown, script_hash=f"sha256-{digest}")
    return text, shown["sounds"].files
