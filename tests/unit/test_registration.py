"""Registering a device for a kit: all of it, or nothing of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from harness.clients.certificates import make_key, make_self_signed
from harness.errors import HarnessError, SettingsError, TargetUnavailable
from harness.kit import CERTIFICATE, PRIVATE_KEY, PUBLIC_KEY, read_kit
from harness.registration import make_kit
from harness.targets.base import Environment
from harness.targets.marks import find_mark
from harness.targets.names import Names, make_run_id
from harness.targets.outputs import StackOutputs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ID = "0123abcd" * 8
ARN = f"arn:aws:iot:us-east-1:123456789012:cert/{ID}"
STEPS = ["describe_thing", "create_thing", "create_certificate_from_csr", "attach_thing_principal", "attach_policy"]
ALL_OF_IT = {"thing dev-1", "ACTIVE", "policy device-policy", "dev-1 has the certificate"}


class NotFound(ClientError):  # noqa: N818 - says what happened
    """What a client calls ResourceNotFoundException."""


class FakeIot:
    """A registry that minds AWS's order of removal, and fails where a test says.

    Args:
        fails: operation to what happens in it.
        is_lost: whether a failing operation was carried out, its answer alone being lost.
        has: what is registered before.
    """

    def __init__(
        self, fails: dict[str, BaseException] | None = None, *, is_lost: bool = False, has: tuple[str, ...] = ()
    ) -> None:
        self.exceptions = type("Exceptions", (), {"ResourceNotFoundException": NotFound})
        self.has = set(has)
        self.on_call: Callable[[str], None] = lambda _: None
        self._fails = fails or {}
        self._is_lost = is_lost

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**parameters: Any) -> Any:
            self.on_call(operation)
            failure = self._fails.get(operation)
            if failure is not None and not self._is_lost:
                raise failure
            answer = getattr(self, f"_{operation}")(**parameters)
            if failure is not None:
                raise failure
            return answer

        return call

    def _describe_thing(self, *, thingName: str) -> None:  # noqa: N803 - AWS's name, as below
        if f"thing {thingName}" not in self.has:
            raise NotFound({"Error": {"Code": "ResourceNotFoundException"}}, "DescribeThing")

    def _create_thing(self, *, thingName: str) -> None:  # noqa: N803 - AWS's name
        self.has.add(f"thing {thingName}")

    def _create_certificate_from_csr(self, *, certificateSigningRequest: str, setAsActive: bool) -> dict[str, Any]:  # noqa: N803 - AWS's name
        assert setAsActive
        request = x509.load_pem_x509_csr(certificateSigningRequest.encode())
        assert request.is_signature_valid
        self.has.add("ACTIVE")
        return {"certificateArn": ARN, "certificateId": ID, "certificatePem": issue(request)}

    def _attach_policy(self, *, policyName: str, target: str) -> None:  # noqa: N803 - AWS's name
        assert target == ARN
        self.has.add(f"policy {policyName}")

    def _attach_thing_principal(self, *, thingName: str, principal: str) -> None:  # noqa: N803 - AWS's name
        assert principal == ARN
        self.has.add(f"{thingName} has the certificate")

    def _detach_thing_principal(self, *, thingName: str, principal: str) -> None:  # noqa: N803 - AWS's name
        assert principal == ARN
        self._remove(f"{thingName} has the certificate")

    def _detach_policy(self, *, policyName: str, target: str) -> None:  # noqa: N803 - AWS's name
        assert target == ARN
        self._remove(f"policy {policyName}")

    def _update_certificate(self, *, certificateId: str, newStatus: str) -> None:  # noqa: N803 - AWS's name
        assert (certificateId, newStatus) == (ID, "INACTIVE")
        self._remove("ACTIVE")
        self.has.add("INACTIVE")

    def _delete_certificate(self, *, certificateId: str) -> None:  # noqa: N803 - AWS's name
        assert certificateId == ID
        assert not self.has & {"ACTIVE", "policy device-policy", "dev-1 has the certificate"}, "not in this order"
        self._remove("INACTIVE")

    def _delete_thing(self, *, thingName: str) -> None:  # noqa: N803 - AWS's name
        assert f"{thingName} has the certificate" not in self.has, "not in this order"
        self.has.discard(f"thing {thingName}")  # deleting what is not there succeeds

    def _remove(self, what: str) -> None:
        if what not in self.has:
            raise NotFound({"Error": {"Code": "ResourceNotFoundException"}}, "Remove")
        self.has.remove(what)


def issue(request: x509.CertificateSigningRequest) -> str:
    """Make the certificate that is asked for."""
    now = datetime.now(UTC)
    issued = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(request.subject)
        .public_key(request.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(make_key(), hashes.SHA256())
    )
    return issued.public_bytes(serialization.Encoding.PEM).decode()


def refused(operation: str) -> ClientError:
    """Make what boto3 raises when AWS refuses a call."""
    return ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, operation)


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    """The authority of the target."""
    path = tmp_path / "ca ä.pem"
    path.write_text(make_self_signed(make_key()), "utf-8")
    return path


@pytest.fixture
def make_environment(monkeypatch: pytest.MonkeyPatch, ca_file: Path) -> Callable[..., Environment]:
    """Make a target that has a stack and this registry."""

    def make(iot: FakeIot, *, is_aws: bool = False, has_stack: bool = True) -> Environment:
        monkeypatch.setattr(Environment, "client", lambda _, service: {"iot": iot}[service])
        outputs = StackOutputs(
            region="eu-west-1",
            iot_endpoint="localhost",
            iot_mqtts_port=40003,
            iot_wss_url="wss://localhost:1/mqtt",
            ca_file=None if is_aws else str(ca_file),
            identity_pool_id="eu-west-1:1",
            client_id_prefix="public-",
            topic_prefix="public/",
            telemetry_topic="things/telemetry",
            device_policy_name="device-policy",
        )
        return Environment(
            target="fake",
            region="eu-west-1",
            iot_endpoint="localhost",
            mqtts_port=40003,
            wss_port=1,
            names=Names("run"),
            ca_file=None if is_aws else str(ca_file),
            stack_outputs=outputs if has_stack else None,
        )

    return make


def test_device_is_registered_and_has_its_kit(
    make_environment: Callable[..., Environment], tmp_path: Path, ca_file: Path
) -> None:
    """Thing, certificate and policy are there and belong together, and the kit is one that can be read."""
    iot = FakeIot()

    made = make_kit(make_environment(iot), "dev-1", out=tmp_path / "kit")

    assert iot.has == ALL_OF_IT
    assert (made.path, made.certificate_id, made.is_new_thing) == (tmp_path / "kit", ID, True)
    assert sorted(made.names) == sorted(path.name for path in made.path.iterdir())
    kit = read_kit(made.path)
    assert (kit.kit.thing_name, kit.kit.client_id, kit.kit.region) == ("dev-1", "dev-1", "eu-west-1")
    assert (kit.kit.endpoint, kit.kit.mqtts_port) == ("localhost", 40003)
    assert kit.authority.read_bytes() == ca_file.read_bytes()


def test_certificate_has_its_thing_before_it_may_do_anything(
    make_environment: Callable[..., Environment], tmp_path: Path
) -> None:
    """What is left when the process is killed meanwhile lets nobody in, and the thing tells whose it is."""
    iot, had = FakeIot(), dict[str, set[str]]()
    iot.on_call = lambda operation: had.update({operation: set(iot.has)})

    make_kit(make_environment(iot), "dev-1", out=tmp_path / "kit")

    assert had["attach_policy"] == ALL_OF_IT - {"policy device-policy"}


def test_certificate_says_from_the_first_whose_it_is(
    make_environment: Callable[..., Environment], tmp_path: Path
) -> None:
    """What is left when the process is killed right then has the end of the thing's name, and so its run."""
    name = f"device-{'x' * 80}-{make_run_id()}-1"

    made = make_kit(make_environment(FakeIot()), name, out=tmp_path / "kit")

    certificate = x509.load_pem_x509_certificate((made.path / CERTIFICATE).read_bytes())
    (said,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert said.value == name[-64:]
    assert find_mark(str(said.value)) is not None


def test_key_is_made_here(make_environment: Callable[..., Environment], tmp_path: Path) -> None:
    """AWS is asked for a certificate of a key made here, of the kind that AWS makes for devices."""
    made = make_kit(make_environment(FakeIot()), "dev-1", out=tmp_path / "kit")

    key = serialization.load_pem_private_key((made.path / PRIVATE_KEY).read_bytes(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048
    assert serialization.load_pem_public_key((made.path / PUBLIC_KEY).read_bytes()) == key.public_key()
    certificate = x509.load_pem_x509_certificate((made.path / CERTIFICATE).read_bytes())
    assert certificate.public_key() == key.public_key()


def test_kit_is_nobody_s_to_sweep(make_environment: Callable[..., Environment], tmp_path: Path) -> None:
    """A user's own device has no run and no expiry, although the run that a command is has both."""
    iot, asked = FakeIot(), list[dict[str, Any]]()
    environment = make_environment(iot).with_names(Names(make_run_id()))

    def listened_to(call: Callable[..., Any]) -> Callable[..., Any]:
        def listen(**parameters: Any) -> Any:
            asked.append(parameters)
            return call(**parameters)

        return listen

    for operation in STEPS[1:]:
        setattr(iot, operation, listened_to(getattr(iot, operation)))

    made = make_kit(environment, "dev-1", out=tmp_path / "kit")

    assert len(asked) == 4
    assert find_mark(repr(environment.names)) is not None
    assert [find_mark(str(each)) for each in asked] == [None] * 4
    certificate = x509.load_pem_x509_certificate((made.path / CERTIFICATE).read_bytes())
    assert find_mark(certificate.subject.rfc4514_string()) is None


def test_kit_of_aws_trusts_amazon(make_environment: Callable[..., Environment], tmp_path: Path) -> None:
    """Where the target has no authority of its own, the kit's is Amazon's, which botocore carries."""
    made = make_kit(make_environment(FakeIot(), is_aws=True), "dev-1", out=tmp_path / "kit")

    authority = x509.load_pem_x509_certificate((made.path / "AmazonRootCA1.pem").read_bytes())
    assert authority.subject.rfc4514_string() == "CN=Amazon Root CA 1,O=Amazon,C=US"


def test_thing_that_is_there_gets_one_more_certificate(
    make_environment: Callable[..., Environment], tmp_path: Path
) -> None:
    """A thing's name may be one that exists: it is not made again, and that is told."""
    iot = FakeIot({"create_thing": AssertionError("it exists")}, has=("thing dev-1",))

    made = make_kit(make_environment(iot), "dev-1", out=tmp_path / "kit", as_zip=True)

    assert iot.has == ALL_OF_IT
    assert (made.is_new_thing, made.path.name) == (False, "connection-kit-dev-1.zip")


@pytest.mark.parametrize("name", ["", "a b", "dev/1", "ä", "x" * 129, "dev-1\n", "$(id)"])
def test_name_that_is_none_registers_nothing(
    make_environment: Callable[..., Environment], tmp_path: Path, name: str
) -> None:
    """A name that no thing can have is refused before anything is made."""
    iot = FakeIot()

    with pytest.raises(SettingsError, match=r"^NAME="):
        make_kit(make_environment(iot), name, out=tmp_path / "kit")

    assert iot.has == set()
    assert not (tmp_path / "kit").exists()


def test_longest_name_is_accepted(make_environment: Callable[..., Environment], tmp_path: Path) -> None:
    """128 characters, and each kind that a name may have."""
    name = "aZ9:_-" + "x" * 122

    assert make_kit(make_environment(FakeIot()), name, out=tmp_path / "kit").is_new_thing


def test_folder_in_use_registers_nothing(
    make_environment: Callable[..., Environment], tmp_path: Path, ca_file: Path
) -> None:
    """A folder that is not empty is refused before anything is registered, and nothing of it is touched."""
    iot = FakeIot()

    with pytest.raises(SettingsError, match="new or empty"):
        make_kit(make_environment(iot), "dev-1", out=tmp_path)

    assert iot.has == set()
    assert list(tmp_path.iterdir()) == [ca_file]


def test_authority_that_is_gone_registers_nothing(
    make_environment: Callable[..., Environment], tmp_path: Path, ca_file: Path
) -> None:
    """The stand-in's CA file goes with it: that is told before anything is made."""
    iot = FakeIot()
    environment = make_environment(iot)
    ca_file.unlink()

    with pytest.raises(TargetUnavailable, match=r"CA file .* cannot be read"):
        make_kit(environment, "dev-1", out=tmp_path / "kit")

    assert iot.has == set()
    assert not (tmp_path / "kit").exists()


def test_target_without_a_stack_registers_nothing(make_environment: Callable[..., Environment], tmp_path: Path) -> None:
    """Without a stack there is no device policy."""
    with pytest.raises(TargetUnavailable, match="without a stack"):
        make_kit(make_environment(FakeIot(), has_stack=False), "dev-1", out=tmp_path / "kit")

    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize(
    ("step", "was_there"),
    [*((step, False) for step in STEPS), *((step, True) for step in STEPS if step != "create_thing")],
)
def test_refused_step_takes_the_others_back(
    make_environment: Callable[..., Environment], tmp_path: Path, step: str, *, was_there: bool
) -> None:
    """Whichever call is refused, nothing stays registered, no file stays, and a thing that was there does."""
    has = ("thing dev-1",) if was_there else ()
    iot = FakeIot({step: refused(step)}, has=has)

    with pytest.raises(HarnessError, match=r"^dev-1 could not be registered: .*Rate exceeded$"):
        make_kit(make_environment(iot), "dev-1", out=tmp_path / "kit")

    assert iot.has == set(has)
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize("step", ["create_thing", "attach_policy", "attach_thing_principal"])
@pytest.mark.parametrize(
    "failure", [ReadTimeoutError(endpoint_url="http://127.0.0.1:1"), KeyboardInterrupt(), RuntimeError("a defect")]
)
def test_step_whose_answer_is_lost_is_taken_back_as_well(
    make_environment: Callable[..., Environment], tmp_path: Path, step: str, failure: BaseException
) -> None:
    """A call that was carried out, though nobody heard so, leaves nothing; Ctrl+C and defects stay what they are."""
    iot = FakeIot({step: failure}, is_lost=True)
    expected = HarnessError if isinstance(failure, ReadTimeoutError) else type(failure)

    with pytest.raises(expected):
        make_kit(make_environment(iot), "dev-1", out=tmp_path / "kit")

    assert iot.has == set()
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize("as_zip", [False, True])
def test_file_that_cannot_be_written_takes_all_back(
    make_environment: Callable[..., Environment], tmp_path: Path, *, as_zip: bool
) -> None:
    """When a file cannot be written midway, the device is unregistered and the key that was written is gone."""
    iot, out = FakeIot(), tmp_path / "kit"
    taken = out / ("connection-kit-dev-1.zip" if as_zip else "public.pem.key")
    iot.on_call = lambda operation: taken.touch() if operation == "attach_thing_principal" else None

    with pytest.raises(HarnessError, match=rf"{taken.name} could not be written \(File exists\)$"):
        make_kit(make_environment(iot), "dev-1", out=out, as_zip=as_zip)

    assert iot.has == set()
    assert list(out.iterdir()) == [taken]


def test_what_cannot_be_taken_back_is_named(make_environment: Callable[..., Environment], tmp_path: Path) -> None:
    """The sentence says what failed first and what is left behind; every other step back is taken."""
    fails: dict[str, BaseException] = {
        name: refused(name) for name in ("attach_policy", "detach_policy", "delete_certificate")
    }
    iot = FakeIot(fails)

    with pytest.raises(HarnessError) as caught:
        make_kit(make_environment(iot), "dev-1", out=tmp_path / "kit")

    said = str(caught.value)
    assert said.startswith("dev-1 could not be registered: ")
    left = said.partition("; left behind: ")[2]
    assert f"certificate {ID} (" in left
    assert "its policy device-policy (" in left
    assert "thing" not in left
    assert iot.has == {"INACTIVE"}


def test_interrupted_way_back_still_says_what_is_left(
    make_environment: Callable[..., Environment], tmp_path: Path
) -> None:
    """Ctrl+C is told as such, together with what stays behind."""
    iot = FakeIot({"attach_policy": KeyboardInterrupt(), "update_certificate": refused("UpdateCertificate")})
    iot._delete_certificate = lambda **_: None

    with pytest.raises(HarnessError, match=r"^dev-1: KeyboardInterrupt\(\); left behind: its state ACTIVE \("):
        make_kit(make_environment(iot), "dev-1", out=tmp_path / "kit")


def test_kit_s_description_names_no_key_of_the_operator_s(
    make_environment: Callable[..., Environment], tmp_path: Path
) -> None:
    """What the kit says of the target is where devices connect: neither the control plane nor its admin API."""
    made = make_kit(make_environment(FakeIot()), "dev-1", out=tmp_path / "kit")

    described = json.loads((made.path / "kit.json").read_text("utf-8"))
    where = ["endpoint", "isPortShared", "mqttsPort", "region", "telemetryTopic"]
    assert sorted(described) == ["clientId", *where, "thingName"]
