"""The actors of a test, built on what users of AWS build on: awscrt for MQTT 5, boto3 for the AWS APIs.

`BroadcastClient` (`broadcast`) is anyone on the internet, `Operator` (`operator`) the back office. What a client heard
is in its `Inbox` (`inbox`), what it said is a `Message` (`message`), what it was denied a `Refusal` (`refusal`).
`Trace` and `Faults` reach the admin API of a target that has one.

Nothing here imports the stand-in's MQTT or AWS semantics: two implementations check each other in every test. Nothing
here knows of targets either: who makes a client passes in where it connects to and how long it may wait.
"""
