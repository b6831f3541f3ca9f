"""The sandbox: which programs pass which tests, and what comes back from a call."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from ponder.errors import PonderError
from ponder.outside import Outside
from ponder.verify.sandbox import Limits, NotPlain, Sandbox, plain
from ponder.verify.sandbox import service as service_module
from ponder.verify.sandbox.inside.plain import encode
from ponder.verify.sandbox.process import Refused, Zygote

QUICK = Limits(seconds=3.0, cpu_seconds=1, memory_mb=256)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        made = Sandbox(QUICK)
    except PonderError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def run(
    sandbox: Sandbox, program: str, *tests: str, entry_point: str | None = None, setup: str = ""
) -> dict[str, Any]:
    request = {"program": program, "tests": list(tests), "setup": setup}
    answer = sandbox.answer({**request, "entry_point": entry_point})
    assert json.loads(json.dumps(answer)) == answer
    assert answer["total"] == len(tests) == len(answer["results"])
    assert answer["passed"] == sum(result["ok"] for result in answer["results"])
    return answer


def value(sandbox: Sandbox, program: str, call: str | None = "solution()") -> Any:
    answer = sandbox.answer({"program": program, "call": call})
    assert answer["status"] == "ok", answer
    assert json.loads(json.dumps(answer)) == answer
    return plain(answer["value"])


# Which programs pass

# The second where the machine is busy.
TOO_LONG = ("it used more than 1 seconds of processor time", "the time is up")
RIGHT = "def double(x):\n    return [2 * each for each in x]"


def test_right_wrong_and_partly_right(sandbox: Sandbox) -> None:
    tests = ("assert double([1, 2]) == [2, 4]", "assert double([]) == []")
    assert run(sandbox, RIGHT, *tests)["status"] == "passed"
    wrong = run(sandbox, "def double(x):\n    return x", *tests)
    assert (wrong["status"], wrong["passed"]) == ("failed", 1)
    assert wrong["results"][0] == {
        "ok": False,
        "why": "AssertionError in assert double([1, 2]) == [2, 4]",
    }
    assert wrong["detail"] == wrong["results"][0]["why"]


def test_no_tests_are_not_passed(sandbox: Sandbox) -> None:
    assert run(sandbox, RIGHT)["status"] == "failed"


def test_a_check_of_the_entry_point(sandbox: Sandbox) -> None:
    check = (
        "METADATA = {'author': 'x'}\n\n"
        "def check(candidate):\n"
        "    assert candidate([3]) == [6], 'three'\n"
        "    assert tuple(double([1])) == tuple(candidate([1]))\n"
    )
    assert run(sandbox, RIGHT, check, entry_point="double")["status"] == "passed"
    wrong = run(sandbox, "def double(x): return x", check, entry_point="double")
    assert wrong["results"][0]["why"].startswith("AssertionError: three in assert candidate([3])")
    twice = check + "check(double)"
    assert run(sandbox, RIGHT, twice, entry_point="double")["status"] == "passed"


def test_a_check_that_is_not_called_is_no_pass_of_a_wrong_program(sandbox: Sandbox) -> None:
    check = "def check(candidate):\n    assert candidate(1) == 2"
    assert run(sandbox, "def f(x): return x", check, entry_point="f")["status"] == "failed"


def test_setup_is_for_the_tests(sandbox: Sandbox) -> None:
    test = "assert close(half(3), 1.5)"
    setup = "import math\ndef close(a, b): return math.isclose(a, b)"
    assert run(sandbox, "half = lambda x: x / 2", test, setup=setup)["status"] == "passed"


def test_modules_that_tests_forget_to_import(sandbox: Sandbox) -> None:
    program = "def area(r): return 3.14159 * r * r"
    test = "assert math.isclose(area(1), math.pi, rel_tol=1e-3)"
    assert run(sandbox, program, test)["status"] == "passed"


def test_an_entry_point_named_like_a_builtin(sandbox: Sandbox) -> None:
    test = "assert sum(10, 15) == 6"
    program = "def sum(a, b):\n    return 6"
    assert run(sandbox, program, test, entry_point="sum")["status"] == "passed"
    assert run(sandbox, program, test)["status"] == "failed"  # the tests' own sum


def test_exceptions_that_tests_expect(sandbox: Sandbox) -> None:
    program = """
class Odd(ValueError):
    pass
def half(x):
    if x % 2:
        raise Odd(f"{x} is odd")
    return x // 2
def decode(data):
    return data.decode()
"""
    expects = """
try:
    half(3)
except ValueError as error:
    assert str(error) == "3 is odd"
else:
    assert False
"""
    unicode = "try:\n    decode(b'\\xff')\n    assert 0\nexcept UnicodeError:\n    pass"
    assert run(sandbox, program, expects, unicode)["status"] == "passed"
    assert run(sandbox, "def half(x):\n    return 1", expects)["status"] == "failed"
    raises = run(sandbox, "def f(x):\n    return 1 / 0", "f(1)")
    assert raises["detail"] == "ZeroDivisionError: division by zero in f(1)"


@pytest.mark.parametrize(
    "returned",
    [
        "(1, [2, {3: (4,)}])",
        "{1, 2}",
        "frozenset([(1, 2)])",
        "{(1, 2): {'a': None}}",
        "0.1 + 0.2",
        "-0.0",
        "float('inf')",
        "2 ** 5000 + 1",
        "-(2 ** 53)",
        "1j",
        "b'\\x00\\xff'",
        "'\\ud800 \\u00e9'",
        "True",
        "None",
        "__import__('fractions').Fraction(1, 3)",
        "__import__('decimal').Decimal('0.10')",
        "{'int': '0x1'}",
        "[[]]",
        "''",
    ],
)
def test_values_arrive_exactly(sandbox: Sandbox, returned: str) -> None:
    program = f"def f(x=None): return {returned}\ndef same(x): return x"
    test = f"assert repr(f()) == repr({returned})\nassert type(f()) is type({returned})"
    back = f"assert repr(same({returned})) == repr({returned})"
    assert run(sandbox, program, test, back)["detail"] == ""


def test_an_int_is_no_bool_and_a_tuple_no_list(sandbox: Sandbox) -> None:
    program = "def f(): return (1,)\ndef g(): return 1"
    tests = ("assert f() == [1]", "assert g() is True", "assert f() == (1,)", "assert g() == 1")
    assert [each["ok"] for each in run(sandbox, program, *tests)["results"]] == [0, 0, 1, 1]


def test_subclasses_arrive_as_their_base(sandbox: Sandbox) -> None:
    program = """
from collections import Counter, OrderedDict, namedtuple
import enum
class Color(enum.IntEnum):
    RED = 1
def f(): return Counter("aab"), namedtuple("P", "x")(1), Color.RED, OrderedDict(a=1)
"""
    test = "assert f() == ({'a': 2, 'b': 1}, (1,), 1, {'a': 1})\nassert type(f()[0]) is dict"
    assert run(sandbox, program, test)["detail"] == ""


def test_iterators_arrive_as_iterators(sandbox: Sandbox) -> None:
    program = "def f(n):\n    yield from range(n)"
    tests = ("assert list(f(3)) == [0, 1, 2]", "assert f(3) == [0, 1, 2]")
    assert [each["ok"] for each in run(sandbox, program, *tests)["results"]] == [True, False]
    endless = "import itertools\ndef f(n): return itertools.count()"
    assert "iterator" in run(sandbox, endless, "next(f(1))")["detail"]


def test_what_is_no_plain_data_fails_the_test(sandbox: Sandbox) -> None:
    program = "def f(x): return lambda: 1\ndef g(x): return x"
    swallow = "try:\n    f(1)\nexcept BaseException:\n    pass"
    answer = run(sandbox, program, "assert f(1)", swallow, "g(lambda: 1)", "assert g(1)")
    assert [each["ok"] for each in answer["results"]] == [False, False, False, True]
    assert answer["detail"] == "a function is not plain data"
    cycle = "def f(x):\n    x.append(x)\n    return x"
    assert "RecursionError" in run(sandbox, cycle, "f([])")["detail"]


def test_changed_arguments_are_changed(sandbox: Sandbox) -> None:
    program = """
def turn(rows):
    rows.reverse()
    rows[0].append(7)
def add(d, s):
    d["k"] = s.pop()
    raise KeyError("late")
"""
    test = """
rows = [[1], [2]]
assert turn(rows) is None
assert rows == [[2, 7], [1]]
d, s = {}, {5}
try:
    add(d, s=s)
except KeyError:
    assert d == {"k": 5}
"""
    assert run(sandbox, program, test)["detail"] == ""


def test_keywords_and_several_functions(sandbox: Sandbox) -> None:
    program = "def f(a, *, b): return a - b\ndef g(x): return f(x, b=1)"
    assert run(sandbox, program, "assert f(1, b=g(3)) == -1")["status"] == "passed"


def test_state_lasts_within_a_request_only(sandbox: Sandbox) -> None:
    program = """
import builtins, random
n = 0
def count():
    global n
    n += 1
    open("/tmp/n", "a").write("x")
    builtins.n = n
    return n, len(open("/tmp/n").read()), random.random()
"""
    test = "assert count()[:2] == (1, 1) and count()[:2] == (2, 2)"
    assert run(sandbox, program, test)["status"] == "passed"
    assert run(sandbox, program, test)["status"] == "passed"
    assert run(sandbox, "def f(): return n", "f()")["detail"].startswith("NameError")
    assert value(sandbox, program, "count()") == value(sandbox, program, "count()")


def test_answers_are_the_same_in_another_sandbox(sandbox: Sandbox) -> None:
    program = "import random\ndef solution(): return [str({'a', 'b', 'c', 'd'}), random.random()]"
    with_other = Sandbox(QUICK)
    try:
        assert value(with_other, program) == value(sandbox, program)
        assert with_other.fingerprint == sandbox.fingerprint
    finally:
        with_other.close()


# Programs that go wrong


@pytest.mark.parametrize(
    ("program", "detail"),
    [
        ("def f(x:\n", "the program cannot be loaded: line 1: SyntaxError: '(' was never closed"),
        ("1 / 0", "the program cannot be loaded: line 1: ZeroDivisionError: division by zero"),
        ("\0", "the program cannot be loaded: "),
        ("import numpy", "the program cannot be loaded: line 1: ModuleNotFoundError"),
        ("def g(x): return 1", "the program defines no function f"),
        ("f = 3", "the program defines no function f"),
        ("def f(x): return input()", "EOFError"),
        ("def f(x): return f(x)", "RecursionError"),
        ("def f(x): return [0] * 10**9", "MemoryError"),
        ("def f(x): return 'x' * (9 * 2**20)", "a message of "),
        ("def f(x): return {[]: 1}", "TypeError"),
        ("import sys\ndef f(x): sys.exit(0)", "line 2: SystemExit: 0"),
        ("import os\ndef f(x): os._exit(0)", "the program exited with status 0"),
        ("def f(x): raise ValueError(10**5000)", "ValueError"),
        ("class E(Exception):\n def __str__(s): 1/0\ndef f(x): raise E()", "Exception"),
    ],
)
def test_why_a_program_fails(sandbox: Sandbox, program: str, detail: str) -> None:
    answer = run(sandbox, program, "assert f(1) == 1", "assert f(2) == 2")
    assert answer["passed"] == 0
    assert answer["detail"].startswith(detail)
    assert "\n" not in answer["detail"]


def test_an_endless_loop_ends_and_keeps_what_passed(sandbox: Sandbox) -> None:
    program = "def f(x):\n    while x: pass\n    return x"
    answer = run(sandbox, program, "assert f(0) == 0", "f(1)", "assert f(0) == 0")
    assert [each["ok"] for each in answer["results"]] == [True, False, False]
    assert answer["results"][1]["why"] in TOO_LONG
    assert answer["results"][2]["why"].startswith("not run: ")


def test_sleeping_ends_at_the_limit() -> None:
    with_little = _or_skip(Limits(seconds=0.3))
    try:
        start = time.monotonic()
        answer = run(with_little, "import time\ndef f(x): time.sleep(60)", "f(1)")
        assert answer["detail"] == "the time is up"
        sleepy_test = run(with_little, RIGHT, "import time\ntime.sleep(60)")
        assert sleepy_test["detail"] == "the time is up"
        assert time.monotonic() - start < 5
        assert run(with_little, RIGHT, "assert double([1]) == [2]")["status"] == "passed"
    finally:
        with_little.close()


def test_much_output_is_cut(sandbox: Sandbox) -> None:
    program = "def f(x):\n    print('y' * 30000)\n    return x"
    assert run(sandbox, program, "f(1)", "f(1)")["status"] == "passed"
    endless = run(sandbox, program, "f(1)", "f(1)", "f(1)", "f(1)")
    assert endless["detail"] == "it printed more than 65536 bytes"


def test_tests_that_go_wrong(sandbox: Sandbox) -> None:
    tests = ("assert (", "assert nothing(1)", "import sys; sys.exit(0)", "assert double([1])")
    answer = run(sandbox, RIGHT, *tests)
    assert [each["ok"] for each in answer["results"]] == [False, False, False, True]
    dead = run(sandbox, RIGHT, "assert double([1])", "import os; os._exit(0)")
    assert (dead["status"], dead["passed"]) == ("failed", 0)


# Calls


def test_the_value_of_a_call(sandbox: Sandbox) -> None:
    program = (
        "from fractions import Fraction\ndef solution():\n    print('hm')\n    return {0: 1/3}"
    )
    answer = sandbox.answer({"program": program, "call": "solution()"})
    assert answer == {
        "status": "ok",
        "value": {"dict": [[0, 1 / 3]]},
        "type": "dict",
        "stdout": "hm\n",
        "detail": "",
    }
    assert value(sandbox, program, "Fraction(3, 4)") == Fraction(3, 4)
    assert value(sandbox, "", "10 ** 6000") == 10**6000
    assert value(sandbox, "def solution(): return __name__") == "program"
    assert value(sandbox, "import decimal", "decimal.Decimal('1.50')") == Decimal("1.50")


def test_what_a_script_prints(sandbox: Sandbox) -> None:
    program = "if __name__ == '__main__':\n    print(6 * 7)\n    exit()"
    answer = sandbox.answer({"program": program, "call": None})
    assert (answer["status"], answer["stdout"], answer["value"]) == ("ok", "42\n", None)
    failed = sandbox.answer({"program": "print(1)\nraise SystemExit('no')", "call": None})
    assert (failed["status"], failed["stdout"]) == ("failed", "1\n")
    raised = sandbox.answer({"program": "print(1)\nx = {}['k']", "call": None})
    assert (raised["detail"], raised["stdout"]) == ("line 2: KeyError: 'k'", "1\n")
    raw = "import os\nos.write(1, b'\\xff' * 70000)"
    assert sandbox.answer({"program": raw, "call": None})["detail"].startswith("it printed more")


@pytest.mark.parametrize(
    ("program", "call", "detail"),
    [
        ("def solution(): return object()", "solution()", "a object is not plain data"),
        ("", "solution()", "NameError: name 'solution' is not defined"),
        ("", "1 +", "SyntaxError: invalid syntax"),
        ("", "'x' * 70000", "the value is longer than 65536 bytes"),
        ("import os", "os._exit(3)", "the program exited with status 3"),
        ("", "[" * 500 + "]" * 500, "SyntaxError: too many nested parentheses"),
    ],
)
def test_calls_that_fail(sandbox: Sandbox, program: str, call: str, detail: str) -> None:
    answer = sandbox.answer({"program": program, "call": call})
    assert (answer["status"], answer["value"], answer["type"]) == ("failed", None, "")
    assert answer["detail"].startswith(detail)


def test_doors_of_the_codec() -> None:
    form: Any
    for form in ({}, {"set": [[]]}, {"set": 1}, {"int": 5}, {"complex": [1, 2]}, {"a": 1, "b": 2}):
        with pytest.raises(NotPlain):
            plain(form)
    for form in ({"fraction": [1, 0]}, {"decimal": "x"}, {"dict": ["ab"]}, {"str": "ff"}, {"x": 1}):
        with pytest.raises(NotPlain):
            plain(form)
    for odd in (object(), range(3), [len], bytearray(b"x")):
        with pytest.raises(NotPlain):
            encode(odd)


# The service


def test_it_answers_questions_of_programs(sandbox: Sandbox) -> None:
    asked = Outside.ask(sandbox, program=RIGHT, tests=["assert double([1]) == [2]"])
    ((answer, log_prob),) = asked.support()
    assert (answer["status"], log_prob) == ("passed", 0.0)


def test_the_fingerprint_follows_what_matters(sandbox: Sandbox) -> None:
    other = _or_skip(Limits(memory_mb=257))
    other.close()
    assert other.fingerprint != sandbox.fingerprint


@pytest.mark.parametrize(
    "request_",
    [
        {"tests": []},
        {"program": 1, "tests": []},
        {"program": "", "tests": "assert 1"},
        {"program": "", "tests": [1]},
        {"program": "", "tests": [], "entry_point": 3},
        {"program": "", "tests": [], "setup": 3},
        {"program": "", "call": 3},
        {"program": "x" * 2**20, "tests": []},
        {"program": ""},
    ],
)
def test_requests_that_are_none(sandbox: Sandbox, request_: dict[str, Any]) -> None:
    with pytest.raises(PonderError):
        sandbox.answer(request_)


@pytest.mark.parametrize(
    "wrong",
    [{"seconds": 0}, {"seconds": float("nan")}, {"memory_mb": 1}, {"threads": True}],
)
def test_limits_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(PonderError):
        Limits(**wrong)


def test_abort_from_another_thread() -> None:
    slow = _or_skip(Limits(seconds=60.0, cpu_seconds=60))
    try:
        for request in ({"tests": ["f(1)"]}, {"call": "f(1)"}):
            timer = threading.Timer(0.2, slow.abort)
            timer.start()
            answer = slow.answer({"program": "def f(x):\n    while True: pass", **request})
            timer.join()
            assert answer["status"] == "cancelled"
        slow.abort()  # nothing runs: no effect
        assert run(slow, RIGHT, "assert double([1]) == [2]")["status"] == "passed"
        assert processes_of(slow) == 2
    finally:
        slow.close()


def test_it_starts_again_after_it_was_killed_or_closed() -> None:
    made = _or_skip(QUICK)
    try:
        assert made._zygote is not None
        os.kill(made._zygote._process.pid, signal.SIGKILL)
        assert run(made, RIGHT, "assert double([1]) == [2]")["status"] == "passed"
        made.close()
        assert run(made, RIGHT, "assert double([1]) == [2]")["status"] == "passed"
    finally:
        made.close()


def test_where_nothing_can_be_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(limits: Limits, *, namespaces: bool) -> Zygote:
        if namespaces:
            raise Refused("unshare: Operation not permitted")
        return Zygote(limits, namespaces=False)

    monkeypatch.setattr(service_module, "Zygote", refused)
    with pytest.raises(PonderError, match="--unsafe-exec") as caught:
        Sandbox(QUICK)
    assert "\n" not in str(caught.value)
    unsafe = Sandbox(QUICK, unsafe=True)
    try:
        assert "unsafe=True" in unsafe.fingerprint
        assert run(unsafe, RIGHT, "assert double([1]) == [2]")["status"] == "passed"
        answer = run(unsafe, "def f(x):\n    while True: pass", "f(1)")
        assert answer["detail"] in TOO_LONG
        assert value(unsafe, "import os", "os.getuid()") == (os.getuid() or 65534)
        assert run(unsafe, "import os\ndef f(x): return os.fork()", "f(1)")["status"] == "failed"
        folder = value(unsafe, "import os\nopen('a', 'w').close()", "os.getcwd()")
        assert not os.path.exists(folder)
    finally:
        unsafe.close()


def test_the_state_of_the_host_is_not_touched(sandbox: Sandbox) -> None:
    state = random.getstate()
    run(sandbox, RIGHT, "assert double([1]) == [2]")
    assert random.getstate() == state
    assert processes_of(sandbox) == 2


def processes_of(sandbox: Sandbox) -> int:
    """How many processes the sandbox consists of: two when nothing runs."""
    assert sandbox._zygote is not None
    family = {sandbox._zygote._process.pid}
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
    while True:
        more = {child for child, parent in parents.items() if parent in family} - family
        if not more:
            return len(family)
        family |= more


def _or_skip(limits: Limits) -> Sandbox:
    try:
        return Sandbox(limits)
    except PonderError as error:
        pytest.skip(str(error))
