"""What the commands are told: command line, then ready file or stack outputs, then environment, then default.

A ready file stands above the environment because it names one running stand-in: an ``AWS_REGION`` that happens to be
exported must not lead a client of it elsewhere. The outputs of a stack do so for the same reason.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from harness.errors import SettingsError, TargetUnavailable
from harness.targets import ready
from harness.targets.outputs import StackOutputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

DEFAULT_MESSAGE = "Hello, World!"
PUBLIC_TOPIC_LEVEL = "broadcast"

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_BARE_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_HTTP_URL = re.compile(rf"https?://({_BARE_HOST.pattern}|\[[0-9A-Fa-f:.]+\])(:[0-9]{{1,5}})?(/[^\s?#]*)?")
_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")
_POOL = re.compile(rf"({_REGION.pattern}):[0-9a-f-]+")
_TOPIC_FILTER = re.compile(r"(([^/+#\0]*|\+)/)*([^/+#\0]*|\+|#)")


class _NamedVariables(EnvSettingsSource):
    """The environment, asked only for fields that name their variable: no ``PORT`` is taken by accident."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if field.validation_alias is None:
            return None, field_name, False
        return super().get_field_value(field, field_name)


class ClientSettings(BaseSettings):
    """Where a guest connects, and what it says there.

    Args:
        endpoint: bare host of the data endpoint.
        region: AWS region that requests are signed for.
        identity_pool_id: ``region:uuid``.
        topic: where to listen and publish.
        message: what to publish; empty publishes nothing.
        port: MQTT over WebSocket.
        is_port_shared: whether MQTT is served on that port as well; only the outputs of a stack tell of it.
        ca_file: PEM file that the endpoint's certificate is checked with; None: the system's.
        endpoint_url: base URL of Cognito and STS; None: AWS.
        client_id_prefix: what guests' client ids begin with.
        count: end after that many messages; None: listen until interrupted.
        admin_url: base URL of a stand-in's admin API, which knows why something was refused; None where there is none.
        admin_token: its bearer token.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True, populate_by_name=True, env_ignore_empty=True, extra="forbid"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what was passed, then the named variables; no ``.env`` file, no secrets folder."""
        del env_settings, dotenv_settings, file_secret_settings
        return init_settings, _NamedVariables(settings_cls)

    endpoint: Annotated[str, Field(validation_alias="IOT_ENDPOINT_HOST")] = ""
    region: Annotated[str, Field(validation_alias="AWS_REGION")] = ""
    identity_pool_id: Annotated[str, Field(validation_alias="IDENTITY_POOL_ID")] = ""
    topic: Annotated[str, Field(validation_alias="PUBLIC_TOPIC")] = f"public/{PUBLIC_TOPIC_LEVEL}"
    message: str = DEFAULT_MESSAGE
    port: Annotated[int, Field(ge=1, le=65535)] = 443
    is_port_shared: bool = False
    ca_file: Path | None = None
    endpoint_url: str | None = None
    client_id_prefix: str = "public-"
    count: Annotated[int | None, Field(ge=1)] = None
    admin_url: str | None = None
    admin_token: SecretStr | None = None

    @classmethod
    def of(cls, flags: Mapping[str, Any], *, ready_file: Path | None = None, stack_outputs: Path | None = None) -> Self:
        """Make the settings.

        Args:
            flags: field name to what the command line says; None says nothing.
            ready_file: of a running ``thingwright serve``; None when there is none.
            stack_outputs: file with the outputs of a stack on AWS; None when there is none.

        Raises:
            SettingsError: something needed is missing or not accepted.
            TargetUnavailable: the ready file or the outputs cannot be used, or tell of no stack.
        """
        known: dict[str, Any] = {}
        if ready_file is not None and stack_outputs is not None:
            raise SettingsError(
                "--stack-outputs", str(stack_outputs), "either this or --ready-file (HARNESS_READY_FILE)"
            )
        if ready_file is not None:
            known = _known_from(ready.read(ready_file))
        elif stack_outputs is not None:
            from harness.targets.aws import read_outputs  # noqa: PLC0415 - few clients start from outputs

            known = _known_from_outputs(StackOutputs.parse(read_outputs(stack_outputs)))
        said = {name: value for name, value in flags.items() if value is not None}
        try:
            settings = cls(**{**known, **said})
        except ValidationError as error:
            first = error.errors()[0]
            name = "_".join(str(part) for part in first["loc"])
            raise SettingsError(_option(name), first["input"], first["msg"]) from None
        if not settings.region:
            region = settings.identity_pool_id.partition(":")[0]
            settings = settings.model_copy(update={"region": region})
        settings = settings.model_copy(update={name: _as_typed(settings, name) for name in ("topic", "message")})
        _check(settings)
        return settings


def _check(settings: ClientSettings) -> None:
    if not settings.endpoint:
        raise SettingsError("--endpoint", "", "give the data endpoint's host, IOT_ENDPOINT_HOST or --ready-file")
    if not _BARE_HOST.fullmatch(settings.endpoint):
        raise SettingsError("--endpoint", settings.endpoint, "a bare host, without scheme, port and path")
    if not _POOL.fullmatch(settings.identity_pool_id):
        accepted = "give the pool's id (region:uuid), IDENTITY_POOL_ID or --ready-file"
        raise SettingsError("--identity-pool-id", settings.identity_pool_id, accepted)
    if not _REGION.fullmatch(settings.region):
        raise SettingsError("--region", settings.region, "the name of an AWS region, such as us-east-1")
    if not settings.topic or not _TOPIC_FILTER.fullmatch(settings.topic):
        raise SettingsError("--topic", settings.topic, "a topic name, or a filter with + and # as whole levels")
    if settings.message and not {"+", "#"}.isdisjoint(settings.topic):
        accepted = 'a topic name without + and #, or no message: `listen`, `--message ""`'
        raise SettingsError("--topic", settings.topic, accepted)
    if settings.ca_file is not None and not settings.ca_file.is_file():
        raise SettingsError("--ca-file", str(settings.ca_file), "a PEM file")
    if settings.endpoint_url is not None and not _HTTP_URL.fullmatch(settings.endpoint_url):
        raise SettingsError("--endpoint-url", settings.endpoint_url, "an http:// or https:// URL")


def _as_typed(settings: ClientSettings, name: str) -> str:
    """Give a text as the UTF-8 it was typed as, also where the locale took it for something else."""
    text: str = getattr(settings, name)
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        raise SettingsError(_option(name), text, "text in UTF-8") from None


def _known_from(running: ready.ReadyFile) -> dict[str, Any]:
    """Give what a ready file says of a client's settings."""
    if "identityPoolId" not in running.outputs:
        raise TargetUnavailable("That stand-in was started with --no-stack: it has no identity pool for guests.")
    return {
        "endpoint": running.iot_endpoint,
        "region": running.region,
        "identity_pool_id": running.outputs["identityPoolId"],
        "topic": running.outputs.get("topicPrefix", "public/") + PUBLIC_TOPIC_LEVEL,
        "port": running.wss_port,
        "ca_file": Path(running.ca_file),
        "endpoint_url": running.control_plane_url,
        "client_id_prefix": running.outputs.get("clientIdPrefix", "public-"),
        "admin_url": running.admin_url,
        "admin_token": running.admin_token,
    }


def _known_from_outputs(outputs: StackOutputs) -> dict[str, Any]:
    """Give what a stack on AWS says of a client's settings."""
    return {
        "endpoint": outputs.iot_endpoint,
        "region": outputs.region,
        "identity_pool_id": outputs.identity_pool_id,
        "topic": outputs.topic_prefix + PUBLIC_TOPIC_LEVEL,
        "port": urlsplit(outputs.iot_wss_url).port or 443,
        "is_port_shared": outputs.is_port_shared,
        "ca_file": Path(outputs.ca_file) if outputs.ca_file else None,
        "client_id_prefix": outputs.client_id_prefix,
    }


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")
