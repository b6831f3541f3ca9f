"""Running programs that a model wrote, so that neither the host nor the score is at their mercy.

**Who holds what.** The tests run in one process, the verifier; the program in another, forked
before the tests are read. They talk over pipes: a name and arguments one way, a value the other,
both as :mod:`plain data <ponder.verify.sandbox.inside.plain>`. What arrives is an exact builtin
type made by the receiver, so an object that equals everything, a patched ``assert`` or an early
exit of the program changes nothing in the process that compares. A call without an answer fails
its test even if the test catches everything.

**What is out of reach.** Both processes are alone in a pid namespace, in network, mount, ipc and
host name namespaces of their own, as a user without capabilities. They see Python's standard
library, read-only, ``/dev/null`` and an empty scratch folder (the program's: 16 MiB); no ``/proc``.
A seccomp filter refuses new processes, ``exec``, sockets other than Unix ones, tracing and mounts.

**What is limited.** See :class:`Limits`. When a request is answered, none of its processes is left.

**What is the same every time.** Each request is a fork of one interpreter that has never run
anything: hash seed 0, ``random`` seeded with 0, UTC, no environment. The clock, ``os.urandom`` and
the addresses of objects are not fixed, and a program near a limit of time may fall on either side.
"""

from ponder.verify.sandbox.inside.plain import NotPlain
from ponder.verify.sandbox.inside.plain import decode as plain
from ponder.verify.sandbox.limits import Limits
from ponder.verify.sandbox.service import Sandbox

__all__ = ["Limits", "NotPlain", "Sandbox", "plain"]
