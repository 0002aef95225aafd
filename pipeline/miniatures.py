"""`python -m pipeline.miniatures --workers 2`: the benchmark on embedded music, without any download."""

from pipeline.command import main

if __name__ == "__main__":
    main("miniatures")
