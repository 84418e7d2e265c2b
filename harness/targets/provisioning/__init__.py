"""Deploys a Pulumi program without the Pulumi CLI: every resource it declares is made through boto3.

`program` runs the program against a monitor of our own, `resources` and `invokes` are the tables of what it may
declare and ask for (`identity_resources`, `storage_resources` and `rule_resources` hold the first, `declared` what they
share), `account` makes the AWS calls, `refusals` knows what their errors mean, and `waiting` asks again where AWS takes
its time. What is not in a table is refused by name. There is no update: the stand-in begins empty, and a run in an
account that others use as well makes everything anew. There `ledger` remembers what was made, names and tags say for
which run, and `removing` takes it back.

Run as ``python -m harness.targets.provisioning --config FILE`` it is a short-lived process that prints the outputs as
JSON.
"""
