"""Deploys a Pulumi program without the Pulumi CLI: every resource it declares is made through boto3.

`program` runs the program against a monitor of our own, `resources` and `invokes` are the tables of what it may
declare and ask for (`storage_resources` and `rule_resources` hold parts of the first, `declared` what they share),
`account` makes the AWS calls, and `waiting` asks again where AWS takes its time. What is not in a table is refused by
name. There is no update and no delete: the stand-in begins empty.

Run as ``python -m harness.targets.provisioning --config FILE`` it is a short-lived process that prints the outputs as
JSON.
"""
