"""Who devices are: a Thing, a certificate for a key made here, the policy that both of them get; and their removal.

Every call blocks, and many threads may make them at once: asking AWS takes far longer than making a key, so many
identities are made side by side.

Whatever has a name is noted before it is made, and a certificate, which has none before it is there, carries its
thing's name as its subject: nothing is ever there that neither `Identities.remove` nor a sweep would find.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
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
from harness.clients.removal import PATIENCE, Attached, Remover
from harness.errors import HarnessError, TeardownError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from harness.clients.spending import Budget

S = TypeVar("S")
T = TypeVar("T")

_AT_ONCE: Final = 16
_SWEEP: Final = "`thingwright sweep --delete` removes it once the run's time is over"


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


@dataclass(slots=True)
class _Certificate:
    """What is known of a certificate that was made here.

    Args:
        certificate_id: 64 hexadecimal digits.
        arn: its ARN.
        policies: names of policies that may be attached to it.
        things: names of things that it may be attached to.
        is_active: whether it may be in use.
    """

    certificate_id: str
    arn: str
    policies: list[str] = field(default_factory=list)
    things: list[str] = field(default_factory=list)
    is_active: bool = True


@dataclass(slots=True)
class _Made:
    """What was made for one device, or is about to be.

    Args:
        thing_name: of its thing.
        certificates: its own.
        policies: names of policies of its own.
    """

    thing_name: str
    certificates: list[_Certificate] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)


class Identities:
    """Makes identities in AWS IoT, changes them, and takes all of them away again.

    Args:
        iot: boto3's ``iot`` client.
        policy_name: the IoT policy that every certificate gets.
        names: makes the names of things and policies.
        tags: say whose all of it is, beside the names; things have them as attributes.
        budget: how many things the run may have; None: as many as it likes.
        patience: seconds that removing one thing, certificate or policy may be tried again for.
    """

    def __init__(
        self,
        *,
        iot: Any,
        policy_name: str,
        names: NameMaker,
        tags: Mapping[str, str] | None = None,
        budget: Budget | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._iot = iot
        self._policy_name = policy_name
        self._names = names
        self._tags = dict(tags or {})
        self._budget = budget
        self._patience = patience
        self._remover = Remover(iot, patience=patience)
        self._made: dict[str, _Made] = {}
        self._lives = threading.Condition()
        self._life = 0
        self._under_way = 0

    def make(self, count: int, *, hint: str = "device", may_publish: str | None = None) -> list[DeviceIdentity]:
        """Register many devices side by side.

        Args:
            count: how many.
            hint: what their names begin with.
            may_publish: a further topic each may publish to, as `let_publish` takes it.

        Raises:
            BudgetExceeded: the run may not have so many; none was made.
            Exception: what the first of those that failed raised, with a note on how many did.
        """
        if self._budget is not None:
            self._budget.take_things(count)
        register = partial(self._register, life=self._life, may_publish=may_publish)
        outcomes = _side_by_side(register, [self._names.thing_name(hint) for _ in range(count)])
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
            BudgetExceeded: the run may have no more things.
            HarnessError: everything is being removed meanwhile.
            botocore.exceptions.ClientError: AWS IoT refused one of the calls; what was made until then is removed with
                the rest.
        """
        if self._budget is not None:
            self._budget.take_things()
        return self._register(thing_name, life=self._life)

    def set_status(self, identity: DeviceIdentity, status: str) -> None:
        """Change the status of a device's certificate.

        Args:
            identity: whose.
            status: ``ACTIVE``, ``INACTIVE`` or ``REVOKED``.

        Raises:
            botocore.exceptions.ClientError: AWS IoT refused it.
        """
        self._iot.update_certificate(certificateId=identity.certificate_id, newStatus=status)
        for certificate in self._certificates_of(identity):
            certificate.is_active = status == "ACTIVE"  # what was revoked stays so, and can be deleted as it is

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
        made = self._made.setdefault(identity.thing_name, _Made(identity.thing_name))
        certificates = self._certificates_of(identity)
        if not certificates:
            made.certificates.append(_Certificate(identity.certificate_id, arn))
        self._let_publish(made, (certificates or made.certificates)[-1], topic)

    def remove(self) -> None:
        """Take away everything that was made, in the order AWS IoT wants: detach, deactivate, delete.

        Every step is tried, whatever became of the others; what is gone already does no harm. What is being registered
        meanwhile is broken off first, and taken away with the rest.

        Raises:
            TeardownError: names what is left and why; another call tries it again.
        """
        with self._lives:
            self._life += 1
            self._lives.wait_for(lambda: not self._under_way, timeout=self._patience)
        outcomes = _side_by_side(self._take_back, list(self._made.values()))
        failures = [failure for each in outcomes for failure in _failures(each)]
        if failures:
            left = [f"{what} ({error})" for what, error in failures]
            errors = [error for _, error in failures]
            raise TeardownError(left, remedy=_SWEEP) from ExceptionGroup("while devices were removed", errors)

    def _register(self, thing_name: str, *, life: int, may_publish: str | None = None) -> DeviceIdentity:
        with self._registering(thing_name, life):
            made = self._made.setdefault(thing_name, _Made(thing_name))
            key = make_key()
            attributes = {_as_attribute(name): value for name, value in self._tags.items()}
            payload = {"attributePayload": {"attributes": attributes}} if attributes else {}
            self._iot.create_thing(thingName=thing_name, **payload)
            self._check_life(thing_name, life)
            request = make_request(key, common_name=thing_name)
            issued = self._iot.create_certificate_from_csr(certificateSigningRequest=request, setAsActive=True)
            certificate = _Certificate(issued["certificateId"], issued["certificateArn"])
            made.certificates.append(certificate)
            self._check_life(thing_name, life)
            # The thing comes first: a certificate tells by it whose it is, should its subject be lost. The policy that
            # lets it in comes last: who is let in has it all, and what a killed run leaves before lets nobody in.
            certificate.things.append(thing_name)
            self._iot.attach_thing_principal(thingName=thing_name, principal=certificate.arn)
            self._check_life(thing_name, life)
            if may_publish is not None:
                self._let_publish(made, certificate, may_publish)
                self._check_life(thing_name, life)
            self._attach_policy(certificate, self._policy_name)
            return DeviceIdentity(
                thing_name=thing_name,
                certificate_id=certificate.certificate_id,
                certificate_arn=certificate.arn,
                certificate_pem=issued["certificatePem"],
                private_key_pem=private_pem(key),
            )

    def _let_publish(self, made: _Made, certificate: _Certificate, topic: str) -> None:
        name = self._names.unique("may-publish")
        statement = {
            "Sid": "MayPublish",
            "Effect": "Allow",
            "Action": "iot:Publish",
            "Resource": f"{certificate.arn.rpartition(':')[0]}:topic/{topic}",
        }
        document = dumps({"Version": "2012-10-17", "Statement": [statement]})
        tags = {"tags": [{"Key": name, "Value": value} for name, value in self._tags.items()]} if self._tags else {}
        made.policies.append(name)
        self._iot.create_policy(policyName=name, policyDocument=document, **tags)
        self._attach_policy(certificate, name)

    def _attach_policy(self, certificate: _Certificate, policy_name: str) -> None:
        certificate.policies.append(policy_name)
        self._iot.attach_policy(policyName=policy_name, target=certificate.arn)

    def _certificates_of(self, identity: DeviceIdentity) -> list[_Certificate]:
        made = self._made.get(identity.thing_name)
        known = made.certificates if made else ()
        return [each for each in known if each.certificate_id == identity.certificate_id]

    @contextmanager
    def _registering(self, thing_name: str, life: int) -> Iterator[None]:
        """Let `remove` wait for a registration: a thread cannot be interrupted, and would go on making things."""
        with self._lives:
            self._check_life(thing_name, life)
            self._under_way += 1
        try:
            yield
        finally:
            with self._lives:
                self._under_way -= 1
                self._lives.notify_all()

    def _check_life(self, thing_name: str, life: int) -> None:
        if life != self._life:
            raise HarnessError(f"{thing_name} is not registered: everything is being removed")

    def _take_back(self, made: _Made) -> list[tuple[str, Exception]]:
        """Remove what was made for one device; return what is left, and why."""
        remover, thing_name = self._remover, made.thing_name
        steps: list[tuple[str, Callable[[], bool]]] = []
        for each in made.certificates:
            known = Attached(arn=each.arn, policies=each.policies, things=each.things, is_active=each.is_active)
            what = f"certificate {each.certificate_id} of {thing_name}"
            steps.append((what, partial(remover.certificate, each.certificate_id, known=known)))
        steps += [(f"policy {name}", partial(remover.policy, name)) for name in made.policies]
        steps.append((f"thing {thing_name}", partial(remover.thing, thing_name)))
        failures: list[tuple[str, Exception]] = []
        for number, (what, remove) in enumerate(steps):
            try:
                remove()
            except EndpointConnectionError as error:
                failures += [(each, error) for each, _ in steps[number:]]  # nobody is there for the others either
                break
            except (BotoCoreError, ClientError) as error:
                failures.append((what, error))
        if not failures:
            self._made.pop(thing_name, None)
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
    outcome: list[tuple[str, Exception]] | Exception,
) -> Iterable[tuple[str, Exception]]:
    """Return the failures of one device's removal; a defect of ours is raised as it is."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _as_attribute(tag: str) -> str:
    """Return the name that a tag has as an attribute of a thing: ``thingwrightRun`` for ``thingwright:run``."""
    first, *others = tag.split(":")
    return first + "".join(each.capitalize() for each in others)
