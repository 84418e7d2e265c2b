"""The service behind the load balancer: takes what a rule posts and writes one row per message.

`python -m receiver` runs it (`receiver.__main__`), with settings from the environment (`receiver.settings`).
`receiver.app.make_app` is the application alone, for tests and for servers other than the one that comes with it. It
imports nothing of the harness: it is what runs in production, and the harness tests it from outside.
"""
