"""The one file that knows moto.

moto keeps things, certificates, policies, IAM, pools, tables and queues. It is called in two ways: with a request made
anew for exactly one operation (`MotoBackend.invoke`), and by reading or writing its objects where it has no right
answer. A backend object is looked up at each use and never kept, since moto's reset replaces them.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, Final

import moto.core.utils
from botocore.exceptions import ClientError
from moto.backends import get_backend
from moto.core import responses
from moto.core.config import default_user_config
from moto.core.loaders import create_loader
from moto.core.request import Request
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model, method_names_from_class
from moto.moto_server.werkzeug_app import create_backend_app
from moto.sqs import models as sqs_models
from werkzeug.exceptions import HTTPException

from harness.embedded.control.messages import ApiError, HttpResponse, not_served
from harness.embedded.control.moto_request import make_environ
from harness.embedded.control.once import MadeOnce
from harness.iot.arn import certificate_arn, partition, thing_arn
from harness.iot.registry import Certificate, Credential, IotPolicy, Role, Thing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from harness.embedded.control.routing import ApiCall

# moto makes a loader for each model, and every loader first looks through botocore's some 400 services on disk.
moto.core.utils.create_loader = cache(create_loader)  # type: ignore[attr-defined] # imported there, used from there

# moto lists the methods of a service's class anew for each call.
responses.method_names_from_class = cache(  # type: ignore[attr-defined]  # imported there, used from there
    method_names_from_class
)


def _is_kept(backend: Any, queue_name: str, message: Any) -> bool:
    retained_until: float = backend.get_queue(queue_name).message_retention_period + message.sent_timestamp / 1000
    return retained_until > time.time()


# For each message that it hands out, moto works out all attributes of the queue, and for each of those asks every
# message in it for the time, by way of a datetime: nobody could empty a queue of some thousand messages.
_sqs: Any = sqs_models
_sqs.unix_time_millis = lambda: time.time() * 1000
_sqs.SQSBackend.is_message_valid_based_on_retention_period = _is_kept


def _one_at_a_time(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Let one thread at a time do something with queues."""

    @wraps(operation)
    def in_turn(*args: Any, **kwargs: Any) -> Any:
        with _queues:
            return operation(*args, **kwargs)

    return in_turn


def _received_in_turn(receive: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Let one thread at a time take messages out, and others while it waits for some."""

    @wraps(receive)
    def in_turn(
        backend: Any, queue_name: str, count: int, wait_seconds_timeout: int, visibility_timeout: int, *rest: Any
    ) -> list[Any]:
        until = time.monotonic() + wait_seconds_timeout
        while True:
            with _queues:
                found = receive(backend, queue_name, count, 0, visibility_timeout, *rest)
                queue = backend.get_queue(queue_name)
            remaining = until - time.monotonic()
            if found or remaining <= 0:
                return found
            queue.wait_for_messages(min(1.0, remaining))

    return in_turn


def _seen_by_who_waits(change: Callable[..., Any]) -> Callable[..., Any]:
    """Let those who wait for messages look again, as moto does only for messages that are sent.

    Two who go through a queue again and again would otherwise, in step, each keep missing what the other gives back.
    What is given back goes to those who wait: whoever looks without a wait meanwhile may find nothing.
    """

    @wraps(change)
    def and_wake(backend: Any, queue_name: str, *rest: Any, **named: Any) -> Any:
        changed = change(backend, queue_name, *rest, **named)
        queue = backend.get_queue(queue_name)
        with queue._messages_lock:  # noqa: SLF001 - what `wait_for_messages` waits with
            queue._messages_lock.notify_all()  # noqa: SLF001 - the same
        return changed

    return and_wake


# moto's queues are made for one thread at a time: two that take messages out may both fail, with some of them hidden
# for nobody, and a message that is sent while another is deleted may be gone.
_queues: Final = threading.RLock()
_sqs.SQSBackend.change_message_visibility = _seen_by_who_waits(_sqs.SQSBackend.change_message_visibility)
for _operation in ("send_message", "delete_message", "change_message_visibility", "change_message_visibility_batch"):
    setattr(_sqs.SQSBackend, _operation, _one_at_a_time(getattr(_sqs.SQSBackend, _operation)))
_sqs.SQSBackend.receive_message = _received_in_turn(_sqs.SQSBackend.receive_message)

_ONE_PATH: Final = "/"
"""Where services of protocol json answer, whatever they are asked."""
_KEPT_HEADERS: Final = frozenset({"content-type", "x-amzn-errortype", "x-amz-crc32", "x-amzn-query-error"})


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityPool:
    """A Cognito identity pool, as far as credentials depend on it, and its tags."""

    pool_id: str
    name: str
    allows_guests: bool
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCertificate:
    """A certificate about to be registered.

    Args:
        certificate_id: SHA-256 of the DER, 64 hex digits.
        pem: the certificate.
        not_before: start of its validity.
        not_after: end of its validity.
        ca_certificate_id: the registered CA that issued it, if one did.
    """

    certificate_id: str
    pem: str
    not_before: datetime
    not_after: datetime
    ca_certificate_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedRole:
    """A role, who may assume it and for how many seconds at most."""

    name: str
    role: Role
    trust_policy: str
    max_session_seconds: int


class MotoBackend:
    """moto for one account in one region.

    ``lock`` is held while registry state changes and while it is read as a whole.

    Args:
        account_id: 12 digits.
        region: the only region served.
    """

    def __init__(self, *, account_id: str, region: str) -> None:
        self.account_id = account_id
        self.region = region
        self.lock = threading.RLock()
        self.exclusive: set[tuple[str, str]] = set()
        """(principal, thing name) attached as EXCLUSIVE_THING, which moto does not know."""
        self._handlers: MadeOnce[Callable[..., Any]] = MadeOnce(self._handler)
        self._apps: MadeOnce[Any] = MadeOnce(create_backend_app)  # type: ignore[arg-type]  # moto spells its names out
        # Certificate ids are the SHA-256 of the DER, as devices and AWS compute them, not of the PEM.
        default_user_config.setdefault("iot", {})["use_valid_cert"] = True

    # --- calls
    # ------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def load_model(service: str) -> Any:
        """Return botocore's model of a service; moto holds it in memory anyway."""
        return get_service_model(service)

    def invoke(self, call: ApiCall, *, access_key_id: str | None, host: str = "") -> HttpResponse:
        """Let moto run one operation.

        Args:
            call: what was authorised.
            access_key_id: who asked; None for an operation that goes unsigned.
            host: where they called, for answers with a URL in them.

        Raises:
            ApiError: moto does not have the operation, or fails on it.
        """
        environ = make_environ(
            call, account_id=self.account_id, region=self.region, access_key_id=access_key_id, host=host
        )
        try:
            if call.operation.protocol == "json":
                return _ask(self._handlers[call.operation.service], environ)
            if call.operation.protocol == "rest-json":
                _check_route(call, environ)
            return _ask_app(self._apps[call.operation.service], environ)
        except NotImplementedError:
            raise not_served(f"{call.operation.service} {call.operation.name}") from None

    def _handler(self, service: str) -> Callable[..., Any]:
        backend: Any = get_backend(service)  # type: ignore[call-overload]  # moto spells its names out
        handler: Callable[..., Any] = backend[self.account_id][self.region].flask_paths[_ONE_PATH]
        return handler

    # --- the registry, as the broker needs it
    # -----------------------------------------------------------------------------------

    def read(self, table: str, keys: Iterable[str] | None) -> dict[str, Any]:
        """Return records of one table of `harness.iot.registry`: all, or those with the given keys that exist.

        ``credentials`` gives the access keys of IAM users only.
        """
        readers: Mapping[str, Callable[[frozenset[str] | None], dict[str, Any]]] = {
            "certificates": self._certificates,
            "things": self._things,
            "policies": self._policies,
            "roles": self._roles,
            "credentials": self._access_keys,
        }
        with self.lock:
            return readers[table](None if keys is None else frozenset(keys))

    def _certificates(self, keys: frozenset[str] | None) -> dict[str, Certificate]:
        registered = self._iot.certificates
        chosen = registered.values() if keys is None else [registered[key] for key in keys if key in registered]
        return {
            one.certificate_id: Certificate(
                certificate_id=one.certificate_id, arn=one.arn, status=one.status, pem=one.certificate_pem
            )
            for one in chosen
        }

    def _things(self, keys: frozenset[str] | None) -> dict[str, Thing]:
        backend = self._iot
        things = [self._thing(key) for key in keys] if keys is not None else backend.things.values()
        principals: dict[str, list[str]] = {}
        for principal, name in backend.principal_things:
            if keys is None or name in keys:
                principals.setdefault(name, []).append(principal)
        return {
            thing.thing_name: Thing(
                name=thing.thing_name,
                type_name=thing.thing_type.thing_type_name if thing.thing_type else None,
                attributes=tuple(sorted(thing.attributes.items())),
                principals=tuple(principals.get(thing.thing_name, ())),
                exclusive_principals=tuple(
                    p for p in principals.get(thing.thing_name, ()) if (p, thing.thing_name) in self.exclusive
                ),
            )
            for thing in things
            if thing is not None
        }

    def _policies(self, keys: frozenset[str] | None) -> dict[str, IotPolicy]:
        backend = self._iot
        targets: dict[str, list[str]] = {}
        for target, name in backend.principal_policies:
            targets.setdefault(name, []).append(target)
        return {
            name: IotPolicy(name=name, document=_text(policy.document), targets=tuple(targets.get(name, ())))
            for name, policy in backend.policies.items()
            if keys is None or name in keys
        }

    def _roles(self, keys: frozenset[str] | None) -> dict[str, Role]:
        backend = self._iam
        roles = {role.arn: _role(role) for role in backend.roles.values()}
        for user in backend.users.values():
            groups = [group for group in backend.groups.values() if user in group.users]
            roles[user.arn] = Role(
                arn=user.arn,
                unique_id=user.id,
                policies=(*_policies_of(user), *(policy for group in groups for policy in _policies_of(group))),
            )
        return roles if keys is None else {arn: role for arn, role in roles.items() if arn in keys}

    def _access_keys(self, keys: frozenset[str] | None) -> dict[str, Credential]:
        return {
            key.access_key_id: Credential(
                access_key_id=key.access_key_id,
                secret_access_key=key.secret_access_key,
                principal_arn=user.arn,
                principal_id=user.id,
                role_arn=user.arn,
            )
            for user in self._iam.users.values()
            for key in user.access_keys
            if key.status == "Active" and (keys is None or key.access_key_id in keys)
        }

    # --- look-ups
    # ---------------------------------------------------------------------------------------------------------------

    def thing(self, thing_name: str) -> Thing | None:
        """Return one thing, or None."""
        return self.read("things", [thing_name]).get(thing_name)

    def thing_result(self, thing_name: str) -> dict[str, str]:
        """Return what CreateThing answers about an existing thing."""
        thing = self._thing(thing_name)
        return {"thingName": thing.thing_name, "thingArn": thing.arn, "thingId": thing.thing_id}

    def things_of(self, principal: str) -> list[str]:
        """Return the names of the things that a principal is attached to."""
        with self.lock:
            return [name for attached, name in self._iot.principal_things if attached == principal]

    def policies_of(self, target: str) -> list[str]:
        """Return the names of the IoT policies attached to a target."""
        with self.lock:
            return [name for attached, name in self._iot.principal_policies if attached == target]

    def policy_versions(self, policy_name: str) -> list[str]:
        """Return the version ids of an IoT policy; none when it does not exist."""
        policy = self._iot.policies.get(policy_name)
        return [version.version_id for version in policy.versions] if policy else []

    def iam_uses(self, kind: str, name: str) -> list[str]:
        """Return what stands in the way of deleting an IAM policy (by ARN), user or group: empty when nothing does.

        moto deletes them all the same.
        """
        backend = self._iam
        groups = backend.groups.values()
        with self.lock:
            if kind == "policy":
                policy = backend.managed_policies.get(name)
                entities = (*backend.roles.values(), *backend.users.values(), *groups)
                attached = any(name in entity.managed_policies for entity in entities)
                found = {"detach it": attached, "delete its other versions": policy and len(policy.versions) > 1}
            elif kind == "user":
                user = backend.users.get(name)
                found = {
                    "delete its access keys": user and user.access_keys,
                    "remove it from its groups": any(user in group.users for group in groups),
                }
            else:
                group = backend.groups.get(name)
                found = {
                    "remove its users": group and group.users,
                    "delete or detach its policies": group and (group.policies or group.managed_policies),
                }
        return [what for what, is_there in found.items() if is_there]

    def role(self, role_arn: str) -> TrustedRole | None:
        """Return a role by its ARN, or None."""
        with self.lock:
            for role in self._iam.roles.values():
                if role.arn == role_arn:
                    return TrustedRole(
                        name=role.name,
                        role=_role(role),
                        trust_policy=role.assume_role_policy_document,
                        max_session_seconds=int(role.max_session_duration or 3600),
                    )
        return None

    def iam_arn(self, kind: str, name: str) -> str | None:
        """Return the ARN of the role, user or group of a name (paths are part of an ARN), or None."""
        backend = self._iam
        entities: dict[str, dict[str, Any]] = {"role": backend.roles, "user": backend.users, "group": backend.groups}
        with self.lock:
            return next((str(entity.arn) for entity in entities[kind].values() if entity.name == name), None)

    def identity_pool(self, pool_id: str) -> IdentityPool | None:
        """Return an identity pool, or None."""
        pool = self._cognito.identity_pools.get(pool_id)
        if pool is None:
            return None
        return IdentityPool(
            pool_id=pool_id,
            name=pool.identity_pool_name,
            allows_guests=bool(pool.allow_unauthenticated_identities),
            tags=dict(pool.tags),
        )

    def certificate_authorities(self) -> list[tuple[str, str, str]]:
        """Return (certificate id, PEM, status) of every registered CA."""
        with self.lock:
            return [(one.certificate_id, one.certificate_pem, one.status) for one in self._iot.ca_certificates.values()]

    # --- changes that moto would make differently
    # -------------------------------------------------------------------------------

    def add_identity(self, pool_id: str, identity_id: str, *, at: float) -> None:
        """Make an identity known to ListIdentities and AttachPolicy.

        Args:
            pool_id: of a pool that exists.
            identity_id: ``region:uuid``.
            at: seconds since the epoch.
        """
        described = {"IdentityId": identity_id, "CreationDate": at, "LastModifiedDate": at}
        with self.lock:
            self._cognito.pools_identities[pool_id]["Identities"].append(described)

    def remove_identity(self, pool_id: str, identity_id: str) -> None:
        """Let an identity be forgotten."""
        with self.lock:
            identities = self._cognito.pools_identities[pool_id]
            identities["Identities"] = [each for each in identities["Identities"] if each["IdentityId"] != identity_id]

    def identity(self, pool_id: str, identity_id: str) -> dict[str, Any] | None:
        """Return what DescribeIdentity answers, or None."""
        with self.lock:
            identities = self._cognito.pools_identities.get(pool_id, {}).get("Identities", ())
            return next((dict(each) for each in identities if each["IdentityId"] == identity_id), None)

    def set_pool_tags(self, pool_id: str, tags: Mapping[str, str]) -> None:
        """Make these the tags of an identity pool that exists."""
        with self.lock:
            self._cognito.identity_pools[pool_id].tags = dict(tags)

    def add_certificate(self, new: NewCertificate, *, status: str) -> Certificate:
        """Register a client certificate.

        moto checks no CA, signs CSRs with a key of its own, and invents the validity.

        Raises:
            ApiError: it is registered already.
        """
        backend = self._iot
        with self.lock:
            if new.certificate_id in backend.certificates:
                raise ApiError(
                    "ResourceAlreadyExistsException", "The certificate is already provisioned or registered", status=409
                )
            made = backend.register_certificate_without_ca(new.pem, status)
            made.validity_not_before = new.not_before
            made.validity_not_after = new.not_after
            made.ca_certificate_id = new.ca_certificate_id
            return self._certificates(frozenset({new.certificate_id}))[new.certificate_id]

    def certificate(self, certificate_id: str) -> Certificate | None:
        """Return a client certificate, or None."""
        found: dict[str, Certificate] = self.read("certificates", [certificate_id])
        return found.get(certificate_id)

    def set_certificate_status(self, certificate_id: str, status: str, *, at: datetime) -> None:
        """Set the status of a certificate that exists."""
        with self.lock:
            certificate = self._iot.certificates[certificate_id]
            certificate.status = status
            certificate.last_modified_date = at

    def remove_certificate(self, certificate_id: str) -> None:
        """Delete a certificate with what is still attached; moto leaves attachments behind and fails on them later."""
        backend = self._iot
        with self.lock:
            arn = certificate_arn(self.region, self.account_id, certificate_id)
            backend.certificates.pop(certificate_id, None)
            for attachments in (backend.principal_policies, backend.principal_things):
                for key in [key for key in attachments if key[0] == arn]:
                    del attachments[key]
            self.exclusive = {key for key in self.exclusive if key[0] != arn}

    # --- moto's objects, looked up at each use
    # ----------------------------------------------------------------------------------

    @property
    def _iot(self) -> Any:
        return get_backend("iot")[self.account_id][self.region]

    @property
    def _iam(self) -> Any:
        return get_backend("iam")[self.account_id][partition(self.region)]

    @property
    def _cognito(self) -> Any:
        return get_backend("cognito-identity")[self.account_id][self.region]

    def _thing(self, thing_name: str) -> Any:
        return self._iot.things.get(thing_arn(self.region, self.account_id, thing_name))


class _Request(Request):
    """A request that moto need not add a ``Date`` to the answer of."""

    from_wsgi_server = True


def _ask(handler: Callable[..., Any], environ: dict[str, Any]) -> HttpResponse:
    """Call what answers for a whole service. moto's own server puts Flask in between, which takes as long again."""
    request = _Request(environ)
    try:
        status, headers, body = handler(request, request.raw_url, dict(request.headers))
    except ClientError as error:
        status, headers, body = 400, {}, error.response["Error"]["Message"]
    except HTTPException as error:
        answer = error.get_response(environ)
        status, headers, body = answer.status_code, dict(answer.headers), answer.get_data()
    content = body if isinstance(body, bytes) else str(body).encode()
    return _answer(int(status), headers.items(), content)


def _ask_app(app: Any, environ: dict[str, Any]) -> HttpResponse:
    """Call one of moto's applications."""
    status = ""
    headers: list[tuple[str, str]] = []

    def start_response(
        status_line: str, response_headers: list[tuple[str, str]], _exc_info: object = None
    ) -> Callable[[bytes], object]:
        nonlocal status
        status = status_line
        headers[:] = response_headers
        return lambda _: None

    chunks = app(environ, start_response)
    try:
        body = b"".join(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    return _answer(int(status.split(" ", 1)[0]), headers, body)


def _answer(status: int, headers: Iterable[tuple[str, Any]], body: bytes) -> HttpResponse:
    kept = tuple((name.lower(), str(value)) for name, value in headers if name.lower() in _KEPT_HEADERS)
    return HttpResponse(status=status, headers=kept, body=body)


def _check_route(call: ApiCall, environ: Mapping[str, Any]) -> None:
    """Make sure that moto's router finds what was authorised: in REST services the path says what runs."""
    try:
        operation, _ = get_service_router(call.operation.service).match(Request(dict(environ)))
    except HTTPException:
        operation = None
    if operation is None or operation.name != call.operation.name:
        raise ApiError("InvalidRequestException", f"the input makes {call.operation.name} look like another operation")


def _role(role: Any) -> Role:
    return Role(arn=role.arn, unique_id=role.id, policies=_policies_of(role))


def _policies_of(entity: Any) -> tuple[tuple[str, str], ...]:
    """Return (name, document) of the inline and attached policies of a role, user or group."""
    inline = tuple((name, _text(document)) for name, document in entity.policies.items())
    attached = tuple(
        (policy.name, _text(version.document))
        for policy in entity.managed_policies.values()
        for version in policy.versions
        if version.version_id == policy.default_version_id
    )
    return inline + attached


def _text(document: Any) -> str:
    return document if isinstance(document, str) else json.dumps(document)
