"""Install Earshot editable: `pip install -e . -c constraints.txt` (with [test] for the tools the tests need).

The four package names are generic, as its users know them, so the project is never built into a wheel:
it is installed in place, and `pipeline` checks at start that the four packages it imports are these.
"""

from setuptools import setup

setup(
    name="earshot",
    version="0.1.0",
    description="A reproducible benchmark of raw-audio generators",
    python_requires=">=3.11,<3.14",
    packages=[
        "pipeline",
        "tasks",
        "tasks.corpora",
        "models",
        "models.generators",
        "models.classifiers",
        "models.features",
        "models.layers",
        "evaluation",
        "evaluation.metrics",
        "evaluation.report",
    ],
    install_requires=[
        "luigi>=3.8",
        "torch>=2.11",
        "torchaudio>=2.11",
        "lightning-fabric>=2.6",
        "numpy>=2.0",
        "scipy>=1.14",
        "pandas>=2.2",
        "scikit-learn>=1.5",
        "threadpoolctl>=3.5",
        "soundfile>=0.13",
        "soxr>=1.0",
        "resampy>=0.4.3",
        "safetensors>=0.5",
        "matplotlib>=3.10",
        "jinja2>=3.1",
        "tqdm>=4.66",
        "tensorboard>=2.18",
        "requests>=2.32",
        "crc32c>=2.7",
        "espeakng-loader>=0.2.4",
    ],
    extras_require={"test": ["pytest", "pytest-xdist", "ruff", "mypy", "jsonschema"]},
)
