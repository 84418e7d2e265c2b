"""The service behind the load balancer: takes what a rule posts and writes one row per message.

`python -m receiver` runs it (`receiver.__main__`), with settings from the environment (`receiver.settings`).
`receiver.app.make_app` is the application alone, for tests and for servers other than the one that comes with it. It
imports nothing of the harness: it is what runs in production, and the harness tests it from outside.
"""

__version__ = "0.1.0"
"""The project's; said here since an image holds these files without the project's distribution."""
