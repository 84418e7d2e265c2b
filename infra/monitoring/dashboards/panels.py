"""What the dashboards have in common: how a graph, a figure and a row look, and which variables there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

if TYPE_CHECKING:
    from collections.abc import Sequence

Series: TypeAlias = tuple[str, str]
"""An expression, and what its lines are called."""

DATASOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

WIDTH: Final = 24
"""Columns of Grafana's grid."""

GREEN: Final = "green"
RED: Final = "red"


class Board:
    """A dashboard while it is made: rows of panels, numbered in the order in which they come.

    Args:
        uid: what links and bookmarks name; it never changes.
        title: what people read.
        description: what the dashboard answers.
        since: how far back it looks at first, for example ``6h``.
    """

    def __init__(self, uid: str, title: str, *, description: str, since: str) -> None:
        self._panels = 0
        self._dashboard = (
            dashboard.Dashboard(title)
            .uid(uid)
            .description(description)
            .tags(["thingwright"])
            .time(f"now-{since}", "now")
            .timezone("utc")
            .refresh("30s")
            .readonly()
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
            .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus").label("Prometheus"))
        )

    def variable(self, name: str, label: str, query: str, *, first: str) -> None:
        """Add a drop-down list whose values Prometheus gives.

        Args:
            name: what expressions call it, without the dollar sign.
            label: what people read.
            query: Grafana's ``label_values(…)``.
            first: the value it has when the dashboard is opened.
        """
        self._dashboard.with_variable(
            dashboard.QueryVariable(name)
            .label(label)
            .datasource(DATASOURCE)
            .query(query)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .current(models.VariableOption(text=first, value=first, selected=True))
        )

    def row(self, title: str, panels: Sequence[timeseries.Panel | stat.Panel]) -> None:
        """Add a heading, and below it panels of equal width side by side."""
        self._dashboard.with_row(dashboard.Row(title).id(self._number()))
        for panel in panels:
            self._dashboard.with_panel(panel.id(self._number()).span(WIDTH // len(panels)))

    def build(self) -> models.Dashboard:
        """Give what becomes JSON."""
        return self._dashboard.build()

    def _number(self) -> int:
        self._panels += 1
        return self._panels


def graph(title: str, description: str, *series: Series, unit: str, stacked: bool = False) -> timeseries.Panel:
    """Make a graph over time, from zero on.

    Args:
        title: unique within the dashboard.
        description: what the lines say, and what to think of them.
        series: what is drawn.
        unit: Grafana's id of a unit, for example ``reqps``.
        stacked: the lines add up to a whole.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .height(8)
        .fill_opacity(30 if stacked else 10)
        .show_points(common_models.VisibilityMode.NEVER)
        .stacking(
            common.StackingConfig().mode(
                common_models.StackingMode.NORMAL if stacked else common_models.StackingMode.NONE
            )
        )
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.TABLE)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_models.TooltipDisplayMode.MULTI)
            .sort(common_models.SortOrder.DESCENDING)
        )
    )
    return _with_targets(panel, series, instant=False)


def figure(
    title: str,
    description: str,
    *series: Series,
    unit: str,
    bad_from: float | None = None,
    good_from: float | None = None,
) -> stat.Panel:
    """Make one figure in large type: what holds at the end of the time shown.

    Args:
        title: unique within the dashboard.
        description: what the figure says, and what to think of it.
        series: what is asked; one line each.
        unit: Grafana's id of a unit.
        bad_from: red from here on, green below.
        good_from: green from here on, red below.
    """
    steps = [models.Threshold(value=None, color=RED if good_from is not None else GREEN)]
    if bad_from is not None:
        steps.append(models.Threshold(value=bad_from, color=RED))
    if good_from is not None:
        steps.append(models.Threshold(value=good_from, color=GREEN))
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .height(4)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    )
    return _with_targets(panel, series, instant=True)


def _with_targets(panel: Any, series: Sequence[Series], *, instant: bool) -> Any:
    for index, (expression, legend) in enumerate(series):
        query = prometheus.Dataquery().ref_id(chr(ord("A") + index)).expr(expression).legend_format(legend)
        panel.with_target(query.instant() if instant else query.range())
    return panel
