"""The endpoint target by URL, for real."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.targets.embedded import Supervisor, SupervisorOptions
from harness.targets.endpoint import EndpointTarget
from harness.targets.names import Names, make_run_id
from harness.targets.options import TargetOptions


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in needs Linux or macOS")
def test_a_stand_in_without_a_stack_gets_one_by_its_url() -> None:
    """Pulumi's program runs there as anywhere; afterwards nothing of it is left."""
    supervisor = Supervisor(SupervisorOptions(stack=None))
    try:
        ready = supervisor.start()
        run_id = make_run_id()
        target = EndpointTarget(
            TargetOptions(
                endpoint_url=ready.control_plane_url,
                mqtts_port=ready.mqtts_port,
                wss_port=ready.wss_port,
                ca_file=Path(ready.ca_file),
                access_key_id=ready.access_key_id,
                secret_access_key=ready.secret_access_key,
            ),
            names=Names(run_id),
        )
        environment = target.start()
        iot = environment.client("iot")
        policies = [each["policyName"] for each in iot.list_policies()["policies"]]
        target.stop()
        left = iot.list_policies()["policies"]
        iot.close()
    finally:
        supervisor.stop()

    assert environment.account_id == ready.account_id
    assert environment.outputs.iot_wss_url == f"wss://{ready.iot_endpoint}:{ready.wss_port}/mqtt"
    assert environment.outputs.device_policy_name in policies
    assert run_id in environment.outputs.device_policy_name
    assert left == []
