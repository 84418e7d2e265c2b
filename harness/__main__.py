"""Where the ``thingwright`` command and ``python -m harness`` begin: Ctrl-C ends them well from the first moment on."""

import sys


def main() -> None:
    """Run the command line; its own imports, too, may be interrupted."""
    try:
        from harness.cli import main as run  # noqa: PLC0415 - half of a short command's time

        run()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
