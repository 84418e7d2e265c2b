"""What dead runs left behind in an account: finding it by their marks, and taking it away.

Everything that a run makes has a mark in its name (`harness.targets.marks`), which says whose it is and since when
nobody needs it any more. `accounts` reaches an account, `finding` and `stack_finding` list what has a mark in it,
`sweeping` decides what goes and removes it in AWS's order. What the command prints is `harness.sweep_commands`.

Nothing that has no mark is ever touched, with one exception that has to be asked for: guests of an identity pool have
neither name nor tag, so of a pool that was given up to sweeping they go by age.
"""
