"""Which URLs HTTP actions post to, and which is whose prefix."""

from __future__ import annotations

import pytest

from harness.iot.rules import url_flaw
from harness.iot.rules.urls import authority, is_prefix


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost",
        "https://localhost:40004/ingest",
        "https://example.com./a",
        "https://127.0.0.1:1/",
        "https://255.249.199.0/",
        "https://127.0.0.1.example.com/",
        "https://ex-am_ple.com:65535?a=b&c=%20#d",
        "https://example.com/a.b/..c/d../...",
        "https://example.com/a?b=/../c",
        "https://example.com/" + "a" * 1980,
    ],
)
def test_a_url_may_be(url: str) -> None:
    """Names, IPv4 addresses, any port where the quirk says so."""
    assert url_flaw(url, ports="any") is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "begins with https://"),
        ("http://example.com", "begins with https://"),
        ("HTTPS://example.com", "begins with https://"),
        ("ftp://example.com", "begins with https://"),
        ("example.com", "begins with https://"),
        (" https://example.com", "begins with https://"),
        ("https://", "names a host"),
        ("https:///a", "names a host"),
        ("https://:443/", "names a host"),
        ("https://?a", "names a host"),
        ("https://-a.com", "names a host"),
        ("https://a,b", "names a host"),
        ("https://user@example.com", "names no user"),
        ("https://user:secret@example.com/", "names no user"),
        ("https://[::1]/", "IPv6 addresses are not taken"),
        ("https://[::1]:443/", "IPv6 addresses are not taken"),
        ("https://2130706433/", "four numbers from 0 to 255"),
        ("https://127.1/", "four numbers from 0 to 255"),
        ("https://0300.0.2.2/", "four numbers from 0 to 255"),
        ("https://127.0.0.256:443/", "four numbers from 0 to 255"),
        ("https://127.0.0.1./", "four numbers from 0 to 255"),
        ("https://a:/", "a port is a number from 1 to 65535"),
        ("https://a:0/", "a port is a number from 1 to 65535"),
        ("https://a:65536/", "a port is a number from 1 to 65535"),
        ("https://a:000443/", "a port is a number from 1 to 65535"),
        ("https://a:44x/", "a port is a number from 1 to 65535"),
        ("https://a:1:2/", "a port is a number from 1 to 65535"),
        ("https://a/b c", "RFC 3986"),
        ("https://a/\n", "RFC 3986"),
        ("https://a/\r\nHost: b", "RFC 3986"),
        ("https://a/é", "RFC 3986"),
        ("https://a/\\b", "RFC 3986"),
        ("https://a/%", "RFC 3986"),
        ("https://a/%zz", "RFC 3986"),
        ("https://a/<b>", "RFC 3986"),
        ("https://a/${topic()}", "RFC 3986"),
        ("https://a/ingest/..", "no . and .. segments"),
        ("https://a/ingest/../admin", "no . and .. segments"),
        ("https://a/./b", "no . and .. segments"),
        ("https://a/%2e%2E/b", "no . and .. segments"),
        ("https://a/.%2e?b", "no . and .. segments"),
        ("https://a/b%2f..%2Fc", "no . and .. segments"),
        ("https://a/b%5c..%5Cc", "no . and .. segments"),
        ("https://a/" + "b" * 2000, "at most 2000 characters, not 2010"),
    ],
)
def test_a_url_may_not_be(url: str, reason: str) -> None:
    """Source: https-rule-action; the path stays below what was confirmed."""
    assert reason in (url_flaw(url, ports="any") or "")


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        ("https://a/", True),
        ("https://a:443/", True),
        ("https://a:8443/", True),
        ("https://a:8883/", False),
        ("https://a:44300/", False),
    ],
)
def test_aws_takes_two_ports(url: str, *, is_taken: bool) -> None:
    """Source: https-rule-action; the quirk http-destination-ports."""
    assert (url_flaw(url, ports="443-and-8443") is None) is is_taken
    assert url_flaw(url, ports="any") is None


@pytest.mark.parametrize(
    ("confirmed", "url", "begins"),
    [
        ("https://host", "https://host", True),
        ("https://host", "https://host/a", True),
        ("https://host", "https://host?a", True),
        ("https://host", "https://host#a", True),
        ("https://host/", "https://host/a", True),
        ("https://host/in", "https://host/ingest", True),
        ("https://host:8443/a", "https://host:8443/a/b?c", True),
        ("https://host/a?b", "https://host/a?bc", True),
        # another host, port or scheme behind the same beginning
        ("https://host", "https://host.example", False),
        ("https://host", "https://host.example/a", False),
        ("https://host", "https://hosts", False),
        ("https://host", "https://host:8443", False),
        ("https://host:84", "https://host:8443", False),
        ("https://host", "https://host@example/", False),
        ("https://host", "https://host%2eexample/", False),
        # not the beginning
        ("https://host/", "https://host", False),
        ("https://host/a", "https://host/b", False),
        ("https://host/a", "https://host/A", False),
        ("https://host:443", "https://host", False),
        ("https://other", "https://host", False),
    ],
)
def test_a_confirmed_url_is_a_prefix_on_its_own_host(confirmed: str, url: str, *, begins: bool) -> None:
    """Source: https-rule-action: the confirmation URL must be a prefix of the endpoint URL."""
    assert is_prefix(confirmed, url) is begins


def test_the_authority_ends_where_the_path_begins() -> None:
    """Or the query, or the fragment."""
    assert {authority(f"https://host:1{rest}") for rest in ("", "/a:2", "?a/b", "#/")} == {"host:1"}
