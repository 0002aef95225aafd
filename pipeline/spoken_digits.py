"""`python -m pipeline.spoken_digits --workers 2`: the benchmark on the embedded corpus, without any download."""

from pipeline.command import main

if __name__ == "__main__":
    main("spoken_digits")
