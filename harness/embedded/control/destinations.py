"""HTTP destinations of topic rules: who may be posted to, once it has confirmed that it wants to be.

A destination begins ``IN_PROGRESS``; a thread sends it a token (`confirmation`). Whoever brings the token back, by
fetching the URL that came with it or through the API, confirms:

    created, or updated to IN_PROGRESS → IN_PROGRESS → (token) → ENABLED ⇄ DISABLED
                                                     → (not reached, refused, three days) → ERROR

Tokens have 256 bits, are kept as hashes only, compared in constant time, and are good once.

Source: http-action-destination and rule-destination in the AWS IoT developer guide; botocore's ``iot`` model.
Differs: the status after confirmation is a quirk (`confirmed-destination`). Only destinations for HTTP are served.
Deletion is immediate, without ``DELETING``. That an unknown destination answers UnauthorizedException, that deleting
one succeeds, and that a second one of the same URL is ResourceAlreadyExistsException follows the model's errors; AWS
documents none of it.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from harness.embedded.control.confirmation import Confirmation, ConfirmationFailed, send_confirmation
from harness.embedded.control.messages import ApiError, HttpResponse, not_served
from harness.embedded.control.outcome import Outcome
from harness.embedded.control.paging import take_page
from harness.iot.arn import iot_arn
from harness.iot.registry import RuleDestination

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.embedded.control.moto_backend import MotoBackend
    from harness.embedded.control.outcome import Caller, Handler, Touched
    from harness.embedded.control.routing import ApiCall
    from harness.iot.quirks import Quirks

_log = logging.getLogger(__name__)

MAX_DESTINATIONS: Final = 1_000
"""Source: "Maximum number of rule destinations" in the AWS general reference."""
TOKEN_SECONDS: Final = 3 * 24 * 3600.0
_TOKEN_BYTES: Final = 32
_THREADS: Final = 4


@dataclass(slots=True, kw_only=True)
class _Destination:
    """One destination; changed only under the lock of its store.

    Args:
        arn: its name.
        url: its confirmation URL.
        created_at: seconds since the epoch.
        updated_at: the same.
        status: see the top.
        reason: why it is in ``ERROR``.
        token_hash: SHA-256 of the token that confirms it; 32 random bytes, which nothing matches, when there is none.
        token_until: when the token ends.
        attempt: counts what makes an earlier confirmation request count for nothing.
        is_queued: whether a thread is going to send it a token.
    """

    arn: str
    url: str
    created_at: float
    updated_at: float
    status: str = "IN_PROGRESS"
    reason: str | None = None
    token_hash: bytes = b""
    token_until: float | None = None
    attempt: int = 0
    is_queued: bool = False

    def forget_token(self) -> None:
        self.token_hash = secrets.token_bytes(_TOKEN_BYTES)
        self.token_until = None

    def describe(self, properties: str) -> dict[str, Any]:
        described = {
            "arn": self.arn,
            "status": self.status,
            "createdAt": self.created_at,
            "lastUpdatedAt": self.updated_at,
            properties: {"confirmationUrl": self.url},
        }
        return described if self.reason is None else {**described, "statusReason": self.reason}


class Destinations:
    """The destinations of the account, and handlers of their operations.

    Args:
        backend: knows account and region.
        quirks: the status once confirmed; the ports.
        url: base URL of this process; what confirms is below it.
        ca_files: PEM files of the CAs that a destination's certificate may chain to.
        clock: seconds since the epoch.
        commit: brings the broker up to date; for what a thread changes.
        record: adds a record of a confirmation request to the trace.
        send: sends a confirmation request.
    """

    def __init__(
        self,
        backend: MotoBackend,
        *,
        quirks: Quirks,
        url: str,
        ca_files: Sequence[str],
        clock: Callable[[], float],
        commit: Callable[[Touched], None],
        record: Callable[[dict[str, Any]], None],
        send: Callable[..., None] = send_confirmation,
    ) -> None:
        self._backend = backend
        self._quirks = quirks
        self._url = url
        self._ca_files = tuple(ca_files)
        self._clock = clock
        self._commit = commit
        self._record = record
        self._send = send
        self._lock = threading.Lock()
        self._destinations: dict[str, _Destination] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="confirmation")

    def handlers(self) -> Mapping[str, Handler]:
        """Return what runs here; moto has none of it."""
        return {
            "ConfirmTopicRuleDestination": self._confirm,
            "CreateTopicRuleDestination": self._create,
            "DeleteTopicRuleDestination": self._delete,
            "GetTopicRuleDestination": self._get,
            "ListTopicRuleDestinations": self._list,
            "UpdateTopicRuleDestination": self._update,
        }

    def close(self) -> None:
        """Send nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def records(self, keys: Iterable[str] | None) -> dict[str, RuleDestination]:
        """Return what the broker must know: all destinations, or those with the given ARNs that exist."""
        with self._lock:
            chosen = self._destinations if keys is None else set(keys) & self._destinations.keys()
            found = [self._looked_at(self._destinations[arn]) for arn in chosen]
            return {one.arn: RuleDestination(arn=one.arn, confirmation_url=one.url, status=one.status) for one in found}

    def ensure(self, urls: Iterable[str]) -> frozenset[str]:
        """Make destinations of these URLs that there are not yet, as rules do that name them.

        Returns:
            The ARNs of those that were made.

        Raises:
            ApiError: there are too many; then none is made.
        """
        with self._lock:
            known = {one.url for one in self._destinations.values()}
            wanted = [url for url in dict.fromkeys(urls) if url not in known]
            self._check_room(len(wanted))
            return frozenset(self._add(url).arn for url in wanted)

    # --- operations
    # ---------------------------------------------------------------------------------------------------------------

    def _create(self, call: ApiCall, _caller: Caller) -> Outcome:
        configuration = call.params["destinationConfiguration"]
        for kind in sorted(configuration.keys() - {"httpUrlConfiguration"}):
            raise not_served(f"CreateTopicRuleDestination with {kind}")
        http = configuration.get("httpUrlConfiguration")
        if http is None:
            raise _invalid("destinationConfiguration needs httpUrlConfiguration")
        url = http["confirmationUrl"]
        self._check_url(url)
        with self._lock:
            if any(one.url == url for one in self._destinations.values()):
                message = "There is a topic rule destination with this confirmationUrl already"
                raise ApiError("ResourceAlreadyExistsException", message, status=409)
            self._check_room(1)
            made = self._add(url)
            result = {"topicRuleDestination": made.describe("httpUrlProperties")}
        return Outcome(result=result, touched={"destinations": frozenset({made.arn})})

    def _get(self, call: ApiCall, _caller: Caller) -> Outcome:
        with self._lock:
            return Outcome(result={"topicRuleDestination": self._existing(call).describe("httpUrlProperties")})

    def _list(self, call: ApiCall, _caller: Caller) -> Outcome:
        with self._lock:
            found = {arn: self._looked_at(one).describe("httpUrlSummary") for arn, one in self._destinations.items()}
        page, more = take_page(
            found, max_results=call.params.get("maxResults"), next_token=call.params.get("nextToken")
        )
        return Outcome(result={"destinationSummaries": page, **more})

    def _update(self, call: ApiCall, _caller: Caller) -> Outcome:
        status = call.text("status")
        with self._lock:
            destination = self._existing(call)
            if status == "IN_PROGRESS":
                self._ask_again(destination)
            elif status not in {"ENABLED", "DISABLED"}:
                raise _invalid(f"status {status} cannot be set; ENABLED, DISABLED and IN_PROGRESS can")
            elif destination.status not in {"ENABLED", "DISABLED"}:
                why = "it must be confirmed first; IN_PROGRESS has the confirmation sent again"
                raise _invalid(f"The destination is {destination.status} and cannot become {status}: {why}")
            else:
                destination.status = status
            destination.updated_at = self._clock()
        return Outcome(result={}, touched={"destinations": frozenset({destination.arn})})

    def _delete(self, call: ApiCall, _caller: Caller) -> Outcome:
        arn = call.text("arn")
        with self._lock:
            self._destinations.pop(arn, None)
        return Outcome(result={}, touched={"destinations": frozenset({arn})})

    def _confirm(self, call: ApiCall, _caller: Caller) -> Outcome:
        offered = _hash(call.text("confirmationToken"))
        confirmed: _Destination | None = None
        with self._lock:
            for destination in self._destinations.values():  # all of them, however early one matches
                if hmac.compare_digest(destination.token_hash, offered):
                    confirmed = destination
            if confirmed is None or self._looked_at(confirmed).status != "IN_PROGRESS":
                raise _invalid("The confirmation token is not valid: it is unknown, was used already, or has expired")
            confirmed.status = self._quirks.confirmed_destination
            confirmed.reason = None
            confirmed.updated_at = self._clock()
            confirmed.forget_token()
        touched = {"destinations": frozenset({confirmed.arn})}
        return Outcome(
            result=HttpResponse(status=200, headers=(("content-type", "application/json"),)), touched=touched
        )

    # --- under the lock
    # ---------------------------------------------------------------------------------------------------------------

    def _existing(self, call: ApiCall) -> _Destination:
        arn = call.text("arn")
        destination = self._destinations.get(arn)
        if destination is None:
            message = f"Access to topic rule destination '{arn}' was denied: there is none of this ARN"
            raise ApiError("UnauthorizedException", message, status=401)
        return self._looked_at(destination)

    def _looked_at(self, destination: _Destination) -> _Destination:
        """Let a destination fail that was not confirmed in time; nobody waits for that moment."""
        until = destination.token_until
        if destination.status == "IN_PROGRESS" and until is not None and self._clock() >= until:
            self._give_up(destination, "It was not confirmed within three days")
        return destination

    def _give_up(self, destination: _Destination, reason: str) -> None:
        destination.status = "ERROR"
        destination.reason = reason
        destination.updated_at = self._clock()
        destination.forget_token()

    def _check_room(self, count: int) -> None:
        if len(self._destinations) + count > MAX_DESTINATIONS:
            message = f"There are {MAX_DESTINATIONS} topic rule destinations already"
            raise ApiError("LimitExceededException", message, status=410)

    def _add(self, url: str) -> _Destination:
        now = self._clock()
        resource = f"ruledestination/http/{uuid.uuid4()}"
        arn = iot_arn(self._backend.region, self._backend.account_id, resource)
        destination = self._destinations[arn] = _Destination(arn=arn, url=url, created_at=now, updated_at=now)
        self._ask_again(destination)
        return destination

    def _ask_again(self, destination: _Destination) -> None:
        destination.status = "IN_PROGRESS"
        destination.reason = None
        destination.forget_token()
        destination.attempt += 1
        if not destination.is_queued:  # so that no more can wait than there are destinations
            destination.is_queued = True
            self._threads.submit(self._ask, destination)

    # --- a thread
    # ---------------------------------------------------------------------------------------------------------------

    def _ask(self, destination: _Destination) -> None:
        """Send a destination a token, and note when that fails; in a thread."""
        with self._lock:
            destination.is_queued = False
            if self._destinations.get(destination.arn) is not destination:
                return  # it was deleted meanwhile
            attempt = destination.attempt
            token = secrets.token_urlsafe(_TOKEN_BYTES)
            destination.token_hash = _hash(token)
            destination.token_until = self._clock() + TOKEN_SECONDS
        reason = self._send_token(destination, token)
        detail = {"destination": destination.arn, "url": _shown(destination.url), "because": reason}
        self._record({**detail, "outcome": "sent" if reason is None else "failed"})
        with self._lock:
            if reason is None or destination.attempt != attempt or destination.status != "IN_PROGRESS":
                return  # it was confirmed meanwhile, or asked anew
            self._give_up(destination, reason)
        try:
            self._commit({"destinations": frozenset({destination.arn})})
        except Exception:  # noqa: BLE001 - a thread's boundary: the next change takes along what this one could not bring
            _log.warning("the broker was not told of the destination %s", destination.arn, exc_info=True)

    def _send_token(self, destination: _Destination, token: str) -> str | None:
        confirmation = Confirmation(
            arn=destination.arn,
            url=destination.url,
            token=token,
            enable_url=f"{self._url}/confirmdestination/{quote(token, safe='')}",
        )
        try:
            self._send(confirmation, ca_files=self._ca_files)
        except ConfirmationFailed as failure:
            return f"The confirmation request failed: {failure}"
        except Exception:  # noqa: BLE001 - a thread's boundary: logged in full, and the destination says that it failed
            _log.exception("the confirmation of %s failed", destination.arn)
            return "The confirmation request failed inside the control plane; its log says why"
        return None

    def _check_url(self, url: str) -> None:
        from harness.iot.rules.urls import flaw  # noqa: PLC0415 - the grammar that comes along would delay the process

        if (reason := flaw(url, ports=self._quirks.http_destination_ports)) is not None:
            raise _invalid(f"confirmationUrl: {reason}")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _shown(url: str) -> str:
    return url.partition("?")[0]


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidRequestException", message)
