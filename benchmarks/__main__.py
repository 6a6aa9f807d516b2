"""``python -m benchmarks NAME``."""

import argparse

from benchmarks import smtp


def main() -> None:
    """Run the benchmark that is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    smtp.add_command(parser.add_subparsers(required=True, metavar="NAME"))
    options = parser.parse_args()
    options.run(options)


main()
