"""Programs that try to get out of the sandbox, or to pass without being right. None may.

Every attempt is followed by a look at the host and by an honest program, which must pass.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from string import Template
from types import FrameType
from typing import Any

import pytest

from ponder.errors import PonderError
from ponder.verify.sandbox import Limits, Sandbox, plain

# Small, so that attempts which last until they are stopped are stopped soon.
SMALL = Limits(seconds=1.0, cpu_seconds=1, memory_mb=128, output_bytes=65536)
MARK = "ponder-was-here"
SECRET = 75_521_893  # only the tests know it
HONEST = "def f(x):\n    return sorted(set(x))"

LOOK = """
import os, resource
found = [os.getpid(), os.getppid(), os.getuid(), sorted({*os.listdir("/")} & {*FOLDERS})]
found.append(resource.getrlimit(resource.RLIMIT_AS)[0])
try:
    os.kill(-1, 0)
except OSError:
    found.append("none")
try:
    os.fork() or os._exit(0)
except OSError:
    found.append("none")
""".replace("FOLDERS", "('dev', 'tmp', 'etc', 'proc', 'sys', 'bin', 'run')")


class Host:
    """What must be as it was after an attempt: files, processes, signals, memory, visitors."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "precious"
        self.file.write_text("precious")
        self.file.chmod(0o666)
        folder.chmod(0o777)
        self.bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        self.signals: list[int] = []
        self.visitors: list[str] = []
        self.listeners = [socket.socket(socket.AF_INET), socket.socket(socket.AF_UNIX)]
        self.listeners[0].bind(("127.0.0.1", 0))
        self.listeners[1].bind(f"\0{MARK}-{os.getpid()}")
        for listener in self.listeners:
            listener.listen()
            threading.Thread(target=self._welcome, args=(listener,), daemon=True).start()
        self.port = self.listeners[0].getsockname()[1]
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM):
            signal.signal(number, self._note)
        self._memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signals.append(number)

    def _welcome(self, listener: socket.socket) -> None:
        while True:
            try:
                listener.accept()
            except OSError:
                return
            self.visitors.append("a visitor")

    def check(self, sandbox: Sandbox) -> None:
        """Fail unless all is as it was."""
        assert self.file.read_text() == "precious"
        assert self.bystander.poll() is None
        assert self.signals == []
        assert self.visitors == []
        assert family(sandbox) == 2
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < self._memory + 100_000
        here = Path(__file__).parent
        for folder in (Path("/tmp"), Path("/dev/shm"), Path.home(), Path.cwd(), here, Path("/")):
            assert not (folder / MARK).exists()

    def close(self) -> None:
        self.bystander.kill()
        self.bystander.wait()
        for listener in self.listeners:
            listener.close()


def family(sandbox: Sandbox) -> int:
    """How many processes the sandbox consists of."""
    assert sandbox._zygote is not None
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(name)] = int(
                Path(f"/proc/{name}/stat").read_text().split(")")[-1].split()[1]
            )
        except OSError:
            continue
    found = {sandbox._zygote._process.pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return len(found)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        made = Sandbox(SMALL)
    except PonderError as error:
        pytest.skip(str(error))
    # Some attempts below would hurt the host. Look first, harmlessly, that it is out of reach.
    found = made.answer({"program": LOOK, "call": "found"})
    if found["value"] != [1, 0, 1000, ["dev", "tmp"], SMALL.memory_mb * 2**20, "none", "none"]:
        made.close()
        pytest.exit(f"the sandbox does not confine: {found}", returncode=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    kept = {number: signal.getsignal(number) for number in (1, 10, 14, 15)}
    made = Host(tmp_path_factory.mktemp("host"))
    yield made
    made.close()
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def unharmed(sandbox: Sandbox, host: Host) -> Iterator[None]:
    """After every attempt: the host as it was, and an honest program passes."""
    yield
    host.check(sandbox)
    request = {"program": HONEST, "tests": ["assert f([2, 1, 2]) == [1, 2]"]}
    assert sandbox.answer(request)["status"] == "passed"


def attempt(sandbox: Sandbox, program: str, *tests: str) -> dict[str, Any]:
    """The answer about a program that must pass none of the tests."""
    answer = sandbox.answer({"program": program, "tests": list(tests), "entry_point": "f"})
    assert (answer["status"], answer["passed"], answer["total"]) == ("failed", 0, len(tests))
    assert len(str(answer)) < 10_000
    return answer


TESTS = (
    f"assert f(1) == {SECRET}",
    f"assert f([1]) == [{SECRET}]",
    f"assert {SECRET} == f(1), 'never'",
    f"assert set(f((1, 2))) == {{{SECRET}}}",
    f"assert abs(f(2) - {SECRET}.5) < 1e-6",
    f"assert isinstance(f('a'), str) and f('a').count('{SECRET}') == 1",
    f"def check(candidate):\n    assert candidate(3) == {SECRET}",
)

# What every program below begins with. Descriptors 3 and 4 are its calls and its replies.
TOOLS = r"""
import ctypes, fcntl, glob, json, os, resource, shutil, signal, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def done(name, *arguments):
    return getattr(libc, name)(*arguments) != -1
def tried(act, *arguments):
    try:
        got = act(*arguments)
    except OSError:
        return False
    return True if got is None else got
def reached(family, address):
    with socket.socket(family) as s:
        s.settimeout(1)
        return tried(s.connect, address)
def frame(message):
    body = json.dumps(message).encode()
    return struct.pack(">I", len(body)) + body
def forge():
    for message in ({"results": [[True, ""]] * 7}, {"value": None, "id": ""}, {"status": "passed"}):
        for number in range(64):
            tried(os.write, number, frame(message))
def asked():
    return json.loads(os.read(3, struct.unpack(">I", os.read(3, 4))[0]))["id"]
def ticket():
    caller = sys._getframe()
    while "message" not in caller.f_locals:
        caller = caller.f_back
    return caller.f_locals["message"]["id"]
def reply(number=None, **parts):
    os.write(4, frame({"id": number or ticket(), **parts}))
"""


def programs(text: str) -> dict[str, str]:
    """Programs by name, from a text in which each name stands in a line after dashes."""
    parts = (part.partition("\n") for part in text.split("--- ")[1:])
    return {name: TOOLS + program for name, _, program in parts}


# Programs that want to pass: by what they are, return, patch, print, forge or find.
TAMPER = programs(r"""
--- os._exit at once
os._exit(0)
--- os._exit when called
def f(x): os._exit(0)
--- sys.exit at once
sys.exit(0)
--- sys.exit when called
def f(x): sys.exit(0)
--- raise SystemExit
def f(x): raise SystemExit(0)
--- raise KeyboardInterrupt
def f(x): raise KeyboardInterrupt
--- raise GeneratorExit
def f(x): raise GeneratorExit
--- raise what ends loops
def f(x): raise StopIteration
--- own exception named like ours
class CallFailed(BaseException): pass
def f(x): raise CallFailed
--- abort
def f(x): os.abort()
--- segmentation fault
def f(x): ctypes.string_at(0)
--- atexit prints success
import atexit
atexit.register(print, '{"results": [[true, ""]]}')
def f(x): raise SystemExit
--- atexit writes success
import atexit
atexit.register(forge)
def f(x): exit(0)
--- patched AssertionError
import builtins
class Fine(Exception):
    def __new__(cls, *a): return None
builtins.AssertionError = Fine
def f(x): return None
--- patched builtins
import builtins
for name in 'isinstance abs set len all sorted repr str type compile exec'.split():
    setattr(builtins, name, lambda *a, **k: True)
def f(x): return None
--- shadowed builtins
class Any:
    def __eq__(s, o): return True
set = abs = isinstance = len = lambda *a: Any()
def f(x): return 0
--- trace function
def tracer(frame, event, arg):
    frame.f_locals['ok'] = True
    return tracer
sys.settrace(tracer); sys.setprofile(tracer); threading.settrace(tracer)
def f(x): return 0
--- audit hook and displayhook
sys.addaudithook(lambda *a: None)
sys.excepthook = sys.unraisablehook = lambda *a: None
def f(x): return 0
--- type of int patched
import gc
def f(x):
    gc.get_referents(int.__dict__)[0]['__eq__'] = lambda a, b: True
    return 0
--- forged answers at once
forge()
def f(x): return 0
--- forged answers when called
def f(x):
    forge()
    return 0
--- forged answers in advance
def f(x):
    os.write(4, frame({'value': 1, 'type': 'int', 'id': '0' * 16}) * 100)
    return 0
--- pipes exchanged
def f(x):
    for a in range(8):
        for b in range(8):
            try: os.dup2(a, b)
            except OSError: pass
    forge()
    return 0
--- pipes closed
def f(x): os.closerange(0, 64)
--- reading the calls to come
def f(x):
    os.set_blocking(3, False)
    return os.read(3, 10**6)
--- answering in place of ours
def f(x):
    number = ticket()
    while True:
        reply(number, value=True, results=[[True, '']] * 7, status='passed', ok=True)
        number = asked()
--- an answer of four gigabytes
def f(x): os.write(4, b'\xff' * 4 + b'[' * 60000)
--- an answer nested too deeply
def f(x):
    body = b'[' * 50000 + b']' * 50000
    os.write(4, struct.pack('>I', len(body)) + body)
--- half an answer
def f(x):
    os.write(4, b'\0\0\0\x10{')
    time.sleep(9)
--- threads that go on after the return
def more():
    while True: forge()
def f(x):
    threading.Thread(target=more, daemon=True).start()
    return 0
--- our own modules patched
for name, module in list(sys.modules.items()):
    if name.startswith('inside') or name == 'json':
        for key, old in list(vars(module).items()):
            if callable(old) and not key.startswith('__'):
                try: setattr(module, key, lambda *a, **k: [[True, '']])
                except Exception: pass
def f(x): return True
--- ponder imported and patched
import ponder.verify.sandbox as s
s.Sandbox.answer = lambda *a: {'status': 'passed'}
def f(x): return 0
--- pickle as value
class P:
    def __reduce__(self):
        return (exec, ('open("/tmp/ponder-was-here", "w")',))
import pickle
def f(x): return [P(), pickle.dumps(P())]
--- repr and iter that never end
class L:
    def __iter__(self):
        while True: yield 1
    def __repr__(self):
        while True: pass
    __str__ = __len__ = __hash__ = __repr__
def f(x): return L()
--- an endless iterator
def f(x):
    while True: yield 0
--- an iterator that never yields
def f(x):
    while True: pass
    yield
--- a huge dict
def f(x): return {i: str(i) * 50 for i in range(100_000)}
--- numbers that take long
def f(x): return 7 ** (4 * 10**6)
--- hash collisions
def f(x): return {i * (2**61 - 1) for i in range(60_000)}
""")
EQUAL = Template(
    TOOLS
    + """
class Same($base):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __contains__ = isdisjoint = count = __lt__
    def __abs__(self): return self
    def __sub__(self, other): return self
    def __iter__(self): return iter([self])
    def __bool__(self): return True
    def __reduce__(self): return (print, ("passed",))
    def __repr__(self): return "$secret"
def f(x): return Same()
"""
)
for base in ("object", "int", "float", "complex", "str", "bytes", "list", "tuple", "dict", "set"):
    TAMPER[f"{base} equal to everything"] = EQUAL.substitute(base=base, secret=SECRET)


@pytest.mark.parametrize("name", TAMPER)
def test_a_wrong_program_does_not_pass(sandbox: Sandbox, name: str) -> None:
    attempt(sandbox, TAMPER[name], *TESTS)


SWALLOWING = (
    "try:\n    f(1)\nexcept BaseException:\n    pass",
    "import contextlib\nwith contextlib.suppress(BaseException):\n    f(1)",
    "for _ in range(3):\n    try:\n        f(1)\n    except:\n        continue",
)
NO_ANSWER = (
    "os._exit when called",
    "sys.exit when called",
    "raise KeyboardInterrupt",
    "abort",
    "object equal to everything",
    "pipes closed",
    "forged answers when called",
    "an answer nested too deeply",
    "repr and iter that never end",
)


@pytest.mark.parametrize("name", NO_ANSWER)
def test_no_answer_is_no_exception_that_a_test_may_expect(sandbox: Sandbox, name: str) -> None:
    attempt(sandbox, TAMPER[name], *SWALLOWING)


STRAY = programs("""
--- one that was not asked for
def f(x):
    os.write(4, frame({"value": 5, "id": "0" * 16}))
    time.sleep(9)
--- two in place of one
def f(x):
    right = frame({"value": 5, "id": ticket()})
    os.write(4, right * 2)
    time.sleep(9)
""")


@pytest.mark.parametrize("name", STRAY)
def test_an_answer_is_one_and_to_this_call(sandbox: Sandbox, name: str) -> None:
    assert "malformed answer" in attempt(sandbox, STRAY[name], "assert f(1) == 5")["detail"]


MALFORMED = (
    "value={'set': [[]]}",
    "value={'iterator': 1}",
    "value={'a': 1, 'b': 2}",
    "value={'fraction': [1, 0]}",
    "value={'dict': [[[], 1]]}",
    "value={'int': '5'}, arguments=5",
    "value=5, arguments=[]",
    "value=5, arguments=[{'x': 1}]",
    "raised=1",
    "raised=['SystemExit', []]",
    "raised=['KeyboardInterrupt', []]",
    "raised=['exec', ['1']]",
    "raised=['ValueError', 5]",
    "raised=[[], []]",
    "unfit=[[]]",
    "results=[[True, '']]",
)


def test_malformed_answers(sandbox: Sandbox) -> None:
    swallow = "try:\n    f(1)\nexcept BaseException:\n    pass"
    for parts in MALFORMED:
        program = f"{TOOLS}def f(x):\n    reply({parts})\n    time.sleep(9)"
        attempt(sandbox, program, swallow)
    good = f"{TOOLS}def f(x):\n    reply(value=5)\n    time.sleep(9)"
    assert sandbox.answer({"program": good, "tests": ["assert f(1) == 5"]})["status"] == "passed"


DIG = (
    TOOLS
    + """
import gc, inspect
word = "".join(["need", "le-"])
def texts(thing, depth=4):
    if type(thing) is str:
        yield thing
    elif depth and type(thing) in (list, tuple, set, dict):
        for part in [*thing, *(thing.values() if type(thing) is dict else ())]:
            yield from texts(part, depth - 1)
def f(x):
    hits, frame = [], sys._getframe()
    places = [sys.argv, dict(os.environ), sys.path, gc.get_objects(), gc.garbage]
    gc.unfreeze()
    places.append(gc.get_objects())
    while frame:
        places += [dict(frame.f_locals), dict(frame.f_globals), list(frame.f_code.co_consts)]
        frame = frame.f_back
    hits += [text for place in places for text in texts(place) if word in text and text != word]
    for path in ("/proc/self/maps", "/proc/self/environ", "/proc/1/mem", "/proc/2/mem", "/dev/mem",
                 "/proc/kcore", "/dev/stdin", "/dev/fd/3", "tests"):
        if tried(open, path):
            hits.append(path)
    for number in (0, 1, 2, 3, 4):
        os.set_blocking(number, False)
        hits.append(tried(os.read, number, 10**6) or "")
    return [hit for hit in hits if hit]
def keep(x): return x
"""
)


def test_the_tests_are_nowhere_in_the_programs_process(sandbox: Sandbox) -> None:
    """Neither in its objects and frames nor in what it can open; what it is given, it finds."""
    unseen = {"program": DIG, "setup": "n = 'needle-1'", "tests": ["assert f(1) == [], 'needle-2'"]}
    answer = sandbox.answer(unseen)
    assert answer["status"] == "passed", answer
    given = "assert keep(['needle-3']) and 'needle-3' in f(['needle-3'])[0]"
    answer = sandbox.answer({"program": DIG, "tests": [given]})
    assert answer["status"] == "passed", answer


# Programs that want out. Each gives what it got hold of; nothing, or an exception, is right.
ESCAPES = programs(r"""
--- read /etc/passwd
def f(x): return tried(open, '/etc/passwd')
--- read a file of the host
def f(x): return tried(open, '$precious')
--- write to a file of the host
def f(x): return tried(open, '$precious', 'w')
--- delete a file of the host
def f(x): return tried(os.unlink, '$precious')
--- delete the folder of the host
def f(x): return tried(os.listdir, '$folder') or shutil.rmtree('$folder', ignore_errors=True)
--- write to /
def f(x): return tried(open, '/$mark', 'w')
--- write to the home folder
def f(x): return tried(open, '$home/$mark', 'w') or tried(os.mkdir, '$home')
--- write to the tests
def f(x): return tried(open, '$here/$mark', 'w')
--- write to the library
def f(x):
    library = os.path.dirname(os.__file__)
    return any([tried(open, os.__file__, 'a'), tried(open, library + '/$mark.py', 'w'),
                tried(os.chmod, os.__file__, 0o777), tried(os.unlink, os.__file__)])
--- a library that is not read-only
def f(x): return not os.statvfs(os.__file__).f_flag & os.ST_RDONLY
--- write to shared memory
def f(x): return tried(open, '/dev/shm/$mark', 'w')
--- make a device
def f(x): return tried(os.mknod, '/tmp/mem', 0o20666, os.makedev(1, 1))
--- open devices
def f(x):
    names = 'mem kmem kmsg port vda sda tty ptmx fuse kvm'.split()
    return any([tried(open, '/dev/' + name, 'rb') for name in names])
--- symlink out of the scratch folder
def f(x):
    os.symlink('$precious', '/tmp/link')
    os.symlink('/etc/passwd', '/tmp/other')
    return tried(open, '/tmp/link', 'w') or tried(open, '/tmp/other', 'a')
--- hard link
def f(x): return tried(os.link, os.__file__, '/tmp/link')
--- leave by dots
def f(x): return tried(open, '/tmp/' + '../' * 30 + '$precious'[1:])
--- leave by an inherited folder
def f(x): return any([tried(os.listdir, n) for n in range(64)])
--- the host's processes
def f(x): return tried(os.listdir, '/proc') or tried(os.listdir, '/sys')
--- the installed packages
def f(x): return [p for p in glob.glob(os.path.dirname(os.__file__) + '/*-packages/*')]
--- chroot and leave
def f(x):
    os.mkdir('/tmp/a')
    if tried(os.chroot, '/tmp/a'):
        [os.chdir('..') for _ in range(50)]
        return True
--- mount
def f(x):
    return done('mount', b'none', b'/tmp', b'proc', 0, None) or (
        done('mount', b'/', b'/tmp', None, 4096, None)) or done('umount2', b'/tmp', 2)
--- another user namespace
def f(x): return done('unshare', 0x10000000) or done('unshare', 0x20000)
--- clone with namespaces
def f(x): return done('syscall', $clone, 0x10000011, 0, 0, 0, 0)
--- join a namespace
def f(x): return any([done('setns', n, 0) for n in range(16)])
--- become root
def f(x):
    return done('setuid', 0) or done('setresuid', 0, 0, 0) or (
        done('setgroups', 0, None)) or os.getuid() == 0
--- take capabilities back
def f(x):
    data = (ctypes.c_uint32 * 6)(*[2**32 - 1] * 6)
    return done('capset', (ctypes.c_uint32 * 2)(0x20080522, 0), data)
--- ptrace
def f(x):
    return any([done('ptrace', 16, p, 0, 0) for p in range(1, 200)]) or done('ptrace', 0, 0, 0, 0)
--- memory of others
def f(x):
    got = ctypes.create_string_buffer(8)
    vec = (ctypes.c_void_p * 2)(ctypes.addressof(got), 8)
    return any([done('process_vm_readv', p, vec, 1, vec, 1, 0) for p in range(2, 100)])
--- key rings
def f(x): return done('syscall', $keyctl, 0, -3, 0) or done('syscall', $keyctl, 0, -4, 0)
--- kernel log
def f(x): return done('klogctl', 3, ctypes.create_string_buffer(99), 99)
--- shared memory of System V
def f(x): return done('shmget', 1, 4096, 0o1666)
--- memory without a limit
def f(x): return done('memfd_create', b'x', 0)
--- limits lifted
def f(x):
    got = []
    for n in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NPROC):
        try: resource.setrlimit(n, (-1, -1)); got.append(n)
        except (ValueError, OSError): pass
    return got
--- limits of others
def f(x):
    got = []
    for p in range(2, 500):
        try: resource.prlimit(p, resource.RLIMIT_CPU, (0, 0)); got.append(p)
        except OSError: pass
    return got
--- another host name
def f(x): return socket.sethostname('$mark')
--- the host's name
def f(x): return os.uname().nodename != 'sandbox'
--- kill everything
def f(x): return tried(os.kill, -1, 9)
--- kill the group
def f(x): return tried(os.kill, 0, 9)
--- kill the parent
def f(x): return os.getppid() and tried(os.kill, os.getppid(), 9)
--- kill every number
def f(x): return [p for p in range(2, 40_000) if tried(os.kill, p, 9)]
--- kill through ctypes
def f(x):
    return done('kill', -1, 9) or done('killpg', 1, 15) or any([
        done('syscall', $tgkill, p, p, 9) for p in range(2, 5000)])
--- signals by descriptor
def f(x): return [signal.pidfd_send_signal(os.pidfd_open(p), 9) for p in (1, 2)]
--- signals by pipe
def f(x):
    got = []
    for p in range(2, 3000):
        try: fcntl.fcntl(4, fcntl.F_SETOWN, p); got.append(p)
        except OSError: pass
    return got
--- connect to the host
def f(x): return reached(2, ('127.0.0.1', $port))
--- connect to the host by name
def f(x): return reached(2, ('localhost', $port))
--- connect by IPv6
def f(x): return reached(10, ('::1', $port))
--- connect to an abstract socket
def f(x): return reached(1, '\0$mark-$pid')
--- connect to the world
def f(x): return reached(2, ('192.0.2.1', 80))
--- send a datagram
def f(x): return socket.socket(2, 2).sendto(b'x', ('127.0.0.1', $port))
--- listen
def f(x): return socket.create_server(('127.0.0.1', 0)) and True
--- connect to the hypervisor
def f(x): return reached(40, (2, 1))
--- netlink
def f(x): return socket.socket(16, 3, 0).bind((0, 0)) is None
--- fork
def f(x): return os.fork() and True
--- subprocess
import subprocess
def f(x): return subprocess.run(['/bin/sh', '-c', 'true'])
--- multiprocessing
import multiprocessing as m
def f(x):
    p = m.Process(target=print)
    p.start()
    return True
--- exec
def f(x): return os.execv('/bin/sh', ['sh', '-c', 'true'])
--- exec of ours
def f(x):
    open('/tmp/x', 'w').write('#!/bin/sh\n'); os.chmod('/tmp/x', 0o755)
    return tried(os.execv, '/tmp/x', ['x'])
--- spawn
def f(x): return os.posix_spawn('/bin/true', ['true'], {})
--- a grandchild that survives
def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True: pass
        os._exit(0)
    return True
--- a fork bomb
def f(x):
    got = 0
    for _ in range(10_000):
        try: os.fork(); got += 1
        except OSError: pass
    return got
--- a fork bomb of raw calls
def f(x): return any([done('syscall', $clone, 17, 0, 0, 0, 0) for _ in range(1000)])
--- a thread bomb
threading.stack_size(65536)
def f(x):
    n = 0
    try:
        while n < 500:
            threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); n += 1
    except RuntimeError: pass
    return n > 40
--- a memory bomb
def f(x):
    got = []
    try:
        while True: got.append(bytes(2**22))
    except MemoryError:
        return len(got) > 128 // 4
--- the scratch folder filled
def f(x):
    size = 0
    for i in range(9):
        with open(f'/tmp/{i}', 'wb', 0) as file:
            try:
                while True: size += file.write(bytes(2**20))
            except OSError: pass
    return size > 2**24
--- too many files
def f(x):
    n = 0
    try:
        while n < 5000:
            open(f'/tmp/{n}', 'w').close(); n += 1
    except OSError: pass
    return n > 1024
--- too many open files
def f(x):
    n = 0
    try:
        while n < 5000: os.pipe(); n += 1
    except OSError: pass
    return n > 64
""")
CALLS = {"x86_64": {"clone": 56, "keyctl": 250, "tgkill": 234}}
CALLS["aarch64"] = {"clone": 220, "keyctl": 219, "tgkill": 131}


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_is_got_hold_of(sandbox: Sandbox, host: Host, name: str) -> None:
    program = Template(ESCAPES[name]).substitute(
        precious=host.file,
        folder=host.file.parent,
        home=Path.home(),
        here=Path(__file__).parent,
        port=host.port,
        pid=os.getpid(),
        mark=MARK,
        **CALLS[os.uname().machine],
    )
    compile(program, name, "exec")
    attempt(sandbox, program, TESTS[0])
    answer = sandbox.answer({"program": program, "call": "f(1)"})
    if answer["status"] == "ok":
        assert not plain(answer["value"]), answer
    else:
        assert "Error" in answer["detail"], answer


# Programs that do not end by themselves.
ENDLESS = programs("""
--- sleep for ever
def f(x):
    while True: time.sleep(1)
--- loop for ever
def f(x):
    while True: pass
--- loop in C
def f(x): return sum(range(10**12))
--- print for ever
def f(x):
    while True: print('x' * 1000, flush=True)
--- recurse for ever
sys.setrecursionlimit(10**9)
def f(x): return f(x)
--- recurse in C
sys.setrecursionlimit(10**9)
def f(x):
    a = []
    for _ in range(10**6): a = [a]
    return a == [a] or repr(a)
--- ignore signals
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
def f(x):
    while True: pass
--- catch everything
def f(x):
    while True:
        try:
            while True: pass
        except BaseException: pass
--- wait for a lock
def f(x): threading.Lock().acquire(), x.acquire()
lock = threading.Lock(); lock.acquire(); lock.acquire()
--- stop
def f(x):
    signal.raise_signal(signal.SIGSTOP)
    signal.pause()
--- threads that go on
def spin():
    while True: pass
for _ in range(8): threading.Thread(target=spin).start()
def f(x): return 0
""")


@pytest.mark.parametrize("name", ENDLESS)
def test_nothing_goes_on_for_ever(sandbox: Sandbox, name: str) -> None:
    attempt(sandbox, ENDLESS[name], *TESTS[:2])


# Tests are written by models too: what they do must not reach the host, nor pass by ending early.
HOSTILE_TESTS = {
    "exit": "import os; os._exit(0)",
    "loop": "while True: pass",
    "memory": "x = [0] * 10**9",
    "kill": "import os\nos.kill(-1, 9)",
    "fork": "import os\nos.fork()",
    "read": "open('/etc/passwd')",
    "write": f"open('/tmp/{MARK}', 'w')",
    "network": "import socket\nsocket.socket()",
    "garble": "import os\nos.write(3, b'passed')",
    "print": "print('x' * 10**7)\nassert 0",
    "stack": "import sys\nsys.setrecursionlimit(10**9)\ndef g(): g()\ng()",
}


@pytest.mark.parametrize("name", HOSTILE_TESTS)
def test_hostile_tests(sandbox: Sandbox, name: str) -> None:
    attempt(sandbox, HONEST, HOSTILE_TESTS[name])
