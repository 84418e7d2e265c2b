"""The receiver: what is posted to it, what becomes of it, and what holds it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from panels import Board, figure, graph

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

OURS: Final = 'namespace="$namespace", job="$job"'


def make() -> Dashboard:
    """Return the dashboard."""
    board = Board(
        "thingwright-receiver",
        "Receiver",
        description="Does the receiver store what rules post to it, how fast, and what keeps it from doing so?",
        since="6h",
    )
    board.variable("namespace", "Namespace", "label_values(receiver_build_info, namespace)", first="apps")
    board.variable(
        "job", "Service", 'label_values(receiver_build_info{namespace="$namespace"}, job)', first="iot-receiver"
    )
    board.row(
        "Now",
        [
            figure(
                "Instances that answer",
                "How many instances answered Prometheus when it last asked.",
                (f"sum(up{{{OURS}}})", "instances"),
                unit="short",
                good_from=1,
            ),
            figure(
                "Rows per second",
                "Rows that are durably in the table.",
                (f"job:receiver_rows_written:rate5m{{{OURS}}}", "rows"),
                unit="wps",
            ),
            figure(
                "Requests not stored",
                "Share of the last five minutes' requests that failed here; ReceiverErrors begins at 5 %.",
                (f"job:receiver_request_errors:ratio_rate5m{{{OURS}}}", "failed"),
                unit="percentunit",
                bad_from=0.05,
            ),
            figure(
                "Slowest hundredth",
                "99 in 100 requests of the last five minutes were stored faster; a rule waits three seconds.",
                (f"job:receiver_write_seconds:p99_rate5m{{{OURS}}}", "p99"),
                unit="s",
                bad_from=1,
            ),
            figure(
                "Fullest queue",
                "Of the instance whose queue is fullest; a full one answers 503.",
                (f"job:receiver_queue:ratio_max{{{OURS}}}", "full"),
                unit="percentunit",
                bad_from=0.8,
            ),
            figure(
                "Instances by version",
                "More than one version at once: a rollout is under way, or stuck.",
                (f"count by (version) (receiver_build_info{{{OURS}}})", "{{version}}"),
                unit="short",
            ),
        ],
    )
    board.row(
        "Requests",
        [
            graph(
                "Requests",
                "Messages and batches posted by rules, by what became of them.",
                (f"sum by (outcome) (rate(receiver_requests_total{{{OURS}}}[$__rate_interval]))", "{{outcome}}"),
                unit="reqps",
                stacked=True,
            ),
            graph(
                "Requests being worked on",
                "By instance. Each waits for its rows to be durable.",
                (f"sum by (pod) (receiver_requests_in_progress{{{OURS}}})", "{{pod}}"),
                unit="short",
            ),
            graph(
                "Confirmations",
                "Of HTTP destinations, by what became of them, within five minutes.",
                (f"sum by (outcome) (increase(receiver_confirmations_total{{{OURS}}}[5m]))", "{{outcome}}"),
                unit="short",
            ),
        ],
    )
    board.row(
        "Writes",
        [
            graph(
                "Rows written",
                "Rows that are durably in the table, by the instance that wrote them.",
                (f"sum by (pod) (rate(receiver_rows_written_total{{{OURS}}}[$__rate_interval]))", "{{pod}}"),
                unit="wps",
                stacked=True,
            ),
            graph(
                "Time until rows are durable",
                "Per request, waiting for a place in a batch and for DynamoDB included.",
                *(
                    (
                        (
                            f"histogram_quantile({quantile}, sum by (le) "
                            f"(rate(receiver_write_seconds_bucket{{{OURS}}}[$__rate_interval])))"
                        ),
                        name,
                    )
                    for quantile, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
                ),
                unit="s",
            ),
            graph(
                "Rows per call",
                "How many rows share one BatchWriteItem, at most 25: near 25 the receiver is busy.",
                (
                    (
                        f"sum(rate(receiver_batch_rows_sum{{{OURS}}}[$__rate_interval])) / "
                        f"sum(rate(receiver_batch_rows_count{{{OURS}}}[$__rate_interval]))"
                    ),
                    "mean",
                ),
                (
                    (
                        f"histogram_quantile(0.95, sum by (le) "
                        f"(rate(receiver_batch_rows_bucket{{{OURS}}}[$__rate_interval])))"
                    ),
                    "95 %",
                ),
                unit="short",
            ),
        ],
    )
    board.row(
        "What goes wrong",
        [
            graph(
                "Writes that failed",
                "Requests by why: throttled by DynamoDB, denied by IAM, no such table, refused as a row, DynamoDB not "
                "reachable, or no room in the queue.",
                (f"sum by (kind) (rate(receiver_write_failures_total{{{OURS}}}[$__rate_interval]))", "{{kind}}"),
                unit="reqps",
                stacked=True,
            ),
            graph(
                "Throttled answers",
                "Answers of DynamoDB that throttle: an error, or rows of a batch left unwritten. They are tried again.",
                (f"sum by (pod) (rate(receiver_throttles_total{{{OURS}}}[$__rate_interval]))", "{{pod}}"),
                unit="ops",
            ),
            graph(
                "Queue",
                "Rows accepted and not yet durable, by instance, and what the queue holds at most.",
                (f"sum by (pod) (receiver_queued_rows{{{OURS}}})", "{{pod}}"),
                (f"max(receiver_queue_limit_rows{{{OURS}}})", "limit of each"),
                unit="short",
            ),
            graph(
                "Repeated rows",
                "Rows that an instance had written, or was writing, shortly before: a rule tried again although "
                "the first try arrived. They replace themselves.",
                (f"sum by (pod) (rate(receiver_duplicates_total{{{OURS}}}[$__rate_interval]))", "{{pod}}"),
                unit="wps",
            ),
        ],
    )
    return board.build()
