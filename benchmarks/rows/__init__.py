"""The rows of the benchmark's table. Any file in this folder but `base.py` holds some, in its `ROWS`; nothing registers it.

Nothing heavy is imported at the top of these files, so that the list of rows is there at once, and so that a machine without
Luigi and soundfile can run the rows that do not need them.
"""

import difflib
import importlib
import pkgutil

from benchmarks.rows.base import Row


def every() -> list[Row]:
    """All rows, in the order of their `place`."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")
    found = [row for name in names for row in importlib.import_module(f"{__name__}.{name}").ROWS]
    return sorted(found, key=lambda row: row.place)


def find(name: str) -> Row:
    """The row of that name. Raises ValueError that lists the choices."""
    rows = {row.name: row for row in every()}
    if name not in rows:
        close = difflib.get_close_matches(name, rows, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(f"there is no row {name!r}.{hint} Rows: {', '.join(rows)}")
    return rows[name]
