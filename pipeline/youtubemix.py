"""`python -m pipeline.youtubemix`: the benchmark on the SaShiMi release's piano music (`--source` for a local archive)."""

from pipeline.command import main

if __name__ == "__main__":
    main("youtubemix")
