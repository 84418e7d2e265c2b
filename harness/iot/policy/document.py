"""The grammar of policy documents, in three dialects.

``iam``: identity and session policies of IAM. ``iot``: AWS IoT policies. ``trust``: who may assume a role. A document
is parsed once into statements whose patterns are compiled; what is not in the grammar, or not evaluated here, is a
`PolicyDocumentError` with its place.

Source: reference_policies_grammar and reference_policies_elements in the IAM user guide; iot-policies in the AWS IoT
developer guide.
Differs: ``NotPrincipal`` everywhere and ``NotAction`` in IoT policies are refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from harness.errors import PolicyDocumentError
from harness.iot.limits import MAX_IOT_POLICY_CHARACTERS
from harness.iot.policy.condition import Condition, escape, parse_conditions, strings
from harness.iot.policy.pattern import Template, parse_template

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.iot.policy.variables import Dialect

_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_DOCUMENT_KEYS: Final = frozenset({"Version", "Id", "Statement"})
_STATEMENT_KEYS: Final = frozenset(
    {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "NotPrincipal", "Condition"}
)
_SID: Final = re.compile(r"[A-Za-z0-9]*")
_ACTION: Final = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_ARN: Final = re.compile(r"arn:[^:$]+:(?P<service>[a-z0-9-]+):(?:[^:$]*:[^:$]*:.+|[^$]*\*)", re.DOTALL)
_PRINCIPAL_TYPES: Final = ("AWS", "Service", "Federated")
_UNSUPPORTED: Final[Mapping[Dialect, frozenset[str]]] = {
    "iam": frozenset({"Principal", "NotPrincipal"}),
    "iot": frozenset({"Principal", "NotPrincipal", "NotAction"}),
    "trust": frozenset({"Resource", "NotResource", "NotPrincipal"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement, compiled.

    Args:
        number: its place in the document, from 1.
        sid: its name, when it has one.
        allows: True for ``Allow``, False for ``Deny``.
        action_names: as written, for people.
        actions: patterns in lower case, since action names do not distinguish case.
        excludes_actions: True when they stood under ``NotAction``.
        resources: patterns of ARNs; empty in a trust policy.
        excludes_resources: True when they stood under ``NotResource``.
        principals: type (``AWS``, ``Service``, ``Federated``) to names; empty except in a trust policy.
        conditions: all must hold.
    """

    number: int
    sid: str | None
    allows: bool
    action_names: tuple[str, ...]
    actions: tuple[Template, ...]
    excludes_actions: bool
    resources: tuple[Template, ...]
    excludes_resources: bool
    principals: Mapping[str, tuple[str, ...]]
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDocument:
    """A policy document that this project can evaluate."""

    dialect: Dialect
    version: str
    statements: tuple[Statement, ...]

    @classmethod
    def parse(cls, document: str | Mapping[str, Any], *, dialect: Dialect) -> PolicyDocument:
        """Read a document.

        Args:
            document: JSON text, or what it decodes to.
            dialect: whose grammar holds.

        Raises:
            PolicyDocumentError: its ``pointer`` says where, its ``reason`` what.
        """
        content = _decode(document, dialect) if isinstance(document, str) else document
        if not isinstance(content, Mapping):
            raise PolicyDocumentError("", "a policy document is an object")
        _refuse_unknown(content, _DOCUMENT_KEYS, "")
        version = content.get("Version", "2008-10-17")
        if version not in _VERSIONS:
            raise PolicyDocumentError("/Version", f"{' or '.join(_VERSIONS)} is expected")
        if not isinstance(content.get("Id", ""), str):
            raise PolicyDocumentError("/Id", "a string is expected")
        if "Statement" not in content:
            raise PolicyDocumentError("", "Statement is missing")
        statements = content["Statement"]
        if isinstance(statements, Mapping):
            places: Iterable[tuple[str, object]] = [("/Statement", statements)]
        elif isinstance(statements, list) and statements:
            places = [(f"/Statement/{index}", item) for index, item in enumerate(statements)]
        else:
            raise PolicyDocumentError("/Statement", "an object or a list of objects is expected")
        reader = _StatementReader(dialect, has_variables=version == _VERSIONS[0])
        return cls(
            dialect=dialect,
            version=version,
            statements=tuple(reader.read(item, number, place) for number, (place, item) in enumerate(places, start=1)),
        )


class _StatementReader:
    """Reads the statements of one document."""

    def __init__(self, dialect: Dialect, *, has_variables: bool) -> None:
        self._dialect: Dialect = dialect
        self._has_variables = has_variables
        self._sids: set[str] = set()

    def read(self, raw: object, number: int, pointer: str) -> Statement:
        if not isinstance(raw, Mapping):
            raise PolicyDocumentError(pointer, "an object is expected")
        _refuse_unknown(raw, _STATEMENT_KEYS, pointer)
        for key in sorted(_UNSUPPORTED[self._dialect] & raw.keys()):
            raise PolicyDocumentError(f"{pointer}/{key}", _why_not(key, self._dialect))
        if raw.get("Effect") not in ("Allow", "Deny"):
            raise PolicyDocumentError(f"{pointer}/Effect", "Allow or Deny is expected")
        excludes_actions, names, actions = self._actions(raw, pointer)
        excludes_resources, resources = (False, ()) if self._dialect == "trust" else self._resources(raw, pointer)
        return Statement(
            number=number,
            sid=self._sid(raw, pointer),
            allows=raw["Effect"] == "Allow",
            action_names=names,
            actions=actions,
            excludes_actions=excludes_actions,
            resources=resources,
            excludes_resources=excludes_resources,
            principals=_principals(raw, pointer) if self._dialect == "trust" else {},
            conditions=parse_conditions(
                raw.get("Condition", {}),
                dialect=self._dialect,
                pointer=f"{pointer}/Condition",
                has_variables=self._has_variables,
            ),
        )

    def _sid(self, raw: Mapping[str, Any], pointer: str) -> str | None:
        sid = raw.get("Sid", "")
        if not isinstance(sid, str) or (self._dialect != "iot" and not _SID.fullmatch(sid)):
            raise PolicyDocumentError(f"{pointer}/Sid", "letters and digits are expected")
        if sid in self._sids:
            raise PolicyDocumentError(f"{pointer}/Sid", f"another statement is called {sid} too")
        if sid:
            self._sids.add(sid)
        return sid or None

    def _actions(self, raw: Mapping[str, Any], pointer: str) -> tuple[bool, tuple[str, ...], tuple[Template, ...]]:
        key = _one_of("Action", "NotAction", raw, pointer)
        found = strings(raw[key], f"{pointer}/{key}")
        for place, action in found:
            if not _ACTION.fullmatch(action):
                raise PolicyDocumentError(place, f"an action is * or service:Operation, not {action}")
        templates = (
            parse_template(action.lower(), dialect=self._dialect, pointer=place, has_variables=False)
            for place, action in found
        )
        return key == "NotAction", tuple(action for _, action in found), tuple(templates)

    def _resources(self, raw: Mapping[str, Any], pointer: str) -> tuple[bool, tuple[Template, ...]]:
        key = _one_of("Resource", "NotResource", raw, pointer)
        templates = []
        for place, resource in strings(raw[key], f"{pointer}/{key}"):
            if resource != "*" and not _ARN.fullmatch(resource):
                raise PolicyDocumentError(
                    place,
                    f"a resource is * or an ARN (plain service, no variable before the fifth colon), not {resource}",
                )
            templates.append(
                parse_template(resource, dialect=self._dialect, pointer=place, has_variables=self._has_variables)
            )
        return key == "NotResource", tuple(templates)


def _principals(raw: Mapping[str, Any], pointer: str) -> Mapping[str, tuple[str, ...]]:
    place = f"{pointer}/Principal"
    if "Principal" not in raw:
        raise PolicyDocumentError(pointer, "Principal is missing: a trust policy says who may assume the role")
    principal = raw["Principal"]
    if principal == "*":
        return {"AWS": ("*",)}
    if not isinstance(principal, Mapping) or not principal:
        raise PolicyDocumentError(place, f"* or an object of {', '.join(_PRINCIPAL_TYPES)} is expected")
    _refuse_unknown(principal, frozenset(_PRINCIPAL_TYPES), place)
    return {kind: tuple(name for _, name in strings(names, f"{place}/{kind}")) for kind, names in principal.items()}


def _one_of(positive: str, negative: str, raw: Mapping[str, Any], pointer: str) -> str:
    present = [key for key in (positive, negative) if key in raw]
    if len(present) != 1:
        raise PolicyDocumentError(
            pointer, f"{'both' if present else 'neither'} {positive} and {negative}: one is expected"
        )
    return present[0]


def _refuse_unknown(content: Mapping[str, Any], known: frozenset[str], pointer: str) -> None:
    for key in content:
        if key not in known:
            raise PolicyDocumentError(
                f"{pointer}/{escape(str(key))}", f"unknown element; known are {', '.join(sorted(known))}"
            )


def _why_not(key: str, dialect: Dialect) -> str:
    if dialect == "trust":
        return f"{key} is not supported in a trust policy"
    if key == "NotAction":
        return "NotAction is not documented for AWS IoT policies and not supported here"
    return f"{key} does not belong in a policy attached to an identity"


def _decode(text: str, dialect: Dialect) -> object:
    if dialect == "iot":
        length = sum(not character.isspace() for character in text)
        if length > MAX_IOT_POLICY_CHARACTERS:
            raise PolicyDocumentError(
                "",
                f"{length} characters without white space; an AWS IoT policy has at most {MAX_IOT_POLICY_CHARACTERS}",
            )
    try:
        return cast("object", json.loads(text, object_pairs_hook=_unique))
    except RecursionError:
        raise PolicyDocumentError("", "nested too deeply") from None
    except ValueError as error:
        raise PolicyDocumentError("", f"not JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise PolicyDocumentError("", f"the key {key} occurs twice in one object")
        content[key] = value
    return content
