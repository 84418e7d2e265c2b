"""Every error that the receiver raises.

```
ReceiverError
├── SettingsError        which variable, what is accepted
├── WrongSecret          no shared secret, a wrong one, or several: answered 403
├── MessageRefused       what is posted is not taken; of a batch, which element is wrong
│   ├── InvalidMessage   a body or a header that is not what a rule sends: answered 422
│   └── ForeignDevice    a device that speaks for another: answered 403
├── BodyTooLarge         more bytes than a message can have: answered 413
├── ClientGone           the other side left, or was too slow, before its body was whole: nobody to answer, or 408
├── UntrustedUrl         an enableUrl that leads elsewhere than to AWS IoT: answered 403
├── NotConfirmed         the enableUrl could not be fetched, or answered something else than 200: answered 502
├── TooManyAtOnce        enough confirmations are under way: answered 503
└── WriteFailed          the rows are not in the table, or may not be: answered 503, since a later try may succeed
```

The messages of those that are answered never repeat what the other side sent: what is wrong, and where.
"""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

FailureKind: TypeAlias = Literal["throttled", "denied", "no_table", "refused", "unavailable", "busy"]
"""Why a row was not written: too much at once, no right, no such table, not acceptable to it, not reachable, or too
many rows waiting here."""


class ReceiverError(Exception):
    """Whatever the receiver raises by itself."""


class SettingsError(ReceiverError):
    """An environment variable is missing or not accepted; the message never shows a secret."""


class WrongSecret(ReceiverError):  # noqa: N818 - says what happened
    """The request does not hold the secret; which of the ways it fails in is not told."""


class MessageRefused(ReceiverError):  # noqa: N818 - says what happened
    """What was posted is not taken, and would not be another time.

    Args:
        because: what is wrong.
        element: of a batch, counted from 0; None: the whole.
    """

    def __init__(self, because: str, *, element: int | None = None) -> None:
        super().__init__(because if element is None else f"element {element}: {because}")
        self.because = because
        self.element = element

    def of_element(self, element: int) -> Self:
        """Give the same about one element of a batch."""
        return type(self)(self.because, element=element)


class InvalidMessage(MessageRefused):
    """The body or a header is not acceptable; the message says what and where."""


class ForeignDevice(MessageRefused):
    """The reading names another device than the connection it came over."""


class BodyTooLarge(ReceiverError):  # noqa: N818 - says what happened
    """The body is longer than AWS IoT lets a message be."""


class ClientGone(ReceiverError):  # noqa: N818 - says what happened
    """The body did not come to its end."""


class UntrustedUrl(ReceiverError):  # noqa: N818 - says what happened
    """A confirmation asks to fetch something that is not a destination's confirmation at a trusted origin."""


class NotConfirmed(ReceiverError):  # noqa: N818 - says what happened
    """The enableUrl gave no answer, or another than 200; the message says which, without the URL."""


class TooManyAtOnce(ReceiverError):  # noqa: N818 - says what happened
    """A confirmation has to wait for others."""


class WriteFailed(ReceiverError):  # noqa: N818 - says what happened
    """Rows were not written, or it is not known whether they were.

    Args:
        kind: of a closed set, for counting.
        code: AWS's error code, or the name of what failed on the way there.
        because: for the log alone, where it is known to hold nothing of the row.
    """

    def __init__(self, kind: FailureKind, code: str, because: str | None = None) -> None:
        super().__init__(f"{kind}: {code}")
        self.kind = kind
        self.code = code
        self.because = because
