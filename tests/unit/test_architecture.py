"""The arrows between packages, read from the syntax trees of all modules.

What a live interpreter loads with the pure packages is `test_purity`'s affair.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

SHARED = {"errors", "clock"}
"""What every part of the harness may use."""

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "clock": set(),
    "settings": SHARED | {"targets"},
    "mqtt": {"errors"},
    "iot": {"errors", "mqtt"},
    "embedded": SHARED | {"mqtt", "iot"},
    "targets": SHARED,
    "clients": SHARED,
    "report": SHARED,
    "sharing": SHARED | {"targets"},
    "probing": SHARED | {"targets", "clients"},
    "budget": {"errors"},
    "evidence": SHARED | {"report", "targets"},
    "run": SHARED | {"targets", "report", "sharing", "probing", "evidence", "budget"},
    "fixtures": SHARED | {"targets", "clients", "run", "budget"},
    "device_fixtures": SHARED | {"targets", "clients", "run", "fixtures", "budget"},
    "telemetry_fixtures": SHARED | {"targets", "clients", "run", "fixtures", "budget"},
    "secrecy": set(),
    "plugin": SHARED | {"targets", "fixtures", "device_fixtures", "telemetry_fixtures", "run", "evidence", "secrecy"},
    "terminal": SHARED,
    "ending": SHARED | {"terminal"},
    "console": SHARED | {"settings", "sdk_guest", "terminal"},
    "sdk_guest": SHARED | {"settings", "targets", "clients", "console"},
    "demo": SHARED | {"targets", "console", "sdk_guest", "demo_devices", "terminal"},
    "demo_devices": SHARED | {"targets", "clients"},
    "kit": SHARED,
    "registration": SHARED | {"targets", "clients", "kit"},
    "simulator": SHARED | {"kit", "clients", "terminal"},
    "redrive": SHARED | {"targets", "clients", "terminal"},
    "sweep": SHARED | {"targets", "clients"},
    "command_options": {"errors"},
    "stack_commands": SHARED | {"targets", "terminal", "ending", "command_options"},
    "sweep_commands": SHARED | {"targets", "terminal", "ending", "command_options", "sweep"},
    "report_commands": SHARED | {"report", "terminal", "ending"},
    "cli": SHARED
    | {"settings", "targets", "clients", "report", "terminal", "ending", "command_options", "console", "demo"}
    | {"registration", "simulator", "redrive", "stack_commands", "sweep_commands", "report_commands"},
    "__main__": {"cli"},
    "__init__": SHARED | {"targets", "clients", "fixtures", "device_fixtures", "telemetry_fixtures"},
}
"""First-level part of the harness → the other parts it may import, lazily or for types alone included."""

NEEDS_THE_WORLD = {"asyncio", "os", "random", "secrets", "select", "selectors", "signal", "socket", "ssl", "time"}
NEEDS_THE_WORLD |= {"subprocess", "tempfile", "threading"}
"""Standard modules that the pure packages do without: they take bytes, values and a time passed in."""

AWS_LIBRARIES = {"awscrt", "awsiot", "boto3", "botocore", "moto", "pulumi", "pulumi_aws", "s3transfer"}

MOTO_IS_IMPORTED_BY_ONE_FILE_OF = "harness.embedded.control"


def module_name(path: Path) -> str:
    """Give the dotted name of a source file below the repository's root."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(path: Path) -> set[str]:
    """Give the absolute dotted names that a file imports anywhere: at the top, in functions, for types alone."""
    package = path.relative_to(ROOT).parent.parts
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join((*base, *((node.module,) if node.module else ())))
            names.add(source)
            names.update(f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"import_module", "importlib.import_module"}:
            names.update(str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))
    return names


def sources(*folders: str) -> list[Path]:
    """Give all Python files below the folders, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def part_of(name: str) -> str | None:
    """Give the first-level part of the harness that a dotted name belongs to; None for names outside of it."""
    head, _, rest = name.partition(".")
    if head != "harness":
        return None
    part = rest.split(".", 1)[0] if rest else "__init__"
    return part if (ROOT / "harness" / part).exists() or (ROOT / "harness" / f"{part}.py").exists() else "__init__"


def external_roots(path: Path) -> set[str]:
    """Give the top-level packages a file imports."""
    return {name.partition(".")[0] for name in imported_by(path)} - {""}


def unwanted_arrows() -> Iterator[str]:
    """Find every import from one part of the harness to another that `MAY_IMPORT` does not list."""
    for path in sources("harness"):
        part = part_of(module_name(path)) or "__init__"
        allowed = MAY_IMPORT.get(part, SHARED) | {part}
        # `from harness import X` gives both `harness` and `harness.X`; only the second says what was meant.
        for name in sorted(imported_by(path) - {"harness"}):
            if (other := part_of(name)) is not None and other not in allowed:
                yield f"{path.relative_to(ROOT)} imports {name}"


def test_parts_import_only_what_the_arrows_allow() -> None:
    """Every import between parts of the harness follows the arrows; `clients` and `targets` never meet the stand-in."""
    assert list(unwanted_arrows()) == []


def test_every_part_has_its_arrows_written_down() -> None:
    """A new first-level module or package is given its arrows before it is merged."""
    parts = {part_of(module_name(path)) for path in sources("harness")} - {"__init__"}

    assert sorted(part for part in parts if part not in MAY_IMPORT) == []


@pytest.mark.parametrize(("package", "third_party"), [("mqtt", set()), ("iot", {"lark"})])
def test_pure_packages_import_nothing_that_needs_the_world(package: str, third_party: set[str]) -> None:
    """`mqtt` knows the standard library without I/O, clock and chance; `iot` lark besides."""
    allowed = (set(sys.stdlib_module_names) - NEEDS_THE_WORLD) | {"harness"} | third_party
    found = {
        f"{path.relative_to(ROOT)} imports {root}"
        for path in sources(f"harness/{package}")
        for root in external_roots(path) - allowed
    }

    assert sorted(found) == []


@pytest.mark.parametrize("folder", ["receiver", "infra"])
def test_what_is_deployed_imports_nothing_of_the_harness(folder: str) -> None:
    """The receiver and the infrastructure program run in production, where no harness is installed."""
    assert [path.name for path in sources(folder) if "harness" in external_roots(path)] == []


def test_the_harness_imports_neither_the_receiver_nor_the_infrastructure() -> None:
    """Both are started as processes; nothing of theirs is imported."""
    assert [path.name for path in sources("harness") if external_roots(path) & {"receiver", "infra"}] == []


def test_at_most_one_file_imports_moto() -> None:
    """Moto stays hidden behind one file of the control plane."""
    users = [module_name(path) for path in sources("harness", "receiver", "infra") if "moto" in external_roots(path)]

    assert len(users) <= 1
    assert all(name.startswith(MOTO_IS_IMPORTED_BY_ONE_FILE_OF) for name in users)


def test_clients_speak_only_through_the_sdks() -> None:
    """`clients` reach a target by awscrt, awsiotsdk and boto3 alone: no socket and no MQTT of their own."""
    own_ways = {"socket", "ssl", "paho", "websockets", "aiohttp", "moto"}
    users = [(module_name(path), *external_roots(path) & own_ways) for path in sources("harness/clients")]

    assert [user for user in users if len(user) > 1] == []


@pytest.mark.parametrize("package", ["cli", "settings", "plugin"])
def test_nothing_heavy_is_imported_for_a_first_sign_of_life(package: str) -> None:
    """The command line, and the plugin in a suite that asks for no target, load no SDK before they need one."""
    if not (ROOT / "harness" / f"{package}.py").exists():
        pytest.skip(f"harness.{package} does not exist")
    program = f"import sys, harness.{package}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()

    assert sorted({name.partition(".")[0] for name in loaded} & (AWS_LIBRARIES | {"aiohttp", "uvloop"})) == []
