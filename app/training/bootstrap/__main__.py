"""Train the models that a clean install serves: `python -m app.training.bootstrap`.

The result depends on the seed alone, so that running it again writes the same bytes.
"""

import argparse
from pathlib import Path

from app.infra.onnx import BUNDLED
from app.training.bootstrap.artefacts import train


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Train the bundled models.")
    parser.add_argument("--directory", type=Path, default=BUNDLED)
    parser.add_argument("--seconds", type=int, default=14_400, help="how long the made-up market runs")
    arguments = parser.parse_args()
    train(arguments.directory, arguments.seconds)


if __name__ == "__main__":
    main()
