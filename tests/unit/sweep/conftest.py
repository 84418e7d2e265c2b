"""A stand-in without a stack, shared by the tests of this folder, and what a dead run would leave in it."""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from harness.cli import app
from harness.sweep.accounts import Account
from harness.targets import ready
from harness.targets.embedded import EmbeddedTarget
from harness.targets.marks import find_mark
from harness.targets.names import make_run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.targets.base import Environment
    from harness.targets.marks import Mark

DOCUMENT = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}}
)
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": {"Service": "iot.amazonaws.com"}, "Action": "sts:AssumeRole"},
    }
)


def make_dead_run_id() -> str:
    """Make the id of a run that expired a day ago."""
    return make_run_id(now=time.time(), lifetime=-86_400)


@dataclass
class Left:
    """What one run has made: kind to names, as a sweep lists them."""

    run_id: str
    names: set[tuple[str, str]] = field(default_factory=set)

    @property
    def mark(self) -> Mark:
        """What is in its names."""
        mark = find_mark(self.run_id)
        assert mark is not None
        return mark

    @property
    def tags(self) -> list[dict[str, str]]:
        """As most services take them."""
        return [{"Key": key, "Value": value} for key, value in self.mark.tags.items()]


class Leaver:
    """Makes what runs leave behind.

    Args:
        account: where.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def __getattr__(self, service: str) -> Any:
        return self.account.client(service.replace("_", "-"))

    def of(self, run_id: str) -> Left:
        """Begin a run that leaves something behind."""
        return Left(run_id)

    def name(self, left: Left, hint: str) -> str:
        """Make a name with the run's mark."""
        return f"{hint}-{left.run_id}-{next(self._numbers)}"

    def thing(self, left: Left) -> str:
        """Leave a thing."""
        name = self.name(left, "device")
        self.iot.create_thing(thingName=name)
        left.names.add(("thing", name))
        return name

    def certificate(self, left: Left | None, *, subject: str | None = None) -> tuple[str, str]:
        """Leave an active certificate with the run's mark, or another name, in its subject; its id and its ARN."""
        with self._lock:
            common_name = subject or (self.name(left, "device") if left else "AWS IoT Certificate")
        named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(named)
            .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        )
        pem = request.public_bytes(serialization.Encoding.PEM).decode()
        made = self.iot.create_certificate_from_csr(certificateSigningRequest=pem, setAsActive=True)
        if left is not None:
            left.names.add(("certificate", made["certificateId"]))
        return made["certificateId"], made["certificateArn"]

    def device(self, left: Left, policy_name: str | None = None) -> tuple[str, str]:
        """Leave a thing with its certificate and perhaps a policy on it; thing name and the certificate's ARN."""
        thing_name = self.thing(left)
        _, arn = self.certificate(left, subject=thing_name)
        self.iot.attach_thing_principal(thingName=thing_name, principal=arn)
        if policy_name is not None:
            self.iot.attach_policy(policyName=policy_name, target=arn)
        return thing_name, arn

    def policy(self, left: Left) -> str:
        """Leave a policy of two versions."""
        name = self.name(left, "policy")
        self.iot.create_policy(policyName=name, policyDocument=DOCUMENT)
        self.iot.create_policy_version(policyName=name, policyDocument=DOCUMENT, setAsDefault=True)
        left.names.add(("policy", name))
        return name

    def destination(self, left: Left) -> str:
        """Leave a destination whose URL has the mark."""
        url = f"https://localhost:9/{self.name(left, 'd')}"
        made = self.iot.create_topic_rule_destination(
            destinationConfiguration={"httpUrlConfiguration": {"confirmationUrl": url}}
        )
        arn: str = made["topicRuleDestination"]["arn"]
        left.names.add(("destination", arn))
        return arn

    def rule(self, left: Left) -> str:
        """Leave a rule, with the destination that its action brings along."""
        name = self.name(left, "rule").replace("-", "_")
        url = f"https://localhost:9/{name}"
        payload = {"sql": "SELECT * FROM 'a'", "actions": [{"http": {"url": url, "confirmationUrl": url}}]}
        self.iot.create_topic_rule(ruleName=name, topicRulePayload=payload)
        left.names.add(("rule", name))
        listed = self.iot.list_topic_rule_destinations()["destinationSummaries"]
        left.names.update(
            ("destination", each["arn"]) for each in listed if each["httpUrlSummary"]["confirmationUrl"] == url
        )
        return name

    def pool(self, left: Left | None = None, *, tags: dict[str, str] | None = None) -> str:
        """Leave an identity pool."""
        name = self.name(left, "pool") if left else f"pool-{secrets.token_hex(4)}"
        made = self.cognito_identity.create_identity_pool(
            IdentityPoolName=name, AllowUnauthenticatedIdentities=True, IdentityPoolTags=tags or {}
        )
        pool_id: str = made["IdentityPoolId"]
        if left is not None:
            left.names.add(("identity pool", pool_id))
        return pool_id

    def guests(self, pool_id: str, count: int) -> list[str]:
        """Let guests into a pool."""
        return [self.cognito_identity.get_id(IdentityPoolId=pool_id)["IdentityId"] for _ in range(count)]

    def role(self, left: Left) -> str:
        """Leave a role with a policy of its own and one that is attached."""
        name = self.name(left, "role")
        self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
        self.iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=DOCUMENT)
        arn = self.iam.create_policy(PolicyName=name, PolicyDocument=DOCUMENT)["Policy"]["Arn"]
        self.iam.attach_role_policy(RoleName=name, PolicyArn=arn)
        left.names.add(("role", name))
        return name

    def table(self, left: Left, **given: Any) -> str:
        """Leave a table."""
        name: str = given.pop("TableName", None) or self.name(left, "table")
        self.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
            **given,
        )
        left.names.add(("table", name))
        return name

    def queue(self, left: Left, **given: Any) -> str:
        """Leave a queue."""
        name = given.pop("QueueName", None) or self.name(left, "queue")
        url: str = self.sqs.create_queue(QueueName=name, **given)["QueueUrl"]
        left.names.add(("queue", url))
        return url

    def everything(self, run_id: str) -> Left:
        """Leave one of each kind that has a mark, two devices, and two certificates that lost their things."""
        left = Left(run_id)
        policy_name = self.policy(left)
        for _ in range(2):
            self.device(left, policy_name)
            self.certificate(left)
        for leave in (self.rule, self.destination, self.pool, self.role, self.table, self.queue):
            leave(left)
        return left


@pytest.fixture(scope="session")
def environment() -> Iterator[Environment]:
    """A stand-in without a stack."""
    target = EmbeddedTarget(stack=None)
    yield target.start()
    target.stop()


@pytest.fixture(scope="session")
def account(environment: Environment) -> Account:
    """Its account."""
    return Account("the stand-in", region=environment.region, make=environment.client)


@pytest.fixture(scope="session")
def leaver(account: Account) -> Leaver:
    """Leaves things behind in it."""
    return Leaver(account)


@pytest.fixture
def run_id() -> str:
    """The id of a run that expired a day ago."""
    return make_dead_run_id()


@pytest.fixture
def set_fault(environment: Environment) -> Iterator[Callable[..., None]]:
    """Return a function that lets calls fail; whatever has not struck by the end of the test is cleared."""
    import httpx  # noqa: PLC0415 - nothing else here needs it

    with httpx.Client(headers={"authorization": f"Bearer {environment.admin_token}"}, trust_env=False) as admin:

        def set_one(service: str, operation: str, code: str, **members: Any) -> None:
            fault = {"kind": "fail_call", "service": service, "operation": operation, "code": code, **members}
            admin.post(f"{environment.admin_url}/faults", json=fault).raise_for_status()

        yield set_one
        admin.delete(f"{environment.admin_url}/faults").raise_for_status()


@pytest.fixture
def ready_file(environment: Environment, tmp_path: Path) -> Path:
    """The ready file that `thingwright serve` would have written."""
    assert environment.ready is not None
    path = tmp_path / "ready.json"
    ready.write(path, environment.ready)
    return path


@dataclass
class Swept:
    """How a `thingwright sweep` ended."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> list[dict[str, Any]]:
        """The lines of --json."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, *outcomes: str) -> set[tuple[str, str]]:
        """Kind and name of what came to these outcomes."""
        return {(each["kind"], each["name"]) for each in self.told if each["outcome"] in outcomes}


@pytest.fixture
def sweep(ready_file: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Swept]:
    """Return a function that runs the command, with --json and the stand-in's ready file unless told otherwise."""
    for name in ("HARNESS_READY_FILE", "HARNESS_ENDPOINT_URL", "HARNESS_CA_FILE", "HARNESS_AWS_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, at: tuple[str, ...] | None = None, as_json: bool = True) -> Swept:
        where = ("--ready-file", str(ready_file)) if at is None else at
        result = CliRunner().invoke(app, ["sweep", *where, *arguments, *(["--json"] if as_json else [])])
        return Swept(result.exit_code, result.stdout, result.stderr)

    return run
