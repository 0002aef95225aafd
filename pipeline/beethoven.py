"""`python -m pipeline.beethoven`: the benchmark on the SaShiMi release's piano sonatas (`--source` for a local archive)."""

from pipeline.command import main

if __name__ == "__main__":
    main("beethoven")
