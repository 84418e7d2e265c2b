"""Policies: documents that say who may do what, and decisions that say why.

`PolicyDocument.parse` accepts only what this project evaluates; anything else is an error when the document is made,
never a silent approximation. `bind` joins documents with the facts of one principal (client id, thing, identity),
once; `BoundPolicies.decide` then answers one request. `evaluate` does both. `evaluate_trust` answers who may assume a
role.

pattern.py     wildcards and variables, compiled once
variables.py   which variables and condition keys exist, in which dialect
condition.py   Condition blocks
document.py    the grammar
evaluation.py  decisions and near misses
"""

from harness.iot.policy.document import PolicyDocument, Statement
from harness.iot.policy.evaluation import BoundPolicies, Decision, bind, evaluate, evaluate_trust
from harness.iot.policy.pattern import Context
from harness.iot.policy.variables import Dialect

__all__ = [
    "BoundPolicies",
    "Context",
    "Decision",
    "Dialect",
    "PolicyDocument",
    "Statement",
    "bind",
    "evaluate",
    "evaluate_trust",
]
