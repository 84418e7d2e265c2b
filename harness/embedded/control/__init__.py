"""The control plane: AWS's APIs for boto3, as a process of its own.

moto keeps most of the state and answers most calls; the layer here stands before it. It verifies every signature, finds
service and operation in the verified scope and the botocore model, asks the policies, hands moto a request made anew
from what was authorised, and tells the broker what changed before the caller gets an answer. Deny by default: what no
table here names is refused by name.
"""
