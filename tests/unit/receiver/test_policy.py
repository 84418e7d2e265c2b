"""The receiver's rights on AWS: one file, for every target."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template

POLICY = Path(__file__).resolve().parents[3] / "infra/receiver-policy.json"


def test_the_receiver_may_write_rows_and_nothing_else() -> None:
    """To the one table: no reading, no deleting, no other table, no index."""
    document = json.loads(Template(POLICY.read_text("utf-8")).substitute(TABLE_ARN="arn:aws:dynamodb:r:1:table/t"))

    assert document == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "WriteReadings",
                "Effect": "Allow",
                "Action": ["dynamodb:BatchWriteItem"],
                "Resource": "arn:aws:dynamodb:r:1:table/t",
            }
        ],
    }
