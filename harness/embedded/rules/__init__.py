"""Rules in the broker's process: which messages they take, and what is done with them, beside the broker.

`engine` finds the rules of a message and keeps what waits for them within bounds; `runner` evaluates them and carries
out their actions; `http_client` posts. What rules mean is `harness.iot.rules`' affair. Only `engine` is loaded from
the start: the others come with the first rule, since a parser and an HTTP client take longer to load than the broker.
"""
