"""Runs the benchmark from `python -m pipeline.<corpus>`: flags, plan, progress, an honest exit status, a closing summary."""

import contextlib
import itertools
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline import streams
from pipeline.options import Options, parse

if TYPE_CHECKING:
    from tasks.artifact import ArtifactTask
    from tasks.benchmark import RunBenchmark

USAGE, STALE, ALREADY_RUNNING, FAILED = 2, 3, 10, 30


def main(corpus: str, words: list[str] | None = None) -> NoReturn:
    """The front door to one corpus; exits with the status that `--help` explains."""
    streams.leave(lambda: attend(parse(corpus, words)))


def attend(
    options: Options, make: Callable[[Options], Any] | None = None, close: Callable[[Any], str] | None = None
) -> int:
    """`run`, with an answer to those who stop it."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return run(options, make, close)
    except KeyboardInterrupt as stop:
        print("Stopped. What was finished is kept; the same command goes on from here.", file=sys.stderr)
        return 128 + (signal.SIGTERM if "SIGTERM" in stop.args else signal.SIGINT)


def run(
    options: Options, make: Callable[[Options], Any] | None = None, close: Callable[[Any], str] | None = None
) -> int:
    """Plan, and unless only the plan was asked for, run what is not done yet. Returns the exit status.

    make, close: the task in place of the benchmark, and what is said when it is done in place of the leaderboard
    """
    from pipeline import plan
    from tasks.errors import EarshotError
    from tasks.sample_sets import named

    try:
        configure(options)
        task = (make or benchmark)(options)
        steps = plan.steps(task)
        shown = plan.show(steps, about(options.corpus)) if options.plan else ""
    except (EarshotError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return USAGE
    if options.plan:
        print(shown)
        return 0
    stale = [step for step in steps if step.state == plan.STALE]
    if stale:
        print("\n\n".join(step.explanation for step in stale), file=sys.stderr)
        return STALE
    for name, path in named(options.samples):
        print(f"Samples of {name}: {path}", file=sys.stderr)
    if any(step.state != plan.DONE for step in steps):
        status = work(task, options)
        if status:
            return status
    # Who was killed between finishing an artifact and tidying up after it left that to us; and the newest leaderboard, to
    # which the links lead, may have been another classifier's.
    for step in steps:
        with contextlib.suppress(OSError):
            step.task.clean_up()
    print((close or summary)(task))
    return 0


def configure(options: Options) -> None:
    """Take luigi.cfg from the repository wherever we are called from, and let flags win over it."""
    import luigi

    from tasks import machine

    luigi.configuration.add_config_path(str(machine.REPOSITORY / "luigi.cfg"))
    if any(word.partition("=")[0] in ("--scheduler-host", "--scheduler-url") for word in options.luigi):
        luigi.configuration.add_config_path(str(machine.REPOSITORY / "pipeline" / "cluster.cfg"))
    for name, value in [*options.machine.items(), *machine_flags(options.luigi)]:
        machine.override(name, value)
    config = luigi.configuration.get_config()
    config.set("core", "no_configure_logging", "true")
    config.set("core", "no_lock", "true")  # Luigi's lock is per command line; ours is per folder


def machine_flags(words: list[str]) -> Iterator[tuple[str, str]]:
    """Machine settings in Luigi's spelling, `--machine-processes 2`: they count before Luigi reads its flags."""
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        flag, equals, value = word.partition("=")
        if flag.startswith("--machine-"):
            yield flag.removeprefix("--machine-").replace("-", "_"), value if equals else following


def benchmark(options: Options) -> "RunBenchmark":
    """The task that was asked for. Raises EarshotError or ValueError where names or settings are wrong."""
    from tasks import machine
    from tasks import settings as setting_tools
    from tasks.artifact import stages_to_rebuild
    from tasks.benchmark import RunBenchmark
    from tasks.corpus import PrepareClips
    from tasks.errors import EarshotError
    from tasks.parameters import check_plugin, model_name
    from tasks.sample_sets import named

    stages_to_rebuild()  # raises where --stale is wrong
    check_luigis_flags(options.luigi)
    if machine.setting("device") == "cuda" and not machine.gpus():
        raise EarshotError("--device cuda: no GPU is visible here; leave it out, or say --device cpu")
    machine.processes()  # raises where it makes no sense
    for model in options.models:
        check_plugin("generators", model)
    assignments = [*setting_tools.of_corpus(options.corpus, options.models, options.preset), *options.assignments]
    if options.corpus == "folder" and "source" in options.machine:
        assignments = [f"corpus.name={folder_name(options.machine['source'])}", *assignments]
    settings = setting_tools.parse(assignments)
    setting_tools.check_only(settings, (*setting_tools.SPACES, *map(model_name, options.models)))
    if options.count is not None and options.count < 2:
        raise EarshotError(f"--count {options.count}: a row has at least 2 samples")
    PrepareClips(corpus=options.corpus, settings=setting_tools.in_space(settings, "corpus")).check_corpus()
    return RunBenchmark(
        corpus=options.corpus,
        settings=settings,
        models=tuple(os.path.abspath(m) if ":" in m else m for m in options.models),
        preset=options.preset,
        seeds=tuple(options.seeds),
        count=options.count or 0,
        classifier=options.classifier,
        checkpoint=options.checkpoint,
        features=tuple(options.features),
        save_probabilities=options.save_probabilities,
        sample_sets=named(options.samples),
        samples_rate=options.samples_rate,
        **options.prefix,
    )


def folder_name(source: str) -> str:
    """What a folder of recordings is called in paths, unless `--set corpus.name=` says otherwise."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).name).strip("-._") or "recordings"


def check_luigis_flags(words: list[str]) -> None:
    """Raise EarshotError for a flag that is neither ours nor Luigi's, a value that it cannot read, or a stray word."""
    import luigi
    from luigi.task_register import Register

    from tasks.errors import EarshotError

    known = {
        "--" + (name if bare else f"{task}-{name}").replace("_", "-"): parameter
        for task, bare, name, parameter in Register.get_all_params()
    }
    rest = list(words)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if flag not in known:
            raise EarshotError(
                f"no such flag: {flag}. --help lists ours; Luigi's own, such as --scheduler-host, work as well"
            )
        parameter = known[flag]
        switch = (
            isinstance(parameter, luigi.BoolParameter) and parameter.parsing == luigi.BoolParameter.IMPLICIT_PARSING
        )
        if not equals and not switch:
            if not rest:
                raise EarshotError(f"{flag} needs a value")
            value = rest.pop(0)
        try:
            if value:
                parameter.parse(value)
        except (ValueError, luigi.parameter.ParameterException) as error:
            raise EarshotError(f"{flag} {value}: {error}") from None


def work(task: Any, options: Options) -> int:
    """Let Luigi run the task. Returns the exit status."""
    import luigi.retcodes

    from tasks import console

    _hear_luigi()
    arguments = [task.task_family, "--module", type(task).__module__]
    for name, value in task.to_str_params().items():
        arguments += [f"--{name.replace('_', '-')}", value]
    with tempfile.TemporaryDirectory(prefix="earshot-") as folder:
        os.environ[console.FAILURES] = failures = str(Path(folder) / "failures")
        status = 0
        try:
            luigi.retcodes.run_with_retcodes([*arguments, *options.luigi])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        kinds = Path(failures).read_text().split() if Path(failures).exists() else []
    if status and kinds and set(kinds) == {"AlreadyRunning"}:
        status = ALREADY_RUNNING
    if status and kinds and set(kinds) == {"StaleArtifact"}:
        status = STALE
    if status not in (0, STALE):
        print("Not finished. What was finished is kept; the same command goes on from here.", file=sys.stderr)
    return status


def summary(task: "RunBenchmark") -> str:
    """The leaderboard, and where to look next."""
    comparison = task.requires()
    place = comparison.folder.parent.parent
    table = (comparison.folder / "leaderboard.txt").read_text(encoding="utf-8")
    shown = os.path.relpath(place) if not os.path.relpath(place).startswith("..") else str(place)
    return f"{table}\nLeaderboard: {shown}/leaderboard.md\nReport:      {shown}/report/index.html"


def about(corpus: str) -> str:
    """Whose recordings these are, and what may be done with them."""
    from tasks import corpora

    cls = corpora.find(corpus).cls
    return f"{cls.title}\n  Licence:  {cls.licence}\n  Citation: {cls.citation}\n  Homepage: {cls.homepage}"


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt("SIGTERM")


class _Handler(logging.Handler):
    """Of what Luigi logs, what nobody else has told: errors while planning, and tracebacks of our bugs."""

    def emit(self, record: logging.LogRecord) -> None:
        from tasks.console import plain_words

        kind, message = plain_words(record)
        if kind in ("AlreadyRunning", "StageFailed"):
            return  # the console has said it
        with contextlib.suppress(OSError):  # nobody reads any more
            if message:
                print(message, file=sys.stderr)
            elif record.exc_info or record.levelno >= logging.ERROR:
                print(self.format(record), file=sys.stderr)


def _tell_of_a_dead_worker(task: "ArtifactTask", message: str) -> None:
    """Luigi hides it in its log; a worker that was asked to stop (143) is no news."""
    from tasks import console

    if not message.endswith(str(128 + signal.SIGTERM)):
        console.say(str(task.place()), "FAILED: the worker process that looked after it was killed")


def _hear_luigi() -> None:
    import luigi

    from tasks.artifact import ArtifactTask

    ArtifactTask.event_handler(luigi.Event.PROCESS_FAILURE)(_tell_of_a_dead_worker)
    for name in ("luigi", "luigi-interface", "luigi.scheduler"):
        logger = logging.getLogger(name)
        logger.handlers, logger.filters, logger.propagate = [], [], False
        logger.addHandler(_Handler())
        logger.setLevel(logging.WARNING)
