"""Load the harness as a pytest plugin; everything else lives in `harness.plugin`."""

pytest_plugins = ["harness.plugin"]
