"""The shared secret: several at once, one time for all."""

from __future__ import annotations

import hmac

import pytest
from pydantic import SecretStr

from receiver.secret import SecretCheck

CHECK = SecretCheck([SecretStr("current"), SecretStr("the-old-one"), SecretStr("third")])


@pytest.mark.parametrize("secret", [b"current", b"the-old-one", b"third"])
def test_every_accepted_secret_is_right(secret: bytes) -> None:
    """So that one can be exchanged for another without a gap."""
    assert CHECK.allows([secret])


@pytest.mark.parametrize(
    "copies",
    [
        [],
        [b""],
        [b"curren"],
        [b"currentx"],
        [b"Current"],
        [b" current"],
        [b"\xff\xfe"],
        [b"current,the-old-one"],
        [b"current", b"current"],
        [b"current", b"wrong"],
        [b"wrong", b"current"],
    ],
)
def test_anything_else_is_wrong(copies: list[bytes]) -> None:
    """Several copies of the header too, whatever they say."""
    assert not CHECK.allows(copies)


@pytest.mark.parametrize("presented", [[b"current"], [b"third"], [b"wrong"], [b""], []])
def test_every_secret_is_compared_whichever_matches(presented: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of one length, by the comparison that takes one time."""
    compared: list[tuple[int, int]] = []
    original = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return original(one, other)

    monkeypatch.setattr("receiver.secret.hmac.compare_digest", compare)
    CHECK.allows(presented)

    assert compared == [(32, 32)] * 3
