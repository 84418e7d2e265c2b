"""The canonical form of a request, row by row."""

from __future__ import annotations

import pytest
from botocore.auth import SigV4Auth
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.iot.canonical import canonical_path, canonical_queries, collect_headers, host_spellings, query_parameters


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/"),
        ("/", "/"),
        ("//", "/"),
        ("/mqtt", "/mqtt"),
        ("/mqtt/", "/mqtt/"),
        ("/topics/a%2Fb", "/topics/a%252Fb"),
        ("/topics/a b", "/topics/a%20b"),
        ("/topics/~x", "/topics/~x"),
        ("/a//b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/a/../b/", "/b/"),
        ("/../..", "/"),
    ],
)
def test_a_path_is_tidied_and_encoded_once_more(path: str, expected: str) -> None:
    """Source: reference_sigv-create-signed-request: every service but S3 encodes the path twice."""
    assert canonical_path(path) == expected


@given(st.text(alphabet="/.a~%2F é+=&", max_size=20))
@settings(max_examples=200, deadline=None)
def test_a_path_is_what_botocore_signs(path: str) -> None:
    """Two implementations, one answer; botocore leaves an empty path to its caller."""
    assert canonical_path(f"/{path}") == SigV4Auth(None, "iot", "us-east-1")._normalize_url_path(f"/{path}")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ("",)),
        ("a=1", ("a=1",)),
        ("b=2&a=1", ("a=1&b=2",)),
        ("a=2&a=1", ("a=1&a=2",)),
        ("a", ("a=",)),
        ("a=x=y", ("a=x%3Dy", "a=x=y")),
        ("a=%7e", ("a=~", "a=%7e")),
        ("a=/x", ("a=%2Fx", "a=/x")),
        ("a=1+1", ("a=1%2B1", "a=1+1")),
        ("%61=%2f", ("a=%2F", "%61=%2f")),
    ],
)
def test_a_query_is_sorted_and_encoded(query: str, expected: tuple[str, ...]) -> None:
    """Encoded anew and, where that differs, as the client wrote it: some sign what they send."""
    assert canonical_queries(query_parameters(query)) == expected


def test_headers_are_collected_by_lower_case_name() -> None:
    """White space is collapsed, several values are joined in order."""
    headers = [("Host", " localhost "), ("X-Amz-Meta", "a   b"), ("x-amz-meta", "c"), ("Empty", "")]

    assert collect_headers(headers) == {"host": "localhost", "x-amz-meta": "a b,c", "empty": ""}


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("localhost", None, ("localhost",)),
        ("localhost:40002", None, ("localhost:40002", "localhost")),
        ("localhost", 40002, ("localhost", "localhost:40002")),
        ("localhost:40002", 40002, ("localhost:40002", "localhost")),
        ("[::1]:40002", None, ("[::1]:40002", "[::1]")),
        ("[::1]", None, ("[::1]",)),
    ],
)
def test_a_host_may_be_signed_with_or_without_port(host: str, port: int | None, expected: tuple[str, ...]) -> None:
    """The CRT leaves the port out, browsers put it in."""
    assert host_spellings(host, port) == expected
