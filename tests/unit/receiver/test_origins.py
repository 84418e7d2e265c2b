"""What a confirmation may make this process fetch."""

from __future__ import annotations

import pytest

from receiver.errors import UntrustedUrl
from receiver.origins import Origin, aws_iot_origin, parse_origin, url_to_fetch

TRUSTED = (parse_origin("https://iot.us-east-1.amazonaws.com"), parse_origin("http://127.0.0.1:4001"))


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://a.example", Origin("https", "a.example", 443)),
        ("HTTPS://A.example:443/", Origin("https", "a.example", 443)),
        ("http://localhost:80", Origin("http", "localhost", 80)),
        ("http://[::1]:4001", Origin("http", "[::1]", 4001)),
    ],
)
def test_an_origin_is_scheme_host_and_port(text: str, origin: Origin) -> None:
    """However it is written."""
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://a:65536",
        "a.example",
        "ftp://a",
        "https://",
        "https://u:p@a",
        "https://a/b",
        "https://a?b",
        "https://a:x",
        "https://a#",
        "http://a:0",
    ],
)
def test_what_is_more_or_less_than_an_origin_is_none(text: str) -> None:
    """A setting with a path would seem to say more than it does."""
    with pytest.raises(ValueError, match=r"^$"):
        parse_origin(text)


def test_aws_iot_has_one_origin_in_a_region() -> None:
    """Some partitions lie below another domain."""
    assert str(aws_iot_origin("eu-central-1")) == "https://iot.eu-central-1.amazonaws.com:443"
    assert str(aws_iot_origin("cn-north-1")) == "https://iot.cn-north-1.amazonaws.com.cn:443"
    assert str(aws_iot_origin("eusc-de-east-1")) == "https://iot.eusc-de-east-1.amazonaws.eu:443"
    assert str(aws_iot_origin("us-gov-west-1")) == "https://iot.us-gov-west-1.amazonaws.com:443"


@pytest.mark.parametrize(
    ("url", "fetched"),
    [
        (
            "https://iot.us-east-1.amazonaws.com/confirmdestination/AYADeM-XLr_Pr=",
            "https://iot.us-east-1.amazonaws.com:443/confirmdestination/AYADeM-XLr_Pr=",
        ),
        ("https://IOT.us-east-1.AMAZONAWS.com:443/confirmdestination/a%2Fb", None),
        ("http://127.0.0.1:4001/confirmdestination/a/b+c~d", None),
    ],
)
def test_a_confirmation_at_a_trusted_origin_is_fetched(url: str, fetched: str | None) -> None:
    """With the token as it came."""
    made = url_to_fetch(url, trusted=TRUSTED)

    assert fetched is None or made == fetched
    assert made.endswith("/confirmdestination/" + url.partition("/confirmdestination/")[2])


@pytest.mark.parametrize(
    "url",
    [
        "https://iot.eu-west-1.amazonaws.com/confirmdestination/a",
        "https://iot.us-east-1.amazonaws.com.evil.example/confirmdestination/a",
        "https://iot.us-east-1.amazonaws.com:8443/confirmdestination/a",
        "http://iot.us-east-1.amazonaws.com/confirmdestination/a",
        "https://127.0.0.1:4001/confirmdestination/a",
        "http://127.0.0.1/confirmdestination/a",
        "http://169.254.169.254/confirmdestination/a",
        "http://localhost:4001/confirmdestination/a",
    ],
)
def test_another_origin_is_not(url: str) -> None:
    """Scheme, host and port, all three."""
    with pytest.raises(UntrustedUrl, match="CONFIRM_ORIGINS"):
        url_to_fetch(url, trusted=TRUSTED)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/confirmdestination/a",
        "//iot.us-east-1.amazonaws.com/confirmdestination/a",
        "file:///confirmdestination/a",
        "https://iot.us-east-1.amazonaws.com",
        "https://iot.us-east-1.amazonaws.com/",
        "https://iot.us-east-1.amazonaws.com/confirmdestination/",
        "https://iot.us-east-1.amazonaws.com/things",
        "https://iot.us-east-1.amazonaws.com/confirmdestination/a?b=c",
        "https://iot.us-east-1.amazonaws.com/confirmdestination/a#b",
        "https://iot.us-east-1.amazonaws.com/confirmdestination/a%2e%2e/b",
        "https://iot.us-east-1.amazonaws.com/confirmdestination/../things",
        "https://iot.us-east-1.amazonaws.com/confirmdestination/a/./b",
        "https://iot.us-east-1.amazonaws.com/confirmdestination/a%2F..%2f..%2Fthings",
        "https://iot.us-east-1.amazonaws.com/confirmdestination/..%2Fthings",
        "https://iot.us-east-1.amazonaws.com\\@evil.example/confirmdestination/a",
        "https://iot.us-east-1.amazonaws.com@evil.example/confirmdestination/a",
        "https://evil.example@iot.us-east-1.amazonaws.com/confirmdestination/a",
        "https://evil.example#iot.us-east-1.amazonaws.com/confirmdestination/a",
        "https://iot.us-east-1.amazonaws.com/confirmdestination/a\r\nhost: evil",
        "https://iot.us-east-1.amazonaws.com/confirmdestination/a\n",
        " https://iot.us-east-1.amazonaws.com/confirmdestination/a",
        "https://iot.us-east-1.amazonaws.com:99999999/confirmdestination/a",
        "https://\u0131ot.us-east-1.amazonaws.com/confirmdestination/a",
        "https://iot.us-east-1.amazonaws.com/confirmdestination/" + "a" * 4096,
    ],
)
def test_what_is_no_confirmation_is_not_fetched(url: str) -> None:
    """Not even at a trusted origin; and the answer does not repeat it."""
    with pytest.raises(UntrustedUrl) as caught:
        url_to_fetch(url, trusted=TRUSTED)
    assert not url or url not in str(caught.value)
