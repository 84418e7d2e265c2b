"""The workload on the cluster: does Kubernetes run what was asked for, and does it fit?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from panels import Board, figure, graph

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

DEPLOYMENT: Final = 'namespace="$namespace", deployment="$deployment"'
PODS: Final = 'namespace="$namespace", pod=~"$deployment-.*"'
USED: Final = f'{PODS}, container!=""'
SCALER: Final = 'namespace="$namespace", horizontalpodautoscaler="$deployment"'
BUDGET: Final = 'namespace="$namespace", poddisruptionbudget="$deployment"'


def make() -> Dashboard:
    """Return the dashboard."""
    board = Board(
        "thingwright-workload",
        "Workload",
        description="Does the cluster run as many instances as it should, do they stay up, and have they enough room?",
        since="6h",
    )
    board.variable("namespace", "Namespace", "label_values(kube_deployment_spec_replicas, namespace)", first="apps")
    board.variable(
        "deployment",
        "Deployment",
        'label_values(kube_deployment_spec_replicas{namespace="$namespace"}, deployment)',
        first="iot-receiver",
    )
    board.row(
        "Now",
        [
            figure(
                "Replicas missing",
                "Wanted and not available.",
                (
                    (
                        f"sum(kube_deployment_spec_replicas{{{DEPLOYMENT}}}) - "
                        f"sum(kube_deployment_status_replicas_available{{{DEPLOYMENT}}})"
                    ),
                    "missing",
                ),
                unit="short",
                bad_from=1,
            ),
            figure(
                "Pending pods",
                "Accepted by the cluster, and not on a node or without their images yet.",
                (f'sum(kube_pod_status_phase{{{PODS}, phase="Pending"}})', "pending"),
                unit="short",
                bad_from=1,
            ),
            figure(
                "Restarts in the time shown",
                "Of all containers of the Deployment's pods.",
                (f"sum(increase(kube_pod_container_status_restarts_total{{{PODS}}}[$__range]))", "restarts"),
                unit="short",
                bad_from=1,
            ),
            figure(
                "Disruptions allowed",
                "How many pods a drain may take away now. None: nodes cannot be replaced.",
                (f"sum(kube_poddisruptionbudget_status_pod_disruptions_allowed{{{BUDGET}}})", "allowed"),
                unit="short",
                good_from=1,
            ),
        ],
    )
    board.row(
        "Replicas",
        [
            graph(
                "Replicas",
                "Wanted by the Deployment, those that can serve, and those of its newest template.",
                (f"sum(kube_deployment_spec_replicas{{{DEPLOYMENT}}})", "wanted"),
                (f"sum(kube_deployment_status_replicas_available{{{DEPLOYMENT}}})", "available"),
                (f"sum(kube_deployment_status_replicas_updated{{{DEPLOYMENT}}})", "of the newest template"),
                unit="short",
            ),
            graph(
                "HorizontalPodAutoscaler",
                "What it wants, what there is, and between which bounds. Wanted at the upper bound: it may want more.",
                (f"sum(kube_horizontalpodautoscaler_status_desired_replicas{{{SCALER}}})", "wanted"),
                (f"sum(kube_horizontalpodautoscaler_status_current_replicas{{{SCALER}}})", "there"),
                (f"sum(kube_horizontalpodautoscaler_spec_min_replicas{{{SCALER}}})", "at least"),
                (f"sum(kube_horizontalpodautoscaler_spec_max_replicas{{{SCALER}}})", "at most"),
                unit="short",
            ),
        ],
    )
    board.row(
        "Pods",
        [
            graph(
                "Pods by phase",
                "Those that run are not all ready: see the next graph.",
                (f"sum by (phase) (kube_pod_status_phase{{{PODS}}})", "{{phase}}"),
                unit="short",
                stacked=True,
            ),
            graph(
                "Pods not ready",
                "By pod: it gets no requests. An instance whose queue is full is not ready either.",
                (f'sum by (pod) (kube_pod_status_ready{{{PODS}, condition="false"}})', "{{pod}}"),
                unit="short",
            ),
            graph(
                "Containers that wait",
                "By why, such as ImagePullBackOff, CrashLoopBackOff or CreateContainerConfigError.",
                (f"sum by (reason) (kube_pod_container_status_waiting_reason{{{PODS}}})", "{{reason}}"),
                unit="short",
            ),
            graph(
                "Restarts",
                "By pod, within half an hour; three of one pod fire ReceiverRestarting.",
                (f"sum by (pod) (increase(kube_pod_container_status_restarts_total{{{PODS}}}[30m]))", "{{pod}}"),
                unit="short",
            ),
        ],
    )
    board.row(
        "Room",
        [
            graph(
                "Processor time",
                "Used by each pod, and what one asks for.",
                (
                    f"sum by (pod) (rate(container_cpu_usage_seconds_total{{{USED}}}[$__rate_interval]))",
                    "{{pod}}",
                ),
                (
                    f'max(sum by (pod) (kube_pod_container_resource_requests{{{PODS}, resource="cpu"}}))',
                    "requested by each",
                ),
                unit="short",
            ),
            graph(
                "Processor time withheld",
                "Share of the scheduling periods in which a pod was held back at its limit.",
                (
                    (
                        f"sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{{{USED}}}[$__rate_interval])) / "
                        f"sum by (pod) (rate(container_cpu_cfs_periods_total{{{USED}}}[$__rate_interval]))"
                    ),
                    "{{pod}}",
                ),
                unit="percentunit",
            ),
            graph(
                "Memory",
                "Used by each pod, as the kernel counts it when it looks for what to kill, and the limit.",
                (f"sum by (pod) (container_memory_working_set_bytes{{{USED}}})", "{{pod}}"),
                (
                    f'max(sum by (pod) (kube_pod_container_resource_limits{{{PODS}, resource="memory"}}))',
                    "limit of each",
                ),
                unit="bytes",
            ),
        ],
    )
    return board.build()
