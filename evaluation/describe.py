"""`python -m evaluation.describe metrics`: every metric's description as JSON, for processes that do without scipy."""

import json
import sys

from evaluation.metrics import metrics


def main() -> None:
    json.dump([metric.to_json() for metric in metrics().values()], sys.stdout)


if __name__ == "__main__":
    main()
