"""The benchmark of speed: `make bench`, or `python -m benchmarks.bench` from the repository.

    --list                                    what rows there are
    --rows wavenet-sampling rerun             some of them
    --quick                                   all at toy size, in some minutes, most of them compiling
    --json out.json                           every number, with where it comes from, written after each row
    --show out.json [--markdown]              the table of an earlier run
    --device cuda                             the rows of a graphics card; needs models/, tasks/host.py, PyTorch

Above the table stands what the machine can do (`roofline.py`); the limits in it are counted operations and bytes at these
rates (`counts.py`). Every row runs in a process of its own, pinned to as many cores as it says. One that fails costs the others
nothing. Rows that --json measured earlier stay in its file if commit (without changes), machine, device and sizes are the same;
else it is replaced. Each row says when it was measured.

Last comes how many goals were reached, and which were not. Exit status: 0 all rows were measured; 1 some failed, or results are
wrong: a goal of agreement was missed (one of speed may be, on a busy machine); 2 wrong usage; 129 and more: stopped.
"""

import argparse
import json
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

from benchmarks import child, machine, results, rows, table
from benchmarks.rows.base import Row


def main(words: list[str] | None = None) -> int:
    """Measure what was asked for, print the table; returns the exit status."""
    options = parse(words)
    if options.list:
        for row in rows.every():
            print(f"{row.name:<38}{'/'.join(row.devices):<10}{row.title}")
        return 0
    if options.show:
        found = json.loads(Path(options.show).read_text(encoding="utf-8"))
        if not options.markdown:
            print_table(found)
    else:
        for signum in (signal.SIGTERM, signal.SIGHUP):  # so that the row at work ends with us
            signal.signal(signum, lambda signum, _: sys.exit(128 + signum))
        try:
            found, whole = measured(chosen(options), options)
        except KeyboardInterrupt:
            return 130
    if options.markdown:
        print(table.markdown(found if options.show else whole), end="")
    else:
        print("", *table.summary(found), sep="\n")
    for failure in found["failed"]:
        print(
            f"{failure['name']} failed: {failure['reason']}",
            textwrap.indent(failure["log"], "    "),
            sep="\n",
            file=sys.stderr,
        )
    return 1 if found["failed"] or table.wrong(found) else 0


def parse(words: list[str] | None) -> argparse.Namespace:
    """Read the command line. Exits with status 2 where it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help="these alone; --list names them")
    parser.add_argument("--list", action="store_true", help="list the rows and measure nothing")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    parser.add_argument("--json", metavar="FILE", help="where to write every number")
    parser.add_argument(
        "--markdown", action="store_true", help="print the table as docs/performance.md has it, at the end"
    )
    parser.add_argument("--show", metavar="FILE", help="print the table of an earlier --json; measure nothing")
    options = parser.parse_args(words)
    try:
        chosen(options)
    except ValueError as error:
        parser.error(str(error))
    if options.show and not Path(options.show).is_file():
        parser.error(f"there is no file {options.show}; --json writes one")
    return options


def chosen(options: argparse.Namespace) -> list[Row]:
    """The rows that were asked for, in the table's order. Raises ValueError on one that there is not."""
    asked = [rows.find(name) for name in options.rows] or [row for row in rows.every() if options.device in row.devices]
    for row in asked:
        if options.device not in row.devices:
            raise ValueError(f"{row.name} is measured on {' or '.join(row.devices)} only, not on {options.device}")
    return sorted(asked, key=lambda row: row.place)


def measured(asked: list[Row], options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the results of this run, and of the whole file that it goes to) as JSON values; the table is printed as it grows."""
    device, quick, cores = options.device, options.quick, machine.usable_cores()
    found: dict[str, Any] = {
        "device": device, "quick": quick, "environment": machine.describe(), "roofline": {}, "rows": [], "failed": [],
    }  # fmt: skip
    threads_of = {row.name: min(row.threads, len(cores)) if device == "cpu" else 1 for row in asked}
    for threads in sorted(set(threads_of.values())):
        try:
            rates = child.measure(child.ROOFLINE, device, quick, cores_of(threads, cores, device), threads, None)
        except child.FailedError as error:
            found["failed"].append(failed(child.ROOFLINE, f"roofline, {threads} threads", error))
        else:
            found["roofline"][str(threads)] = rates["rates"]
            found["environment"].update(rates["environment"])
    print_head(found)
    path = Path(options.json) if options.json else None
    earlier, order = results.read(path, found), [row.name for row in rows.every()]
    for row in asked:
        threads = threads_of[row.name]
        try:
            of_row = measure_row(row, device, quick, cores, threads, found)
        except child.FailedError as error:
            found["failed"].append(failed(row.name, row.title, error))
            print(f"{row.title}: failed: {error}", flush=True)
        else:
            found["rows"].append(of_row)
            print_row(of_row)
        if path:
            results.write(path, results.merged(earlier, found, order))
    if path:
        print(f"\nevery number: {path}")
    return found, results.merged(earlier, found, order)


def measure_row(
    row: Row, device: str, quick: bool, cores: tuple[int, ...], threads: int, run: dict[str, Any]
) -> dict[str, Any]:
    """A row's results, with where and when they come from. Raises FailedError."""
    rates = run["roofline"].get(str(threads))
    about = {
        "name": row.name, "title": row.title, "cores": row.cores, "threads": threads, "exact": row.exact,
        "run": run["environment"]["date"], "date": machine.now(), "load_average": machine.load(), "rates": rates,
    }  # fmt: skip
    found = about | child.measure(row.name, device, quick, cores_of(row.cores, cores, device), threads, rates)
    if device == "cpu" and len(cores) < row.cores:
        found["figures"][0]["note"] = f"on {len(cores)} of the {row.cores} cores that it is about"
    return found


def cores_of(count: int, cores: tuple[int, ...], device: str) -> tuple[int, ...]:
    """The first of them; all, where a graphics card does the work."""
    return cores[:count] if device == "cpu" else ()


def failed(name: str, title: str, error: child.FailedError) -> dict[str, str]:
    return {"name": name, "title": title, "reason": str(error), "log": error.log}


def print_table(found: dict[str, Any]) -> None:
    """All of it at once."""
    print_head(found)
    for row in found["rows"]:
        print_row(row)


def print_head(found: dict[str, Any]) -> None:
    print("\n".join(table.head(found)))
    print(textwrap.fill(table.LEGEND, 128), "", table.line(list(table.COLUMNS)), sep="\n", flush=True)


def print_row(row: dict[str, Any]) -> None:
    print("\n".join(table.line(texts) for texts in table.of_row(row["title"], row)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
