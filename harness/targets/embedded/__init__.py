"""The ``embedded`` target: supervises the processes of the stand-in, for test runs and for ``thingwright serve``.

`process` starts one child and notices its end, `certificates` makes the server's identity, `folder` is where both keep
their files, `supervisor` brings all children up and down, `target` and `serve` are its two users. No process outlives
the supervisor, however it ends: every child holds the read end of a pipe (the *lifeline*) whose other end only the
supervisor has, and ends itself when that closes. The folder of one that was killed goes with the next start.
"""

from harness.targets.embedded.serve import serve
from harness.targets.embedded.supervisor import DEFAULT_STACK, Supervisor, SupervisorOptions
from harness.targets.embedded.target import EmbeddedTarget

__all__ = ["DEFAULT_STACK", "EmbeddedTarget", "Supervisor", "SupervisorOptions", "serve"]
