"""What the broker knows of AWS's registry and IAM: one immutable snapshot at a time.

The control plane owns this state; after each change it sends the records that changed, and the broker holds the
snapshot that results. Records are values: equal content, equal record. A change therefore is a set of records to put
and of keys to drop, per table; `RegistrySnapshot.apply` makes the next snapshot. Everything here turns into JSON and
back without loss.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A registered client certificate.

    Args:
        certificate_id: 64 hex digits, SHA-256 of the DER.
        arn: ``arn:aws:iot:<region>:<account>:cert/<id>``; the principal of its connections.
        status: ``ACTIVE``, ``INACTIVE``, ``REVOKED``, ``PENDING_TRANSFER``, ``REGISTER_INACTIVE`` or
            ``PENDING_ACTIVATION``.
        pem: the certificate itself.
    """

    certificate_id: str
    arn: str
    status: str
    pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A registered thing and the principals (certificate ARNs, Cognito identity ids) attached to it."""

    name: str
    type_name: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    principals: tuple[str, ...] = ()
    exclusive_principals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IotPolicy:
    """An AWS IoT policy: its default version and the targets (certificate ARNs, identity ids) it is attached to."""

    name: str
    document: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What an IAM role (or user) may do.

    Args:
        arn: ``arn:aws:iam::<account>:role/<name>`` (or ``…:user/<name>``).
        unique_id: ``AROA…`` (or ``AIDA…``).
        policies: (name, JSON document) of every inline and attached policy.
    """

    arn: str
    unique_id: str
    policies: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An access key that may sign requests.

    Args:
        access_key_id: ``AKIA…`` or ``ASIA…``; the key of the table.
        secret_access_key: never printed.
        session_token: None for a long-lived key.
        expires_at: seconds since the epoch; None for a long-lived key.
        principal_arn: as ``sts:GetCallerIdentity`` answers.
        principal_id: ``<unique id>:<session name>``, or the user's unique id; as lifecycle events show it.
        role_arn: key into the roles table; None for the account's root, which may do everything.
        session_policies: (name, JSON document); when not empty, a request needs one of them to allow it as well.
        identity_id: the Cognito identity the credentials were made for.
        is_authenticated: whether that identity logged in; then an IoT policy attached to it must allow as well.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    principal_arn: str
    principal_id: str
    role_arn: str | None = None
    session_policies: tuple[tuple[str, str], ...] = ()
    identity_id: str | None = None
    is_authenticated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRule:
    """A topic rule, accepted by CreateTopicRule: its SQL parses and its actions are ones that run.

    Args:
        name: the key of the table.
        arn: ``arn:aws:iot:<region>:<account>:rule/<name>``.
        sql: the statement as it was given.
        sql_version: ``2015-10-08``, ``2016-03-23`` or ``beta``.
        is_disabled: whether it does nothing for now.
        actions: JSON text of each, as CreateTopicRule takes it: an object with one member, for example ``http``. It may
            hold a header's secret.
        error_action: JSON text of the same shape; None when there is none.
    """

    name: str
    arn: str
    sql: str
    sql_version: str
    is_disabled: bool = False
    actions: tuple[str, ...] = field(default=(), repr=False)
    error_action: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDestination:
    """A place that HTTP actions may post to once it is ``ENABLED``.

    Args:
        arn: ``arn:aws:iot:<region>:<account>:ruledestination/http/<uuid>``; the key of the table.
        confirmation_url: what the URL of an action begins with.
        status: ``IN_PROGRESS``, ``ENABLED``, ``DISABLED``, ``ERROR`` or ``DELETING``.
    """

    arn: str
    confirmation_url: str
    status: str


TABLES: Final[Mapping[str, tuple[type[Any], str]]] = MappingProxyType(
    {
        "certificates": (Certificate, "certificate_id"),
        "things": (Thing, "name"),
        "policies": (IotPolicy, "name"),
        "roles": (Role, "arn"),
        "credentials": (Credential, "access_key_id"),
        "rules": (TopicRule, "name"),
        "destinations": (RuleDestination, "arn"),
    }
)
"""Table name to (record class, its key field)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryChange:
    """Records to put and keys to drop, per table."""

    put: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    drop: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.put or self.drop)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings for `json.dumps`."""
        return {
            "put": {table: [asdict(record) for record in records] for table, records in self.put.items()},
            "drop": {table: list(keys) for table, keys in self.drop.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RegistryChange:
        """Read what `to_json` wrote.

        Raises:
            KeyError: an unknown table.
            TypeError: an unknown or missing field.
        """
        kinds = {table: TABLES[table][0] for table in (*data["put"], *data["drop"])}
        return cls(
            put={table: tuple(_record(kinds[table], raw) for raw in records) for table, records in data["put"].items()},
            drop={table: tuple(keys) for table, keys in data["drop"].items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySnapshot:
    """All the broker knows, at one moment. Never changed; `apply` makes the next one."""

    version: int = 0
    account_id: str = "123456789012"
    region: str = "us-east-1"
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    things: Mapping[str, Thing] = field(default_factory=dict)
    policies: Mapping[str, IotPolicy] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    rules: Mapping[str, TopicRule] = field(default_factory=dict)
    destinations: Mapping[str, RuleDestination] = field(default_factory=dict)

    def apply(self, change: RegistryChange) -> RegistrySnapshot:
        """Return the snapshot after a change, one version on."""
        tables: dict[str, Any] = {}
        for table, records in change.put.items():
            key = TABLES[table][1]
            tables.setdefault(table, dict(getattr(self, table))).update({getattr(r, key): r for r in records})
        for table, keys in change.drop.items():
            mapping = tables.setdefault(table, dict(getattr(self, table)))
            for key in keys:
                mapping.pop(key, None)
        return replace(self, version=self.version + 1, **tables)

    def difference(self, later: RegistrySnapshot) -> RegistryChange:
        """Return the change that leads from here to ``later``."""
        put: dict[str, tuple[Any, ...]] = {}
        drop: dict[str, tuple[str, ...]] = {}
        for table in TABLES:
            old, new = getattr(self, table), getattr(later, table)
            if changed := tuple(record for key, record in new.items() if old.get(key) != record):
                put[table] = changed
            if gone := tuple(key for key in old if key not in new):
                drop[table] = gone
        return RegistryChange(put=put, drop=drop)


def _record(kind: type[Any], raw: Mapping[str, Any]) -> Any:
    """Build one record; JSON has no tuples, the records have no lists."""
    names = {f.name for f in fields(kind)}
    if unknown := set(raw) - names:
        raise TypeError(f"{kind.__name__} has no field {sorted(unknown)}")
    return kind(**{name: _tuples(value) for name, value in raw.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
