"""`python -m pipeline.folder --source my_recordings/ --clip-seconds 4`: the benchmark on any folder of audio files."""

from pipeline.command import main

if __name__ == "__main__":
    main("folder")
