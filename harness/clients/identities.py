"""Who devices are: a Thing, a certificate for a key made here, the policy that both of them get; and their removal.

Every call blocks, and many threads may make them at once: asking AWS takes far longer than making a key, so many
identities are made side by side.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from json import dumps
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from harness.clients.certificates import (
    certificate_id,
    make_forged,
    make_key,
    make_request,
    make_self_signed,
    private_pem,
)
from harness.errors import TeardownError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

S = TypeVar("S")
T = TypeVar("T")

_AT_ONCE: Final = 16
_IS_GONE: Final = "ResourceNotFoundException"


class NameMaker(Protocol):
    """Makes names that nobody else has."""

    def thing_name(self, hint: str = ...) -> str:
        """Return a new thing name."""
        ...

    def unique(self, hint: str = ...) -> str:
        """Return a new name for anything else."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceIdentity:
    """What a device is known by, and proves it with; the private key is never printed.

    Args:
        thing_name: its Thing in AWS IoT, and the client id it may use.
        certificate_id: SHA-256 of the certificate, hex.
        certificate_arn: None for a certificate that AWS IoT does not know.
        certificate_pem: the certificate; a forged one comes with the one it abuses.
        private_key_pem: the key to it.
    """

    thing_name: str
    certificate_id: str
    certificate_arn: str | None
    certificate_pem: str
    private_key_pem: str = field(repr=False)

    def unregistered(self) -> DeviceIdentity:
        """Return an impostor of this device whose certificate nobody registered."""
        key = make_key()
        return self._with(private_pem(key), make_self_signed(key))

    def forged(self) -> DeviceIdentity:
        """Return an impostor of this device whose certificate was signed with this device's key."""
        key = make_key()
        chain = make_forged(key, issuer_pem=self.certificate_pem, issuer_key_pem=self.private_key_pem)
        return self._with(private_pem(key), chain)

    def _with(self, key_pem: str, certificate_pem: str) -> DeviceIdentity:
        return replace(
            self,
            certificate_id=certificate_id(certificate_pem),
            certificate_arn=None,
            certificate_pem=certificate_pem,
            private_key_pem=key_pem,
        )


@dataclass(frozen=True, slots=True)
class _Step:
    """One call that takes something back.

    Args:
        what: what is left behind without it.
        operation: boto3's name of the call.
        parameters: its arguments.
    """

    what: str
    operation: str
    parameters: dict[str, Any]


class Identities:
    """Makes identities in AWS IoT, changes them, and takes all of them away again.

    Args:
        iot: boto3's ``iot`` client.
        policy_name: the IoT policy that every certificate gets.
        names: makes the names of things and policies.
    """

    def __init__(self, *, iot: Any, policy_name: str, names: NameMaker) -> None:
        self._iot = iot
        self._policy_name = policy_name
        self._names = names
        self._undo: dict[str, list[_Step]] = {}
        self._out_of_use: set[str] = set()

    def make(self, count: int, *, hint: str = "device") -> list[DeviceIdentity]:
        """Register many devices side by side.

        Args:
            count: how many.
            hint: what their names begin with.

        Raises:
            Exception: what the first of those that failed raised, with a note on how many did.
        """
        names = [self._names.thing_name(hint) for _ in range(count)]
        outcomes = _side_by_side(self.register, names)
        errors = [each for each in outcomes if isinstance(each, Exception)]
        if errors:
            if count > 1:
                errors[0].add_note(f"{len(errors)} of {count} devices could not be registered; this is the first")
            raise errors[0]
        return [each for each in outcomes if isinstance(each, DeviceIdentity)]

    def register(self, thing_name: str) -> DeviceIdentity:
        """Make a Thing and an active certificate with the policy, attached to one another.

        Args:
            thing_name: its name.

        Raises:
            botocore.exceptions.ClientError: AWS IoT refused one of the calls; what was made until then is removed with
                the rest.
        """
        undo = self._undo.setdefault(thing_name, [])
        key = make_key()
        self._iot.create_thing(thingName=thing_name)
        undo.append(_Step(f"thing {thing_name}", "delete_thing", {"thingName": thing_name}))

        issued = self._iot.create_certificate_from_csr(certificateSigningRequest=make_request(key), setAsActive=True)
        its_id, its_arn = issued["certificateId"], issued["certificateArn"]
        certificate = f"certificate {its_id} of {thing_name}"
        undo.append(_Step(certificate, "delete_certificate", {"certificateId": its_id}))
        inactive = {"certificateId": its_id, "newStatus": "INACTIVE"}
        undo.append(_Step(f"the active {certificate}", "update_certificate", inactive))

        self._attach_policy(undo, self._policy_name, its_arn, certificate)
        self._iot.attach_thing_principal(thingName=thing_name, principal=its_arn)
        attached = {"thingName": thing_name, "principal": its_arn}
        undo.append(_Step(f"{certificate}, attached", "detach_thing_principal", attached))
        return DeviceIdentity(
            thing_name=thing_name,
            certificate_id=its_id,
            certificate_arn=its_arn,
            certificate_pem=issued["certificatePem"],
            private_key_pem=private_pem(key),
        )

    def set_status(self, identity: DeviceIdentity, status: str) -> None:
        """Change the status of a device's certificate.

        Args:
            identity: whose.
            status: ``ACTIVE``, ``INACTIVE`` or ``REVOKED``.

        Raises:
            botocore.exceptions.ClientError: AWS IoT refused it.
        """
        self._iot.update_certificate(certificateId=identity.certificate_id, newStatus=status)
        change = self._out_of_use.discard if status == "ACTIVE" else self._out_of_use.add
        change(identity.certificate_id)

    def let_publish(self, identity: DeviceIdentity, topic: str) -> None:
        """Let a device publish to a further topic, by a policy of its own.

        Args:
            identity: whose certificate gets the policy.
            topic: topic name; a policy's wildcards ``*`` and ``?`` allowed.

        Raises:
            botocore.exceptions.ClientError: AWS IoT refused it.
            ValueError: the certificate is not registered.
        """
        arn = identity.certificate_arn
        if arn is None:
            raise ValueError(f"no policy can be attached to {identity.thing_name}: its certificate is not registered")
        undo = self._undo.setdefault(identity.thing_name, [])
        name = self._names.unique("may-publish")
        statement = {
            "Sid": "MayPublish",
            "Effect": "Allow",
            "Action": "iot:Publish",
            "Resource": f"{arn.rpartition(':')[0]}:topic/{topic}",
        }
        self._iot.create_policy(
            policyName=name, policyDocument=dumps({"Version": "2012-10-17", "Statement": [statement]})
        )
        undo.append(_Step(f"policy {name}", "delete_policy", {"policyName": name}))
        self._attach_policy(undo, name, arn, f"certificate {identity.certificate_id} of {identity.thing_name}")

    def remove(self) -> None:
        """Take away everything that was made, in the order AWS IoT wants: detach, deactivate, delete.

        Every step is tried, whatever became of the others; what is gone already does no harm.

        Raises:
            TeardownError: names what is left and why.
        """
        everything, self._undo = list(self._undo.values()), {}
        failures = [failure for each in _side_by_side(self._take_back, everything) for failure in _failures(each)]
        if failures:
            left = [f"{step.what} ({error})" for step, error in failures]
            errors = [error for _, error in failures]
            raise TeardownError(
                left, remedy="remove it with the AWS API: detach, deactivate, delete"
            ) from ExceptionGroup("while devices were removed", errors)

    def _attach_policy(self, undo: list[_Step], policy_name: str, arn: str, certificate: str) -> None:
        self._iot.attach_policy(policyName=policy_name, target=arn)
        attached = {"policyName": policy_name, "target": arn}
        undo.append(_Step(f"policy {policy_name} on {certificate}", "detach_policy", attached))

    def _take_back(self, undo: list[_Step]) -> list[tuple[_Step, Exception]]:
        failures: list[tuple[_Step, Exception]] = []
        while undo:
            step = undo.pop()
            if step.operation == "update_certificate" and step.parameters["certificateId"] in self._out_of_use:
                continue  # it can be deleted as it is, and what was revoked stays revoked
            try:
                getattr(self._iot, step.operation)(**step.parameters)
            except EndpointConnectionError as error:
                failures += [(each, error) for each in (step, *reversed(undo))]  # nobody is there for the others either
                break
            except (BotoCoreError, ClientError) as error:
                if not (isinstance(error, ClientError) and error.response["Error"]["Code"] == _IS_GONE):
                    failures.append((step, error))
        return failures


def _side_by_side(call: Callable[[S], T], arguments: Sequence[S]) -> list[T | Exception]:
    """Call a function once per argument on threads; what it raises stands in the place of its result."""

    def outcome(argument: S) -> T | Exception:
        try:
            return call(argument)
        except Exception as error:  # noqa: BLE001 - a thread boundary: the caller gets it
            return error

    if len(arguments) < 2:
        return [outcome(each) for each in arguments]
    with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(arguments)), thread_name_prefix="identities") as threads:
        return list(threads.map(outcome, arguments))


def _failures(
    outcome: list[tuple[_Step, Exception]] | Exception,
) -> Iterable[tuple[_Step, Exception]]:
    """Return the failures of one device's removal; a defect of ours is raised as it is."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
