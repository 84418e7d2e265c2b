"""Which operation a request asks for, found in the botocore model of the service its signature names.

Three protocols: *rest-json* (iot, iot-data) by method and path, *json* (dynamodb, sqs, cognito) by ``X-Amz-Target``,
*query* (iam, sts) by ``Action``. A request that could be read as another operation as well is refused. What comes out
is an `ApiCall`: only input members the model knows, from which `moto_backend` makes the request that runs anew; nothing
a caller put elsewhere survives.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote

from harness.embedded.control.messages import ApiError
from harness.embedded.control.once import MadeOnce
from harness.embedded.control.validation import find_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.embedded.control.messages import HttpRequest

SERVICES: Final[Mapping[str, str]] = {
    "iot": "iot",
    "iotdata": "iot-data",
    "iotdevicegateway": "iot-data",
    "iam": "iam",
    "sts": "sts",
    "cognito-identity": "cognito-identity",
    "cognito-idp": "cognito-idp",
    "dynamodb": "dynamodb",
    "sqs": "sqs",
}
"""Signing name, as in a signature's scope, to service; AWS's pages and botocore name iot-data differently."""

GLOBAL_SERVICES: Final = frozenset({"iam", "sts"})
"""Answer whatever region a request is signed for; all others belong to the one region of this control plane."""

_VALIDATED: Final = frozenset({"iot", "iot-data", "cognito-identity"})
_RAW_SLASH_LABELS: Final = frozenset({("iot-data", "topic")})
"""Last labels whose slashes clients leave unencoded: ``POST /topics/a/b``."""

_ACTION: Final = re.compile(rb"(?:^|&)Action=(\w+)(?=&|$)", re.ASCII)
_LABEL: Final = re.compile(r"\{(\w+)(\+?)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of a service's model.

    Args:
        service: as botocore names it, for example ``iot-data``.
        name: for example ``CreateThing``.
        is_unsigned: whether the model says that nobody signs it.
        model: botocore's operation model.
    """

    service: str
    name: str
    is_unsigned: bool
    model: Any = field(repr=False, compare=False)

    @property
    def protocol(self) -> str:
        """``rest-json``, ``json`` or ``query``."""
        return str(self.model.service_model.protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """An operation with its input: member name, as the model spells it, to value.

    ``params`` of query services keep AWS's flat spelling (``Tags.member.1.Key``).
    """

    operation: Operation
    params: Mapping[str, Any] = field(repr=False)

    @property
    def action(self) -> str:
        """The policy action: ``iot:CreateThing``."""
        service = "iot" if self.operation.service == "iot-data" else self.operation.service
        return f"{service}:{self.operation.name}"

    def text(self, member: str) -> str:
        """Return a required string member.

        Raises:
            ApiError: it is missing or no string.
        """
        value = self.params.get(member)
        if not isinstance(value, str) or not value:
            raise invalid_input(self.operation.service, f"Missing required parameter {member}")
        return value


def invalid_input(service: str, message: str) -> ApiError:
    """Return a service's error for input it does not take."""
    codes = {
        "iot": "InvalidRequestException",
        "iot-data": "InvalidRequestException",
        "cognito-identity": "InvalidParameterException",
    }
    return ApiError(
        codes.get(service, "ValidationError" if service in GLOBAL_SERVICES else "ValidationException"), message
    )


class Catalogue:
    """Operations of the services we serve, from models loaded when first asked for.

    Args:
        load_model: service name to botocore service model.
        check: called with each operation found, before its input is read; raises for those that are not served.
    """

    def __init__(self, load_model: Callable[[str], Any], *, check: Callable[[Operation], None]) -> None:
        self._services = MadeOnce(lambda name: _Service(name, load_model(name), check))

    def read(self, service: str, request: HttpRequest) -> ApiCall:
        """Find operation and input of a request to a service.

        Raises:
            ApiError: no such operation, input that does not fit the model, or a request that contradicts itself.
        """
        return self._services[service].read(request)

    def is_unsigned(self, request: HttpRequest) -> bool:
        """Return whether a request without signature names an operation that nobody signs."""
        if request.header("authorization") is not None:
            return False
        service, name = _named_unsigned(request)
        if (service, name) in _CONFIRMED_BY_TOKEN:
            return True
        operation = self._services[service].operations.get(name) if service else None
        return operation is not None and operation.is_unsigned

    def read_unsigned(self, request: HttpRequest) -> ApiCall:
        """Find operation and input of a request for which `is_unsigned` holds.

        Raises:
            ApiError: as `read`.
        """
        service, name = _named_unsigned(request)
        call = self.read(service, request)
        if call.operation.name != name:  # pragma: no cover - the second reader takes name from the same place
            raise ApiError("UnknownOperationException", f"the request also reads as {call.operation.name}")
        return call

    def make(self, service: str, name: str, params: Mapping[str, Any]) -> ApiCall:
        """Make a call that came in no request.

        Args:
            service: one of protocol json.
            name: the operation's name.
            params: its input; members the model does not know are left out.

        Raises:
            ApiError: it is not served.
        """
        return self._services[service].make(name, params)

    def warm_up(self, service: str) -> None:
        """Load one service's model."""
        _ = self._services[service]

    def operations(self, service: str) -> Mapping[str, Operation]:
        """Return all operations of a service's model, by name."""
        return self._services[service].operations


_UNSIGNED_TARGETS: Final = {
    "AWSCognitoIdentityService": "cognito-identity",
    "AWSCognitoIdentityProviderService": "cognito-idp",
}

_CONFIRMATION_PATH: Final = "/confirmdestination/"
_CONFIRMED_BY_TOKEN: Final = frozenset({("iot", "ConfirmTopicRuleDestination")})
"""Go unsigned although the model does not say so: the token in the path is all it takes.

Source: http-action-destination in the AWS IoT developer guide (``enableUrl``)."""


def _named_unsigned(request: HttpRequest) -> tuple[str, str]:
    """Return the service and operation that a request without signature names; empty when it names none."""
    target = request.header("x-amz-target")
    if target is not None:
        prefix, _, name = target.rpartition(".")
        return _UNSIGNED_TARGETS.get(prefix, ""), name
    if (request.header("content-type") or "").startswith("application/x-www-form-urlencoded"):
        named = _ACTION.findall(request.body)
        return ("sts", named[0].decode()) if len(named) == 1 else ("", "")
    if request.method == "GET" and request.path.startswith(_CONFIRMATION_PATH):
        return "iot", "ConfirmTopicRuleDestination"
    return "", ""


class _Service:
    """The operations of one service and how to find them."""

    def __init__(self, name: str, model: Any, check: Callable[[Operation], None]) -> None:
        self.name = name
        self._check = check
        self._model = model
        self._protocol = str(model.protocol)
        self.operations: dict[str, Operation] = {
            operation: Operation(
                service=name,
                name=operation,
                is_unsigned=model.operation_model(operation).auth_type == "none",
                model=model.operation_model(operation),
            )
            for operation in model.operation_names
        }
        self._routes = self._make_routes() if self._protocol == "rest-json" else {}

    def read(self, request: HttpRequest) -> ApiCall:
        if self._protocol == "rest-json":
            call = self._read_rest(request)
        elif self._protocol == "json":
            call = self._read_json(request)
        else:
            call = self._read_query(request)
        if self.name in _VALIDATED and call.operation.model.input_shape is not None:
            fault = find_fault(call.operation.model.input_shape, call.params)
            if fault is not None:
                raise invalid_input(self.name, f"1 validation error detected: {fault}")
        return call

    def make(self, name: str, params: Mapping[str, Any]) -> ApiCall:
        self._check(self.operations[name])
        return self._call(name, params)

    # --- json ---------------------------------------------------------------------------------------------------------
    # ----------

    def _read_json(self, request: HttpRequest) -> ApiCall:
        prefix, _, name = (request.header("x-amz-target") or "").rpartition(".")
        wanted = self._model.metadata["targetPrefix"]
        if prefix != wanted or name not in self.operations:
            raise ApiError(
                "UnknownOperationException",
                f"X-Amz-Target names no operation of {self.name}: {wanted}.<operation> was expected",
            )
        self._refuse_elsewhere(request, "POST")
        self._check(self.operations[name])
        return self._call(name, _json_object(self.name, request.body))

    def _call(self, name: str, given: Mapping[str, Any]) -> ApiCall:
        """Make a call of the members that the operation has; what policies are asked about is what it reads."""
        operation = self.operations[name]
        members = operation.model.input_shape.members if operation.model.input_shape else {}
        params = {member: value for member, value in given.items() if member.partition(".")[0] in members}
        return ApiCall(operation=operation, params=params)

    def _refuse_elsewhere(self, request: HttpRequest, *methods: str) -> None:
        if request.method not in methods or request.path != "/":
            raise ApiError(
                "UnknownOperationException", f"{self.name} is called by {' or '.join(methods)} /", status=404
            )
        if request.query and request.method == "POST":
            raise ApiError("UnknownOperationException", f"{self.name} takes nothing from the query string of a POST")

    # --- query
    # ------------------------------------------------------------------------------------------------------------------

    def _read_query(self, request: HttpRequest) -> ApiCall:
        if request.header("x-amz-target") is not None:
            raise ApiError(
                "InvalidAction", f"{self.name} is called by Action, but the request also has an X-Amz-Target"
            )
        self._refuse_elsewhere(request, "POST", "GET")
        try:
            text = request.query if request.method == "GET" else request.body.decode("utf-8")
            pairs = parse_qsl(
                text,
                keep_blank_values=True,
                strict_parsing=bool(text),
                encoding="utf-8",
                errors="strict",
                max_num_fields=2_000,
            )
        except ValueError:
            raise ApiError("MalformedQueryString", "the form could not be read") from None
        params = dict(pairs)
        if len(params) != len(pairs):
            raise ApiError("MalformedQueryString", "a parameter came more than once")
        name = params.pop("Action", "")
        version = params.pop("Version", self._model.api_version)
        if name not in self.operations or version != self._model.api_version:
            raise ApiError("InvalidAction", f"Could not find operation {name} for version {version}")
        self._check(self.operations[name])
        return self._call(name, params)

    # --- rest-json
    # --------------------------------------------------------------------------------------------------------------

    def _make_routes(self) -> dict[str, list[tuple[re.Pattern[str], Operation]]]:
        """Make, per HTTP method, the path patterns, more literal text first: a literal beats a label."""
        routes: dict[str, list[tuple[int, re.Pattern[str], Operation]]] = {}
        for operation in self.operations.values():
            http = operation.model.http
            path, _, constant = http["requestUri"].partition("?")
            if constant:  # pragma: no cover - no service of ours has one; a model that gains one must not be misread
                continue
            pattern, literal, position = "", 0, 0
            for label in _LABEL.finditer(path):
                text = path[position : label.start()]
                greedy = label[2] or ((self.name, label[1]) in _RAW_SLASH_LABELS and label.end() == len(path))
                pattern += f"{re.escape(text)}(?P<{label[1]}>{'.+' if greedy else '[^/]+'})"
                literal += len(text)
                position = label.end()
            pattern += re.escape(path[position:])
            literal += len(path) - position
            routes.setdefault(http["method"], []).append((literal, re.compile(pattern + "/?", re.DOTALL), operation))
        return {method: [(p, o) for _, p, o in sorted(found, key=lambda f: -f[0])] for method, found in routes.items()}

    def _read_rest(self, request: HttpRequest) -> ApiCall:
        if request.header("x-amz-target") is not None:
            raise ApiError(
                "InvalidRequestException", f"{self.name} is called by path, but the request also has an X-Amz-Target"
            )
        for pattern, operation in self._routes.get(request.method, ()):
            if match := pattern.fullmatch(request.path):
                self._check(operation)
                return ApiCall(operation=operation, params=self._rest_params(operation, request, match.groupdict()))
        raise ApiError(
            "UnknownOperationException", f"{self.name} has no operation {request.method} {request.path}", status=404
        )

    def _rest_params(self, operation: Operation, request: HttpRequest, labels: Mapping[str, str]) -> dict[str, Any]:
        shape = operation.model.input_shape
        if shape is None:
            return {}
        query = _query_values(self.name, request.query)
        payload = shape.serialization.get("payload")
        body = {} if payload is not None else _json_object(self.name, request.body)
        params: dict[str, Any] = {}
        for member, member_shape in shape.members.items():
            serialization = member_shape.serialization
            wire_name = serialization.get("name", member)
            location = serialization.get("location")
            if member == payload:
                params[member] = (
                    request.body if member_shape.type_name == "blob" else _json_object(self.name, request.body)
                )
            elif location == "uri":
                params[member] = _unquoted(self.name, labels[wire_name])
            elif location == "querystring":
                if wire_name in query:
                    params[member] = _scalar(self.name, member, member_shape, query[wire_name])
            elif location == "header":
                if (value := request.header(wire_name)) is not None:
                    params[member] = value
            elif location is None and body.get(wire_name) is not None:
                params[member] = body[wire_name]
        return params


def _json_object(service: str, body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise ApiError("SerializationException", "the body is not JSON") from None
    if not isinstance(value, dict):
        raise invalid_input(service, "the body is not a JSON object")
    return value


def _query_values(service: str, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError:
        raise invalid_input(service, "the query string could not be read") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise invalid_input(service, "a query parameter came more than once")
    return values


def _unquoted(service: str, label: str) -> str:
    try:
        return unquote(label, errors="strict")
    except UnicodeDecodeError:
        raise invalid_input(service, "the path is not UTF-8") from None


def _scalar(service: str, member: str, shape: Any, text: str) -> Any:
    if shape.type_name == "boolean":
        if text.lower() not in {"true", "false"}:
            raise invalid_input(service, f"{member} must be true or false")
        return text.lower() == "true"
    if shape.type_name in {"integer", "long"}:
        try:
            return int(text)
        except ValueError:
            raise invalid_input(service, f"{member} must be a number") from None
    return text
