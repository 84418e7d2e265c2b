"""The embedded stand-in: the only package that listens on a socket.

This level is the broker process (``python -m harness.embedded``); ``control`` is the other process, the AWS APIs. They
share the framing of their private link (`harness.embedded.link`) and nothing else.
"""
