"""Workers: limits that hold, crashes that stay where they happen, and no stale answers."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ponder.errors import PonderError
from ponder.verify.worker import Worker, failed

TARGET = """
import ctypes, fcntl, mmap, os, sys, time
from ponder.errors import PonderError

calls = 0

def respond(request):
    global calls
    calls += 1
    what = request["what"]
    if what == "sleep":
        time.sleep(60)
    if what == "spin":
        while True:
            pass
    if what == "hold the interpreter":
        return {"large": 9 ** 9 ** 9 % 7}
    if what == "leave a child":
        if os.fork() == 0:
            time.sleep(60)
        time.sleep(60)
    if what == "crash":
        ctypes.string_at(0)
    if what == "os._exit":
        os._exit(3)
    if what == "sys.exit":
        sys.exit(3)
    if what == "raise":
        raise ValueError("two\\nlines")
    if what == "mend":
        raise PonderError("install it")
    if what == "print":
        print('{"answer": {"forged": true}}', flush=True)
        os.write(1, b'{"answer": {"forged": true}}\\n')
        os.write(2, b'noise')
    if what == "read":
        return {"read": sys.stdin.read()}
    if what == "memory":
        mmap.mmap(-1, 5 << 30)
    if what == "no dict":
        return 5
    if what == "no json":
        return {"object": object()}
    if what == "lock":
        file = open(request["path"], "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("locked")
        file.flush()
        while True:
            pass
    return {"echo": request, "calls": calls, "pid": os.getpid()}

not_a_function = 5
"""


@pytest.fixture(autouse=True)
def target(tmp_path, monkeypatch):
    (tmp_path / "worker_target.py").write_text(TARGET)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def worker():
    with_short_limit = Worker("worker_target:respond", 1.0)
    yield with_short_limit
    with_short_limit.close()


def test_one_process_answers_all_requests(worker):
    odd = {"what": "echo", "text": "a\0b\ud800\n\u2028", "list": [1, 2.5, None, True, {"x": []}]}
    first, second = worker.answer(odd), worker.answer({"what": "echo", "big": "x" * 3_000_000})
    assert first["echo"] == odd
    assert len(second["echo"]["big"]) == 3_000_000
    assert (first["calls"], second["calls"]) == (1, 2)
    assert first["pid"] == second["pid"] != os.getpid()


@pytest.mark.parametrize("what", ["sleep", "spin", "hold the interpreter", "leave a child"])
def test_the_limit_kills_and_the_next_request_is_answered(worker, what):
    before = worker.answer({"what": "echo"})["pid"]
    began = time.monotonic()
    answer = worker.answer({"what": what})
    assert answer["status"] == "timeout"
    assert failed(answer)
    assert time.monotonic() - began < 3
    after = worker.answer({"what": "echo"})
    assert after["calls"] == 1
    assert after["pid"] != before


@pytest.mark.parametrize(
    ("what", "status", "detail"),
    [
        ("crash", "crashed", "signal 11"),
        ("os._exit", "crashed", "exit status 3"),
        ("sys.exit", "error", "SystemExit: 3"),
        ("raise", "error", "ValueError: two"),
        ("memory", "error", "Cannot allocate memory"),
        ("no dict", "error", "int"),
        ("no json", "error", "TypeError"),
    ],
)
def test_what_goes_wrong_is_an_answer_to_that_request_only(worker, what, status, detail):
    answer = worker.answer({"what": what})
    assert answer["status"] == status
    assert detail in answer["detail"]
    assert "\n" not in answer["detail"]
    assert worker.answer({"what": "echo"})["echo"] == {"what": "echo"}


def test_printing_does_not_forge_answers(worker):
    assert worker.answer({"what": "print"})["echo"] == {"what": "print"}
    assert worker.answer({"what": "read"}) == {"read": ""}
    assert worker.answer({"what": "echo"})["calls"] == 3


def test_what_the_user_can_mend_is_raised(worker):
    with pytest.raises(PonderError, match="install it"):
        worker.answer({"what": "mend"})
    assert worker.answer({"what": "echo"})["calls"] == 2
    with pytest.raises(PonderError, match="no_such_module"):
        Worker("no_such_module:f", 1).answer({})
    with pytest.raises(PonderError, match="nothing_here"):
        Worker("worker_target:nothing_here", 1).answer({})
    with pytest.raises(PonderError, match="seconds"):
        Worker("worker_target:respond", 0)


def test_the_warm_request_belongs_to_the_start():
    worker = Worker("worker_target:respond", 1.0, warm={"what": "echo"})
    assert worker.answer({"what": "echo"})["calls"] == 2
    worker.answer({"what": "os._exit"})
    assert worker.answer({"what": "echo"})["calls"] == 2
    worker.close()


def test_abort_from_another_thread():
    worker = Worker("worker_target:respond", 60)
    worker.abort()  # nothing is being answered
    assert worker.answer({"what": "echo"})["calls"] == 1
    worker.abort()
    assert worker.answer({"what": "echo"})["calls"] == 2
    threading.Timer(0.2, worker.abort).start()
    began = time.monotonic()
    assert worker.answer({"what": "sleep"})["status"] == "cancelled"
    assert time.monotonic() - began < 5
    assert worker.answer({"what": "echo"})["calls"] == 1
    worker.close()
    assert worker.answer({"what": "echo"})["calls"] == 1
    worker.close()
    worker.close()


def test_an_interrupted_request_leaves_no_answer_behind():
    worker = Worker("worker_target:respond", 60)
    worker.answer({"what": "echo"})

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            worker.answer({"what": "sleep"})
    finally:
        signal.signal(signal.SIGALRM, before)
    assert worker.answer({"what": "echo", "n": 2})["echo"]["n"] == 2
    worker.close()


def test_it_outlives_the_thread_that_started_it(worker):
    found = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: found.append(worker.answer({"what": "echo"})))
        thread.start()
        thread.join()
    found.append(worker.answer({"what": "echo"}))
    assert [answer["calls"] for answer in found] == [1, 2, 3]


def test_it_ignores_interrupts_and_ends_when_killed_between_requests(worker):
    pid = worker.answer({"what": "echo"})["pid"]
    os.kill(pid, signal.SIGINT)
    assert worker.answer({"what": "echo"})["calls"] == 2
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert worker.answer({"what": "echo"})["calls"] == 1


def test_a_script_without_a_main_guard_and_its_death(target):
    """The process holds a lock for as long as it lives; killing its parent must free it."""
    lock = target / "lock"
    script = target / "script.py"
    script.write_text(
        "import sys\n"
        "from ponder.verify.worker import Worker\n"
        "worker = Worker('worker_target:respond', 600)\n"
        "assert worker.answer({'what': 'echo'})['calls'] == 1\n"
        f"worker.answer({{'what': 'lock', 'path': {str(lock)!r}}})\n"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    parent = subprocess.Popen([sys.executable, script], env={**os.environ, "PYTHONPATH": path})
    try:
        _until(lambda: lock.exists() and lock.read_text() == "locked")
    finally:
        parent.kill()
        parent.wait()
    with lock.open() as file:
        _until(lambda: _locks(file))


def _locks(file) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _until(holds) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it has not happened within 30 s"
        time.sleep(0.02)
