"""Reasons made fit for files that are published: whose machine and whose account it was is nobody's business.

A reason is somebody else's sentence, often a library's, with URLs, ARNs and paths in it. What may identify a machine,
an account or a key is replaced by ``…``; too much rather than too little.
"""

from __future__ import annotations

import platform
import re
from typing import Final

LONGEST: Final = 300
"""Characters; a reason is a sentence, not a log."""

_MASK: Final = "…"
_SECRETS: Final = (
    r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>)\]]+",  # URLs, also with user and password
    r"\barn:[^\s'\",)]+",
    r"(?i:\bbearer\s+)\S+",
    r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{8,}",
    r"\b[a-z]{2}(?:-[a-z]+)+-\d:[0-9a-f-]{36}",  # Cognito's ids
    r"(?<![\w.])\d{12}(?![\w.])",  # account ids
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?",
    r"\[[0-9A-Fa-f:]{2,}\](?::\d+)?",  # IPv6
    r"(?<![\w:])(?:::1|fe80::[0-9a-f:]+|(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4})(?![\w:])",
    r"\blocalhost:\d+",
    r"\b(?:[A-Za-z0-9_-]+\.){2,}[A-Za-z]{2,}\b(?::\d+)?",  # host names
    r"(?<![\w.…/])~?(?:/[^\s/'\",:;()]+){2,}/?",  # absolute paths
    r"\b[A-Za-z]:\\[^\s'\",;]+",
    r"(?<![\w+/.-])(?=[\w-]*\d)[A-Za-z0-9_-]{20,}={0,2}",  # tokens, hashes, ids
    r"(?<![\w+/=])(?=[A-Za-z+/=]*\d)[A-Za-z0-9+/=]{40,}",  # secret keys
    r"\btw[0-9a-f]{8}[-_][0-9a-f]{8}\b",  # run ids
)
_NAMED: Final = re.compile(
    r"(?i)\b(\w*(?:token|secret|password|passwd|signature|credential|authorization|api_?key|access_?key)\w*)"
    r"([\"']?\s*[=:]\s*)[\"']?[^\s'\",)]+[\"']?"
)
_ANY: Final = re.compile("|".join(_SECRETS))
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


def scrubbed(text: str) -> str:
    """Return a reason on one line, shortened, without what tells of machine, account or keys."""
    line = " ".join(_CONTROL.sub(" ", text).split())
    line = _NAMED.sub(rf"\1\2{_MASK}", _ANY.sub(_MASK, line))
    host = platform.node()
    if len(host) > 3 and host != "localhost":
        line = line.replace(host, _MASK)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}{_MASK}"
