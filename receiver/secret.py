"""The shared secret that a rule sends with every message."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import SecretStr


class SecretCheck:
    """Compares what a request presents with every accepted secret, in time that depends on neither.

    Several are valid at once, so that a secret can be changed without a gap: add the new one, let the rule send it,
    remove the old one. Digests are compared, so that secrets of different length take the same time; all of them are,
    whether or not one has matched.
    """

    def __init__(self, accepted: Iterable[SecretStr]) -> None:
        self._digests = tuple(hashlib.sha256(secret.get_secret_value().encode()).digest() for secret in accepted)

    def allows(self, presented: Sequence[bytes]) -> bool:
        """Tell whether a request may post.

        Args:
            presented: every copy of the header. Several are refused even if one is right: which of them a proxy in
                between looked at cannot be known.
        """
        digest = hashlib.sha256(presented[0] if presented else b"").digest()
        found = False
        for accepted in self._digests:
            found |= hmac.compare_digest(accepted, digest)
        return found & (len(presented) == 1)
