"""How long `serve --no-stack` and the session fixture with its stack take to start, beside what they cannot do without.

Interleaved: in every round each figure is measured once, so that a machine that drifts drifts for all of them.

    python benchmarks/startup.py [--rounds 5]

Each figure is a whole process, wall clock:

* ``moto``: ``import moto.moto_server.werkzeug_app``;
* ``pulumi``: importing the pulumi_aws modules the stack uses;
* ``serve``: from starting ``thingwright serve --no-stack`` until its ready file exists;
* ``stack``: from asking the supervisor for an environment with the stack, in a fresh interpreter, until it is there.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PULUMI_MODULES = "import pulumi_aws as aws; aws.cognito.IdentityPool, aws.iam.Role, aws.iot.Policy"
"""pulumi_aws loads a service's module when something of it is first asked for, as the program does."""
SESSION = """
import time
begin = time.perf_counter()
from harness.targets.embedded import EmbeddedTarget
target = EmbeddedTarget()
environment = target.start()
print(time.perf_counter() - begin)
target.stop()
"""


def seconds_of(code: str) -> float:
    """Return the wall seconds of one interpreter running ``code``."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begin


def seconds_to_serve() -> float:
    """Return the wall seconds from the start of `serve --no-stack` to its ready file."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder, "ready.json")
        begin = time.perf_counter()
        server = subprocess.Popen(
            [Path(sys.executable).parent / "thingwright", "serve", "--no-stack", "--ready-file", ready],
            stdout=subprocess.DEVNULL,
        )
        try:
            while not ready.exists():
                if server.poll() is not None:
                    sys.exit(f"serve ended with {server.returncode} before it was ready")
                time.sleep(0.005)
            return time.perf_counter() - begin
        finally:
            server.terminate()
            server.wait(10)


def seconds_to_stack() -> float:
    """Return the wall seconds a session fixture waits for the embedded target with its stack."""
    answer = subprocess.run([sys.executable, "-c", SESSION], check=True, capture_output=True, text=True)
    return float(answer.stdout.split()[-1])


def main() -> None:
    """Measure, interleaved, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    figures = {
        "moto": lambda: seconds_of("import moto.moto_server.werkzeug_app"),
        "pulumi": lambda: seconds_of(PULUMI_MODULES),
        "serve": seconds_to_serve,
        "stack": seconds_to_stack,
    }
    for measure in figures.values():
        measure()  # warm the file cache and the byte code, once, outside the count
    taken: dict[str, list[float]] = {name: [] for name in figures}
    for _ in range(rounds):
        for name, measure in figures.items():
            taken[name].append(measure())
    median = {name: statistics.median(values) for name, values in taken.items()}
    for name, values in taken.items():
        print(f"{name:8} median {median[name]:.2f} s   (min {min(values):.2f}, max {max(values):.2f}, n={rounds})")
    print(f"serve / moto            {median['serve'] / median['moto']:.2f}")
    print(f"stack / (moto + pulumi) {median['stack'] / (median['moto'] + median['pulumi']):.2f}")


if __name__ == "__main__":
    main()
