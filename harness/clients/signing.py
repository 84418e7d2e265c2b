"""The signature of a WebSocket handshake, right or deliberately wrong.

The handshake of AWS IoT Core carries SigV4 in its URL, service ``iotdevicegateway``, with the session token appended
after signing. awsiot's builder does the same but makes a TLS context per client and offers no wrong signatures, so the
request is signed here with the runtime's own signer.

Source: the device gateway's WebSocket authentication,
    https://docs.aws.amazon.com/iot/latest/developerguide/protocols.html
"""

from __future__ import annotations

import threading
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from awscrt import auth

from harness.clients.loopback import reached_at

if TYPE_CHECKING:
    from concurrent.futures import Future

    from awscrt import mqtt5

    from harness.clients.credentials import CredentialSource, TemporaryCredentials

SERVICE: Final = "iotdevicegateway"
_SIGNATURE: Final = "X-Amz-Signature="


class Signature(StrEnum):
    """What kind of signature a client puts on its handshake."""

    RIGHT = "right"
    CHANGED = "changed"
    """Signed as it should be, then one digit of the signature replaced."""
    MISSING = "missing"


class HandshakeSigner:
    """Signs each WebSocket handshake of one client; called by the runtime on threads of its own.

    Args:
        source: gives the credentials, anew for each connection attempt.
        region: AWS region in the signature's scope.
        signature: what kind of signature to put on.
        host: what the server is known as, where the connection is made to it by another name
            (`harness.clients.loopback`).
    """

    def __init__(
        self, *, source: CredentialSource, region: str, signature: Signature = Signature.RIGHT, host: str = ""
    ) -> None:
        self.region = region
        self.signature = signature
        self.used: TemporaryCredentials | None = None
        self._source = source
        self._host = host if reached_at(host) != host else ""

    def __call__(self, transform_args: mqtt5.WebsocketHandshakeTransformArgs) -> None:
        """Sign a handshake and let the runtime go on.

        The runtime's thread serves other connections too, so credentials are never fetched on it.
        """
        if self._host:
            transform_args.http_request.headers.set("Host", self._host)
        if self.signature is Signature.MISSING:
            transform_args.set_done()
        elif (credentials := self._source.peek()) is not None:
            self._sign(transform_args, credentials)
        else:
            threading.Thread(target=self._fetch_and_sign, args=(transform_args,), daemon=True).start()

    def _fetch_and_sign(self, transform_args: mqtt5.WebsocketHandshakeTransformArgs) -> None:
        try:
            self._sign(transform_args, self._source.get())
        except Exception as error:  # noqa: BLE001 - a thread boundary: the runtime fails the connection attempt with it
            transform_args.set_done(error)

    def _sign(self, transform_args: mqtt5.WebsocketHandshakeTransformArgs, credentials: TemporaryCredentials) -> None:
        self.used = credentials
        config = auth.AwsSigningConfig(
            algorithm=auth.AwsSigningAlgorithm.V4,
            signature_type=auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
            credentials_provider=auth.AwsCredentialsProvider.new_static(
                credentials.access_key_id, credentials.secret_access_key, credentials.session_token
            ),
            region=self.region,
            service=SERVICE,
            omit_session_token=True,
        )

        def finish(signed: Future[None]) -> None:
            request = transform_args.http_request
            if signed.exception() is None and self.signature is Signature.CHANGED:
                request.path = with_changed_signature(request.path)
            transform_args.set_done(signed.exception())

        auth.aws_sign_request(transform_args.http_request, config).add_done_callback(finish)


def with_changed_signature(path: str) -> str:
    """Return a signed path with the first hexadecimal digit of its signature replaced by another one."""
    head, name, tail = path.partition(_SIGNATURE)
    return head + name + ("0" if tail[:1] != "0" else "1") + tail[1:]
