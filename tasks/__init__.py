"""The DAG: the only code that knows Luigi, paths and files."""
