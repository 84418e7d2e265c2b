"""The dashboards' JSON: made by its script and not by hand, and of a shape that Grafana shows.

Grafana itself is not run: that it draws them is not proven. What they ask is in test_monitoring_queries.py.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

DASHBOARDS: Final = Path(__file__).parents[2] / "infra" / "monitoring" / "dashboards"
BOARDS: Final = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted((DASHBOARDS / "json").glob("*.json"))
}
UIDS: Final = {
    "receiver": "thingwright-receiver",
    "fleet-run": "thingwright-fleet-run",
    "workload": "thingwright-workload",
}
UNITS: Final = {"short", "percentunit", "s", "bytes", "reqps", "wps", "ops", "cps", "mps"}
"""Ids of units that Grafana has: a misspelt one is shown as text behind the number."""


def _graphs(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def _check(folder: Path) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("grafana_foundation_sdk") is None:
        pytest.skip("not proven: there is no grafana-foundation-sdk")
    command = [sys.executable, "-B", folder / "make.py", "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_json_is_what_the_script_makes() -> None:
    """Nobody has changed the JSON by hand, or the script without making the JSON again."""
    checked = _check(DASHBOARDS)

    assert checked.returncode == 0, checked.stderr


def test_json_that_was_changed_by_hand_is_noticed(tmp_path: Path) -> None:
    """The control: one character is enough."""
    copy = shutil.copytree(DASHBOARDS, tmp_path / "dashboards")
    file = copy / "json" / "receiver.json"
    file.write_text(file.read_text("utf-8").replace("Rows per second", "Rows per secund"), "utf-8")

    checked = _check(copy)

    assert (checked.returncode, checked.stderr.split(";")[0]) == (1, "stale: receiver.json")


def test_links_to_the_dashboards_stay() -> None:
    """Each keeps its uid, which links and bookmarks name."""
    assert {name: board["uid"] for name, board in BOARDS.items()} == UIDS


@pytest.mark.parametrize("name", UIDS)
def test_a_dashboard_says_what_it_is_for(name: str) -> None:
    """Title, description, tag, a time range; not to be edited where the next roll-out would undo it."""
    board = BOARDS[name]

    assert board["title"]
    assert board["description"]
    assert board["tags"] == ["thingwright"]
    assert board["editable"] is False
    assert board["time"]["to"] == "now"


@pytest.mark.parametrize("name", UIDS)
def test_every_panel_says_what_it_shows(name: str) -> None:
    """Title, description, unit, legend: and no two of a dashboard with the same title or number."""
    panels = _graphs(BOARDS[name])

    for panel in panels:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["type"] in {"timeseries", "stat"}
        assert isinstance(panel["options"], dict)  # null, which the library writes when nothing was said, is no object
        assert panel["targets"]
        assert all(target["legendFormat"] for target in panel["targets"])
    for seen in ([panel["title"] for panel in panels], [panel["id"] for panel in BOARDS[name]["panels"]]):
        assert sorted(set(seen)) == sorted(seen)


@pytest.mark.parametrize("name", UIDS)
def test_every_query_goes_to_the_chosen_prometheus(name: str) -> None:
    """Panels and drop-down lists ask the data source of the first list, and each list is used by a query."""
    board = BOARDS[name]
    first, *others = board["templating"]["list"]

    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert all(each["datasource"] == chosen for each in [*others, *_graphs(board)])
    asked = " ".join(target["expr"] for panel in _graphs(board) for target in panel["targets"])
    assert [each["name"] for each in others if f"${each['name']}" not in asked] == []


@pytest.mark.parametrize("name", UIDS)
def test_panels_fill_their_rows_and_do_not_overlap(name: str) -> None:
    """No two panels claim the same place of the grid, and none stands outside it."""
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len(taken) % 24 == 0  # whole rows: no gap at the right
