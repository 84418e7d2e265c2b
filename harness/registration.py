"""Registering a device for a kit, all or nothing: its thing, its certificate, the stack's policy, the files.

Whatever fails or is interrupted on the way, what was made until then is taken back, last first, in AWS's order: detach,
deactivate, delete. A thing that was there before stays. The device's key is made here: AWS IoT gets a certificate
signing request with the thing's name as its subject, as far as there is room for it (`make_request`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.clients.certificates import make_request, make_rsa_key, private_pem, public_pem
from harness.errors import HarnessError, SettingsError, TargetUnavailable
from harness.kit import (
    AUTHORITY,
    CERTIFICATE,
    DESCRIPTION,
    PRIVATE_KEY,
    PUBLIC_KEY,
    SCRIPT,
    Kit,
    KitFolder,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from harness.targets.base import Environment

_THING_NAME: Final = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
_ROOT_CA_NAME: Final = "Amazon Root CA 1"
_BEGIN: Final = "-----BEGIN CERTIFICATE-----\n"
_END: Final = "-----END CERTIFICATE-----\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKit:
    """A kit that was written.

    Args:
        path: the folder or the archive.
        names: of the files.
        certificate_id: of the device's certificate, 64 hexadecimal digits.
        is_new_thing: whether there was no such thing before.
    """

    path: Path
    names: tuple[str, ...]
    certificate_id: str
    is_new_thing: bool


def make_kit(environment: Environment, thing_name: str, *, out: Path, as_zip: bool = False) -> MadeKit:
    """Register a device and write its kit.

    Args:
        environment: a target that runs, with its stack.
        thing_name: of the device: 1 to 128 letters, digits, ``:``, ``_`` and ``-``.
        out: a folder that is new or empty.
        as_zip: write one archive, ``connection-kit-<name>.zip``, instead of loose files.

    Raises:
        SettingsError: the name or the folder cannot be used; nothing was registered.
        HarnessError: a call was refused, or a file could not be written; what was made is gone again, or the message
            says what is not.
    """
    if not _THING_NAME.fullmatch(thing_name):
        raise SettingsError("NAME", thing_name, "1 to 128 letters, digits, ':', '_' and '-'")
    authority = _authority(environment.ca_file or environment.outputs.ca_file)
    folder = KitFolder(out)
    registration: _Registration | None = None
    try:
        registration = _Registration(environment, thing_name)
        files = registration.make(authority)
        path = folder.write_archive(thing_name, files) if as_zip else folder.write(files)
    except BaseException as error:
        folder.clear()
        left = registration.take_back() if registration else []
        if left:
            what = str(error) if isinstance(error, HarnessError) else f"{thing_name}: {error!r}"
            raise HarnessError(f"{what}; left behind: {', '.join(left)}") from error
        raise
    return MadeKit(
        path=path,
        names=tuple(files),
        certificate_id=registration.certificate_id,
        is_new_thing=registration.is_new_thing,
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """A call that takes something back.

    Args:
        what: is left behind without it.
        operation: boto3's name of the call.
        parameters: its arguments; never a secret.
    """

    what: str
    operation: str
    parameters: Mapping[str, Any] = field(repr=False)


class _Registration:
    """The calls that let a device in, and the way back."""

    certificate_id = ""
    is_new_thing = False

    def __init__(self, environment: Environment, thing_name: str) -> None:
        self._outputs = environment.outputs
        self._thing_name = thing_name
        self._iot = environment.client("iot")
        self._steps: list[_Step] = []

    def make(self, authority: str) -> dict[str, str]:
        """Register the device; return the kit's files.

        A step back is noted before its step is taken, since an answer that gets lost may have been a yes.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only where a kit is made

        key = make_rsa_key()
        try:
            certificate_pem = self._register(key)
        except (BotoCoreError, ClientError) as error:
            raise HarnessError(f"{self._thing_name} could not be registered: {error}") from error
        outputs = self._outputs
        kit = Kit(
            thing_name=self._thing_name,
            client_id=self._thing_name,
            endpoint=outputs.iot_endpoint,
            mqtts_port=outputs.iot_mqtts_port,
            is_port_shared=outputs.is_port_shared,
            region=outputs.region,
            telemetry_topic=outputs.telemetry_topic,
        )
        return {
            CERTIFICATE: certificate_pem,
            PRIVATE_KEY: private_pem(key),
            PUBLIC_KEY: public_pem(key),
            AUTHORITY: authority,
            DESCRIPTION: kit.to_json(),
            SCRIPT: kit.script(),
        }

    def take_back(self) -> list[str]:
        """Take everything back, last first, whatever becomes of each step; return what is left, in words."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only where a kit is made

        left: list[str] = []
        while self._steps:
            step = self._steps.pop()
            try:
                getattr(self._iot, step.operation)(**step.parameters)
            except self._iot.exceptions.ResourceNotFoundException:
                continue
            except (BotoCoreError, ClientError) as error:
                left.append(f"{step.what} ({error})")
        return left

    def _register(self, key: RSAPrivateKey) -> str:
        """Make what lets the device in; return its certificate, PEM."""
        iot, name, policy = self._iot, self._thing_name, self._outputs.device_policy_name
        self.is_new_thing = not self._exists()
        if self.is_new_thing:
            self._note(f"thing {name}", "delete_thing", thingName=name)
            iot.create_thing(thingName=name)
        request = make_request(key, common_name=name)  # a sweep may know by it alone whose this is
        issued = iot.create_certificate_from_csr(certificateSigningRequest=request, setAsActive=True)
        arn = issued["certificateArn"]
        self.certificate_id = its_id = issued["certificateId"]
        self._note(f"certificate {its_id}", "delete_certificate", certificateId=its_id)
        self._note("its state ACTIVE", "update_certificate", certificateId=its_id, newStatus="INACTIVE")
        # The thing first: it tells whose a certificate is, should AWS not keep the subject. The policy last: what a
        # kill leaves before lets nobody in.
        self._note(f"its attachment to thing {name}", "detach_thing_principal", thingName=name, principal=arn)
        iot.attach_thing_principal(thingName=name, principal=arn)
        self._note(f"its policy {policy}", "detach_policy", policyName=policy, target=arn)
        iot.attach_policy(policyName=policy, target=arn)
        return str(issued["certificatePem"])

    def _note(self, what: str, operation: str, **parameters: Any) -> None:
        self._steps.append(_Step(what, operation, parameters))

    def _exists(self) -> bool:
        try:
            self._iot.describe_thing(thingName=self._thing_name)
        except self._iot.exceptions.ResourceNotFoundException:
            return False
        return True


def _authority(ca_file: str | None) -> str:
    """Return the CA of the broker's certificate: the target's own, or Amazon's as botocore carries it."""
    if ca_file is not None:
        try:
            return Path(ca_file).read_text("utf-8")
        except OSError as error:
            raise TargetUnavailable(f"The target's CA file {ca_file} cannot be read ({error.strerror}).") from None
    import botocore  # noqa: PLC0415 - only where a kit is for AWS itself

    # By its label: reading all as certificates stumbles over those that RFC 5280 does not allow.
    bundle = Path(botocore.__file__).with_name("cacert.pem").read_text("utf-8")
    _, _, labelled = bundle.partition(f'# Label: "{_ROOT_CA_NAME}"\n')
    before, found, _ = labelled.partition(_END)
    if not found:
        raise HarnessError(f"botocore's bundle has no {_ROOT_CA_NAME}")
    return before[before.index(_BEGIN) :] + found
