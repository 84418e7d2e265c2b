"""A fleet run: how many readings reach each station of their way, from the device to the row or the dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from panels import Board, figure, graph

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

OURS: Final = 'namespace="$namespace", job="$job"'
RULE: Final = 'rule_name="$rule"'
QUEUE: Final = 'queue_name="$queue"'

LATE: Final = "From CloudWatch: about three minutes late, one figure per minute."


def per_second(metric: str, labels: str, by: str) -> str:
    """Return CloudWatch's sum of a minute as a rate."""
    return f"sum by ({by}) ({metric}{{{labels}}}) / 60"


def in_range(metric: str, labels: str) -> str:
    """Return how many there were in the time shown: one sample per minute with any, each the sum of that minute."""
    return f"sum(sum_over_time({metric}{{{labels}}}[$__range]))"


def make() -> Dashboard:
    """Return the dashboard."""
    board = Board(
        "thingwright-fleet-run",
        "Fleet run",
        description="From device to row: how many readings reach each station, and where they are held up or lost.",
        since="1h",
    )
    board.variable("namespace", "Namespace", "label_values(receiver_build_info, namespace)", first="apps")
    board.variable(
        "job", "Service", 'label_values(receiver_build_info{namespace="$namespace"}, job)', first="iot-receiver"
    )
    board.variable(
        "rule", "Rule", "label_values(aws_iot_topic_match_sum, rule_name)", first="thingwright_dev_telemetry"
    )
    board.variable(
        "queue",
        "Dead-letter queue",
        "label_values(aws_sqs_approximate_number_of_messages_visible_maximum, queue_name)",
        first="dead-letters",
    )
    board.row(
        "In the time shown",
        [
            figure(
                "Readings matched",
                f"Messages that the rule's statement matched. {LATE} The sum is exact to a minute at either end.",
                (in_range("aws_iot_topic_match_sum", RULE), "matched"),
                unit="short",
            ),
            figure(
                "Requests stored",
                "Requests that the receiver answered with success, as it counted them.",
                (f'sum(increase(receiver_requests_total{{{OURS}, outcome="stored"}}[$__range]))', "stored"),
                unit="short",
            ),
            figure(
                "Rows",
                "Rows written, repetitions that replaced themselves included.",
                (f"sum(increase(receiver_rows_written_total{{{OURS}}}[$__range]))", "rows"),
                unit="short",
            ),
            figure(
                "Became dead letters",
                f"Readings that the error action put into the queue. {LATE}",
                (in_range("aws_iot_error_action_success_sum", RULE), "kept"),
                unit="short",
                bad_from=1,
            ),
            figure(
                "Lost",
                f"Readings that could neither be delivered nor kept. {LATE}",
                (in_range("aws_iot_error_action_failure_sum", RULE), "lost"),
                unit="short",
                bad_from=1,
            ),
            figure(
                "Waiting for redrive",
                f"Dead letters in the queue now. {LATE}",
                (f"sum(aws_sqs_approximate_number_of_messages_visible_maximum{{{QUEUE}}})", "waiting"),
                unit="short",
                bad_from=1,
            ),
        ],
    )
    board.row(
        "Device to AWS IoT Core",
        [
            graph(
                "Connections made",
                f"By protocol: devices over MQTT, guests over WebSocket. {LATE}",
                (per_second("aws_iot_connect_success_sum", "", "protocol"), "{{protocol}}"),
                unit="cps",
            ),
            graph(
                "Messages published",
                f"Everything that the broker took, of this account and region. {LATE}",
                (per_second("aws_iot_publish_in_success_sum", "", "protocol"), "{{protocol}}"),
                unit="mps",
                stacked=True,
            ),
            graph(
                "Messages not taken",
                f"A policy refused them, or the account's or the connection's limit was reached. {LATE}",
                (per_second("aws_iot_publish_in_auth_error_sum", "", "protocol"), "not allowed, {{protocol}}"),
                (per_second("aws_iot_publish_in_throttle_sum", "", "protocol"), "throttled, {{protocol}}"),
                unit="mps",
            ),
        ],
    )
    board.row(
        "Rule to receiver",
        [
            graph(
                "Rule",
                f"Messages that the rule matched, and those whose payload it could not read. {LATE}",
                (per_second("aws_iot_topic_match_sum", RULE, "rule_name"), "matched"),
                (per_second("aws_iot_parse_error_sum", RULE, "rule_name"), "no JSON"),
                unit="mps",
            ),
            graph(
                "Actions",
                f"Action by action, whether it succeeded in the end, all tries included. {LATE}",
                (per_second("aws_iot_success_sum", RULE, "action_type"), "{{action_type}} succeeded"),
                (per_second("aws_iot_failure_sum", RULE, "action_type"), "{{action_type}} failed"),
                unit="mps",
            ),
            graph(
                "Requests by outcome",
                "What the receiver answered, tries repeated by the rule included.",
                (f"sum by (outcome) (rate(receiver_requests_total{{{OURS}}}[$__rate_interval]))", "{{outcome}}"),
                unit="reqps",
                stacked=True,
            ),
        ],
    )
    board.row(
        "Receiver to row",
        [
            graph(
                "From device to row",
                f"Matched, posted with success, written: the same when all is well. The first comes late. {LATE}",
                (f"sum(aws_iot_topic_match_sum{{{RULE}}}) / 60", "matched by the rule"),
                (
                    f'sum(rate(receiver_requests_total{{{OURS}, outcome="stored"}}[$__rate_interval]))',
                    "requests stored",
                ),
                (f"sum(rate(receiver_rows_written_total{{{OURS}}}[$__rate_interval]))", "rows written"),
                unit="mps",
            ),
            graph(
                "Repeated tries",
                "Rows that were written, or being written, when a further try of the rule brought them again.",
                (f"sum(rate(receiver_duplicates_total{{{OURS}}}[$__rate_interval]))", "repeated"),
                unit="wps",
            ),
        ],
    )
    board.row(
        "Dead letters",
        [
            graph(
                "Dead letters",
                f"Readings in the queue: waiting, and in the hands of a redrive. {LATE}",
                (f"sum(aws_sqs_approximate_number_of_messages_visible_maximum{{{QUEUE}}})", "waiting"),
                (f"sum(aws_sqs_approximate_number_of_messages_not_visible_maximum{{{QUEUE}}})", "being redriven"),
                unit="short",
            ),
            graph(
                "In and out of the queue",
                f"Readings kept because they could not be delivered, and those deleted once they were stored. {LATE}",
                (per_second("aws_sqs_number_of_messages_sent_sum", QUEUE, "queue_name"), "in"),
                (per_second("aws_sqs_number_of_messages_deleted_sum", QUEUE, "queue_name"), "out"),
                unit="mps",
            ),
            graph(
                "Age of the oldest dead letter",
                f"SQS deletes what is 14 days old. {LATE}",
                (f"max(aws_sqs_approximate_age_of_oldest_message_maximum{{{QUEUE}}})", "oldest"),
                unit="s",
            ),
        ],
    )
    return board.build()
