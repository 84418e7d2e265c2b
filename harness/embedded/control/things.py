"""Things, IoT policies and the endpoint: what moto lets pass and AWS does not, and what moto does not know.

Source: attach-to-principal, exclusive-thing, iot-policies and iot-connect-devices in the AWS IoT developer guide;
botocore's ``iot`` model.
Differs: of the endpoint types only those for data are answered; thing groups are not served, and so no policy can be
attached to one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.embedded.control.messages import ApiError, not_served
from harness.embedded.control.outcome import Outcome
from harness.embedded.control.tags import read_tags
from harness.errors import PolicyDocumentError
from harness.iot.limits import MAX_IOT_POLICIES_PER_TARGET
from harness.iot.policy import PolicyDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.embedded.control.moto_backend import MotoBackend
    from harness.embedded.control.outcome import Caller, Guard, Handler
    from harness.embedded.control.routing import ApiCall
    from harness.embedded.control.tags import Tags
    from harness.iot.quirks import Quirks

_DATA_ENDPOINTS: Final = frozenset({"iot:Data-ATS", "iot:Data"})
_OTHER_ENDPOINTS: Final = frozenset({"iot:CredentialProvider", "iot:Jobs", "iot:DeviceAdvisor", "iot:Data-Beta"})


class Things:
    """Handlers and guards of ``iot`` outside certificates.

    Args:
        backend: has the registry.
        endpoint: the bare host that DescribeEndpoint answers.
        quirks: what an endpoint is when nobody says which.
        tags: where the tags of policies are kept.
    """

    def __init__(self, backend: MotoBackend, *, endpoint: str, quirks: Quirks, tags: Tags) -> None:
        self._backend = backend
        self._endpoint = endpoint
        self._quirks = quirks
        self._tags = tags

    def handlers(self) -> Mapping[str, Handler]:
        """Return what runs here instead of in moto, or around it."""
        return {
            "AttachThingPrincipal": self._attach,
            "CreatePolicy": self._create_policy,
            "DeletePolicy": self._delete_policy,
            "DescribeEndpoint": self._describe_endpoint,
            "DetachThingPrincipal": self._detach,
        }

    def guards(self) -> Mapping[str, Guard]:
        """Return what is looked at before moto runs it."""
        return {
            "AttachPolicy": self._check_attachment,
            "AttachPrincipalPolicy": self._check_attachment,
            "CreatePolicyVersion": self._check_document,
            "CreateThing": self._check_new_thing,
            "DeleteThing": self._check_version,
            "SetDefaultPolicyVersion": self._check_policy_version,
            "UpdateThing": self._check_version,
        }

    def _describe_endpoint(self, call: ApiCall, _caller: Caller) -> Outcome:
        kind = call.params.get("endpointType") or self._quirks.default_endpoint_type
        if kind in _OTHER_ENDPOINTS:
            raise not_served(f"DescribeEndpoint for {kind}")
        if kind not in _DATA_ENDPOINTS:
            raise ApiError("InvalidRequestException", f"The endpoint type {kind} is not known")
        return Outcome(result={"endpointAddress": self._endpoint})

    def _attach(self, call: ApiCall, caller: Caller) -> Outcome:
        principal, thing_name = call.text("principal"), call.text("thingName")
        wants_exclusive = call.params.get("thingPrincipalType") == "EXCLUSIVE_THING"
        with self._backend.lock:
            others = [name for name in self._backend.things_of(principal) if name != thing_name]
            holder = next((name for name in others if (principal, name) in self._backend.exclusive), None)
            if holder is not None:
                raise ApiError(
                    "InvalidRequestException", f"The principal is attached exclusively to the thing {holder}"
                )
            if wants_exclusive and others:
                raise ApiError(
                    "InvalidRequestException", f"The principal is attached to other things already: {', '.join(others)}"
                )
            response = self._backend.invoke(call, access_key_id=caller.access_key_id)
            if response.status < 300:
                (self._backend.exclusive.add if wants_exclusive else self._backend.exclusive.discard)(
                    (principal, thing_name)
                )
        return Outcome(result=response, touched={"things": frozenset({thing_name})})

    def _detach(self, call: ApiCall, caller: Caller) -> Outcome:
        principal, thing_name = call.text("principal"), call.text("thingName")
        with self._backend.lock:
            response = self._backend.invoke(call, access_key_id=caller.access_key_id)
            if response.status < 300:
                self._backend.exclusive.discard((principal, thing_name))
        return Outcome(result=response, touched={"things": frozenset({thing_name})})

    def _check_new_thing(self, call: ApiCall, _caller: Caller) -> Outcome | None:
        """Answer a second CreateThing with the same content as the first, refuse other content; moto overwrites."""
        if call.params.get("billingGroupName"):
            raise not_served("CreateThing with billingGroupName")
        name = call.text("thingName")
        thing = self._backend.thing(name)
        if thing is None:
            return None
        wanted = (call.params.get("attributePayload") or {}).get("attributes") or {}
        if thing.type_name != call.params.get("thingTypeName") or dict(thing.attributes) != wanted:
            message = f"Thing {name} already exists in account with different content"
            raise ApiError("ResourceAlreadyExistsException", message, status=409)
        return Outcome(result=self._backend.thing_result(name))

    @staticmethod
    def _check_version(call: ApiCall, _caller: Caller) -> None:
        if call.params.get("expectedVersion") is not None:
            raise not_served(f"{call.operation.name} with expectedVersion")

    def _check_policy_version(self, call: ApiCall, _caller: Caller) -> None:
        """Refuse a version that does not exist; moto would leave the policy without a default one."""
        versions = self._backend.policy_versions(call.text("policyName"))
        if versions and call.text("policyVersionId") not in versions:
            raise ApiError("ResourceNotFoundException", "The policy has no such version", status=404)

    def _create_policy(self, call: ApiCall, caller: Caller) -> Outcome:
        self._check_document(call, caller)
        tags = read_tags(call.params.get("tags"))
        with self._backend.lock:
            response = self._backend.invoke(call, access_key_id=caller.access_key_id)
            if response.status < 300:
                self._tags.put("policy", call.text("policyName"), tags)
        return Outcome(result=response)

    def _delete_policy(self, call: ApiCall, caller: Caller) -> Outcome:
        with self._backend.lock:
            response = self._backend.invoke(call, access_key_id=caller.access_key_id)
            if response.status < 300:
                self._tags.forget("policy", call.text("policyName"))
        return Outcome(result=response)

    @staticmethod
    def _check_document(call: ApiCall, _caller: Caller) -> None:
        try:
            PolicyDocument.parse(call.text("policyDocument"), dialect="iot")
        except PolicyDocumentError as error:
            raise ApiError("MalformedPolicyException", f"Policy document is Malformed: {error}") from None

    def _check_attachment(self, call: ApiCall, _caller: Caller) -> None:
        target = call.text("target" if call.operation.name == "AttachPolicy" else "principal")
        if ":thinggroup/" in target:
            raise not_served("attaching a policy to a thing group")
        attached = self._backend.policies_of(target)
        if call.text("policyName") not in attached and len(attached) >= MAX_IOT_POLICIES_PER_TARGET:
            message = f"{target} has {MAX_IOT_POLICIES_PER_TARGET} policies already"
            raise ApiError("LimitExceededException", message, status=410)
