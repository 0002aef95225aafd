"""`python -m pipeline.sc09 --workers 4`: the benchmark on SC09, the field's corpus (`--source` for a local archive)."""

from pipeline.command import main

if __name__ == "__main__":
    main("sc09")
