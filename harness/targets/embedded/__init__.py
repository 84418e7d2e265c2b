"""The ``embedded`` target: supervises the processes of the stand-in, for test runs and for ``thingwright serve``.

`process` starts one child and notices its end, `children` keeps all of one start together; `briefing` holds what each
is told, `certificates` makes the server's identity, `loopback` the control plane's sockets, `folder` is where files
are kept; `deployment` gets the stack deployed, `receivers` starts and stops receivers, `control_requests` lets the
control plane ask for that; `supervisor` brings all up and down, `target` and `serve` are its two users.

No process outlives the supervisor, however it ends: every child holds the read end of a pipe (the *lifeline*) whose
other end only the supervisor has, and ends itself when that closes. The folder of one that was killed goes with the
next start.
"""

from harness.targets.embedded.options import DEFAULT_STACK, SupervisorOptions
from harness.targets.embedded.serve import serve
from harness.targets.embedded.supervisor import Supervisor
from harness.targets.embedded.target import EmbeddedTarget

__all__ = ["DEFAULT_STACK", "EmbeddedTarget", "Supervisor", "SupervisorOptions", "serve"]
