"""What counts as proven on AWS itself, and where that is noted."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from harness.report import validation_file
from harness.report.promises import Outcome
from harness.report.provenance import is_aws

if TYPE_CHECKING:
    from tests.unit.evidence.conftest import ReadEvidence, Suite

pytest_plugins = ["pytester"]


AWS = """
class Environment:
    target = "aws"
    control_plane_url = None
    iot_endpoint = "abc-ats.iot.eu-central-1.amazonaws.com"

    def client(self, service):
        url = os.environ.get("URL", "https://{}.eu-central-1.amazonaws.com").format(service)
        return SimpleNamespace(meta=SimpleNamespace(endpoint_url=url), close=lambda: None)


def environment(target):
    return Environment()


environment.__module__ = "harness.fixtures"
environment = pytest.fixture(environment)
"""

AWS_TESTS = '''
import pytest

def test_good(environment):
    """It holds."""

@pytest.mark.parametrize("number", [1, 2])
def test_many(environment, number):
    """It holds for numbers."""

def test_bad(environment):
    assert False

@pytest.mark.parametrize("number", [1, 2])
def test_partly(environment, number):
    if number == 2:
        pytest.skip("2 is too much")
'''


@pytest.mark.parametrize("distributed", [(), ("-n2",)], ids=["one process", "xdist"])
def test_what_passes_on_aws_is_noted(
    suite: Suite,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    distributed: tuple[str, ...],
    read_evidence: ReadEvidence,
) -> None:
    """Promises proven there, and nothing else; what was noted before stays."""
    path = pytester.path / "aws.json"
    monkeypatch.setenv("HARNESS_TARGET", "aws")
    monkeypatch.setenv("HARNESS_AWS_VALIDATION", "aws.json")
    validation_file.write(path, validation_file.make({}))

    suite(AWS_TESTS, "-k", "good", further=AWS)
    first = validation_file.read(path).validations
    result = suite(AWS_TESTS, *distributed, "--deselect=test_it.py::test_good", further=AWS)

    after = validation_file.read(path).validations
    assert after["test_it.py::test_good"] == first["test_it.py::test_good"]
    assert {name: (each.claim, each.cases) for name, each in after.items()} == {
        "test_it.py::test_good": ("It holds.", 1),
        "test_it.py::test_many": ("It holds for numbers.", 2),
    }
    assert after["test_it.py::test_many"].passed_at == read_evidence().ended
    assert all(each.on_aws for each in read_evidence().promises)
    result.stdout.fnmatch_lines("thingwright evidence: 1 passed on AWS, noted in *aws.json")


@pytest.mark.parametrize(
    "variables",
    [
        {"HARNESS_TARGET": "endpoint"},
        {"URL": "http://127.0.0.1:4566"},
        {"URL": "https://{}.amazonaws.com.example.org"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"},
        {"AWS_ENDPOINT_URL_COGNITO_IDENTITY": "http://127.0.0.1:4566"},
    ],
)
def test_what_passes_anywhere_else_is_not(
    suite: Suite,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    read_evidence: ReadEvidence,
) -> None:
    """Neither another target nor an emulator in the place of AWS."""
    path = pytester.path / "aws.json"
    for name, value in {"HARNESS_TARGET": "aws", "HARNESS_AWS_VALIDATION": "aws.json", **variables}.items():
        monkeypatch.setenv(name, value)

    suite(AWS_TESTS, further=AWS)

    assert not any(each.on_aws for each in read_evidence().promises)
    assert Outcome.PROVEN in {each.outcome for each in read_evidence().promises}
    assert not path.exists()


def test_a_file_about_aws_that_was_changed_by_hand_is_left_alone(
    suite: Suite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run says so, and is not green."""
    path = pytester.path / "aws.json"
    monkeypatch.setenv("HARNESS_TARGET", "aws")
    monkeypatch.setenv("HARNESS_AWS_VALIDATION", "aws.json")
    validation_file.write(path, validation_file.make({}))
    path.write_text(path.read_text("utf-8").replace("sha256:", "sha256:0"), "utf-8")
    before = path.read_bytes()

    result = suite(AWS_TESTS, "-k", "good", further=AWS)

    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines("thingwright evidence: what passed on AWS was not noted: *changed it by hand*")
    assert path.read_bytes() == before


@pytest.mark.parametrize(("region", "domain"), [("eu-central-1", "amazonaws.com"), ("cn-north-1", "amazonaws.com.cn")])
def test_boto3s_own_endpoints_are_aws(region: str, domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every service, in every partition with IoT; an endpoint of one service elsewhere is enough to doubt."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def client(service: str, **where: str) -> Any:
        return boto3.client(
            service, region_name=region, aws_access_key_id="test", aws_secret_access_key="test", **where
        )

    def environment(**facts: Any) -> SimpleNamespace:
        host = f"abc-ats.iot.{region}.{domain}"
        return SimpleNamespace(
            **{"target": "aws", "control_plane_url": None, "iot_endpoint": host, "client": client, **facts}
        )

    def elsewhere(service: str) -> Any:
        return client(service, **({"endpoint_url": "http://127.0.0.1:4566"} if service == "sqs" else {}))

    assert is_aws(environment(), {"AWS_REGION": region, "AWS_ENDPOINT_URL": ""})
    assert not is_aws(environment(client=elsewhere), {})
    assert not is_aws(environment(iot_endpoint="localhost"), {})
    assert not is_aws(environment(control_plane_url="http://127.0.0.1:4566"), {})
    assert not is_aws(environment(target="endpoint"), {})
    assert not is_aws(environment(), {"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:4566"})
