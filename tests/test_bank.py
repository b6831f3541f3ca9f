"""The bank: nothing is paid twice, another seed is another sample, and a replay needs no model."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fake_decoder import BatchedLM, answers
from ponder.answering import Answer, Session, as_strategy
from ponder.api import infer
from ponder.bank import VERSION, Bank, sample_key
from ponder.binding import Binding
from ponder.blocks import draw, vote
from ponder.dist import Stream
from ponder.effects import Effects, Sample, program
from ponder.errors import PonderError
from ponder.ledger import Budget
from ponder.lm.protocol import Completion, Draw, NextToken, OptionLogProbs
from ponder.lm.remembered import RememberedLM
from ponder.lm.sampling_law import SamplingLaw
from ponder.lm.table import TableLM
from ponder.question import make_question
from ponder.runtime import Runtime
from toys import whole, writer


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(tmp_path / "bank.sqlite")


class Absent(TableLM):
    """A model that may not be asked."""

    def draw(self, dist: Completion, stream: Stream) -> Draw:
        raise AssertionError("paid twice")

    def next_log_probs(self, prompt: Any) -> Any:
        raise AssertionError("paid twice")


def absent(like: TableLM) -> Absent:
    return Absent(like.vocabulary, {}, name=like.name)


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_values_come_back_as_they_were(bank: Bank) -> None:
    model = writer()
    text = 'two\nlines, "quotes", é → 🦆, \0 and \ufffd'
    written = Draw(
        (5, 0, 70_000), text, "stop", (-0.5, -12.25, 0.0), (-0.25, -math.inf, 0.0), (1, 2)
    )
    completion = Completion(model, (1, 2))
    token = NextToken(model, (1,))
    options = OptionLogProbs(model, (1,), ((0,), (1, 2)))
    values: list[tuple[bytes, Any, Any]] = [
        (b"a" * 32, completion, written),
        (b"b" * 32, token, 17),
        (b"c" * 32, options, (-0.125, -math.inf)),
    ]
    bank.put([(key, "m", "q", "q/0", value) for key, _, value in values])
    assert len(bank) == 3
    for again in (bank, Bank(bank.path)):
        for key, dist, value in values:
            assert again.get(key, dist) == value
            assert type(again.get(key, dist)) is type(value)
        found: Any = again.get(b"a" * 32, completion)
        assert (found.logp, found.logq, found.prompt) == (written.logp, written.logq, (1, 2))
        assert again.get(b"d" * 32, completion) is None


def test_what_is_there_stays(bank: Bank) -> None:
    dist = NextToken(writer(), ())
    bank.put([(b"k", "m", "q", "0", 1)])
    bank.put([(b"k", "m", "q", "0", 2), (b"l", "m", "q", "1", 3)])
    assert (bank.get(b"k", dist), bank.get(b"l", dist)) == (1, 3)


def test_the_key_depends_on_everything_that_the_sample_depends_on() -> None:
    model, other = writer(), TableLM(("a", "<end>"), {}, name="other")
    law = SamplingLaw(0.7, 40, 0.9, 0.1)
    base = Completion(model, (1, 2), law, 10, ("x",))
    options = OptionLogProbs(model, (1, 2), ((1,), (2, 3)))
    different: list[Any] = [
        base,
        Completion(other, (1, 2), law, 10, ("x",)),
        Completion(model, (1, 2, 3), law, 10, ("x",)),
        Completion(model, (12,), law, 10, ("x",)),
        Completion(model, (1, 2), SamplingLaw(0.8, 40, 0.9, 0.1), 10, ("x",)),
        Completion(model, (1, 2), SamplingLaw(0.7, 41, 0.9, 0.1), 10, ("x",)),
        Completion(model, (1, 2), SamplingLaw(0.7, 40, 0.8, 0.1), 10, ("x",)),
        Completion(model, (1, 2), SamplingLaw(0.7, 40, 0.9, 0.2), 10, ("x",)),
        Completion(model, (1, 2), law, 11, ("x",)),
        Completion(model, (1, 2), law, 10, ("y",)),
        Completion(model, (1, 2), law, 10, ("x", "y")),
        Completion(model, (1, 2), law, 10, ()),
        Completion(model, (1, 2), law, 10, ("x",), segment=True),
        NextToken(model, (1, 2), law),
        NextToken(model, (1, 2)),
        options,
        OptionLogProbs(model, (1, 2), ((1, 2), (3,))),
        OptionLogProbs(model, (1,), ((1,), (2, 3))),
    ]
    keys = {sample_key(dist, stream) for dist in different for stream in (b"s", b"t")}
    assert len(keys) == 2 * len(different) - 3  # option probabilities have no randomness
    assert all(len(key) == 32 for key in keys)
    assert sample_key(options, b"s") == sample_key(options, b"t")
    kept = Completion(model, (1, 2), law, 10, ("x",), keep=True)
    assert sample_key(kept, b"s") == sample_key(base, b"s")
    whole_number = Completion(model, (1,), SamplingLaw(temperature=1, top_p=1, min_p=0))
    assert sample_key(whole_number, b"s") == sample_key(Completion(model, (1,)), b"s")


def test_the_key_is_the_same_in_another_process_and_another_version() -> None:
    dist = Completion(writer(), (1, 2), SamplingLaw(0.7), 10, ("\n",))
    wanted = "76847cc5a4410fcf09cc627fb84f4405"
    assert sample_key(dist, b"stream").hex()[:32] == wanted  # a change loses everybody's samples


def test_nothing_is_paid_twice(bank: Bank) -> None:
    model = writer()

    def posterior(model: TableLM, n: int, seed: int = 0, cap: int | None = None) -> Any:
        budget = Budget(max_calls=cap)
        return infer(whole(model) | draw(n) | vote, seed=seed, bank=bank, budget=budget)

    first = posterior(model, 8)
    assert len(bank) == 8
    assert posterior(absent(model), 8).shares == first.shares
    assert posterior(absent(model), 5).population.traces[:5] != ()
    more = posterior(model, 12, cap=4)  # only the four new ones are paid
    assert all(t.status == "finished" for t in more.population.traces)
    assert len(bank) == 12
    values = [t.value for t in more.population.traces]
    assert values[:8] == [t.value for t in first.population.traces]


def test_another_seed_question_or_law_is_another_sample(bank: Bank) -> None:
    model = writer()
    strategy = whole(model) | draw(8) | vote

    def values(seed: int, question: str) -> list[Any]:
        job = (question, strategy.bind(Binding()))
        (outcome,) = Runtime(seed=seed, bank=bank).run([job])
        return [t.value for t in outcome.value.population.traces]

    runs = {(s, q): values(s, q) for s in (0, 1) for q in ("a", "b")}
    assert len(bank) == 4 * 8
    assert len({tuple(v) for v in runs.values()}) == 4
    infer(whole(model, SamplingLaw(0.5)) | draw(8) | vote, bank=bank)
    assert len(bank) == 5 * 8
    assert {key: values(*key) for key in runs} == runs
    assert len(bank) == 5 * 8


def test_the_engine_and_the_bank_agree(bank: Bank) -> None:
    """Finished samples are banked after every step, and a second run asks only for the rest."""
    model = BatchedLM(cells=2000, width=4, ending=0.05)

    @program(normalised=True)
    def reply() -> Effects[str]:
        drawn = yield Sample(Completion(model, (1, 2, 3), max_tokens=30))
        return str(drawn.text)

    def run(watch: Any = None) -> tuple[Any, Runtime]:
        runtime = Runtime(bank=bank, watch=watch)
        (outcome,) = runtime.run([("q", (reply() | draw(12) | vote).bind(Binding()))])
        assert outcome.ledger.calls + outcome.ledger.banked >= 0
        return outcome, runtime

    seen: list[bool] = []

    def stop(runtime: Runtime) -> None:
        seen.append(len(bank) == runtime.spent.calls)
        if runtime.spent.calls >= 5:
            runtime.interrupt()

    _, cut = run(stop)
    assert all(seen)
    paid = cut.spent.calls
    assert 5 <= paid < 12
    assert len(bank) == paid
    outcome, rest = run()
    assert rest.spent.calls == 12 - paid
    assert rest.spent.banked > 0
    assert all(t.status == "finished" for t in outcome.value.population.traces)
    fresh = Runtime().run([("q", (reply() | draw(12) | vote).bind(Binding()))])
    assert next(fresh).value.shares == outcome.value.shares
    replayed, free = run()
    assert free.spent.tokens == 0
    assert replayed.value.shares == outcome.value.shares


_CHILD = """
import sys
sys.path[:0] = sys.argv[3:]
from toys import whole, writer
from ponder.api import infer
from ponder.bank import Bank
from ponder.blocks import draw, vote
bank = Bank(sys.argv[1])
sys.stdin.read(1)  # both begin together
for seed in range(15):
    shared = infer(whole(writer()) | draw(8) | vote, seed=seed, bank=bank)
    own = infer(whole(writer()) | draw(4) | vote, seed=1000 * int(sys.argv[2]) + seed, bank=bank)
    print(repr([t.value for t in shared.population.traces]))
"""


def test_two_processes_write_one_bank(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bank.sqlite"
    arguments = [sys.executable, "-c", _CHILD, str(path)]
    both = [
        subprocess.Popen(
            [*arguments, str(number), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (1, 2)
    ]
    said = [process.communicate("x")[0:2] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0] == said[1]
    assert said[0][1] == ""
    bank = Bank(path)
    assert len(bank) == 15 * 8 + 2 * 15 * 4
    again = infer(whole(absent(writer())) | draw(8) | vote, seed=3, bank=bank)
    assert repr([t.value for t in again.population.traces]) == said[0][0].splitlines()[3]


def test_another_process_may_create_the_bank_first(bank: Bank) -> None:
    class Late(Bank):
        """Sees no bank when it looks, and one once it has the lock."""

        looked = False

        def _version(self) -> int:
            seen = super()._version() if self.looked else 0
            self.looked = True
            return seen

    bank.put([(b"k", "m", "q", "0", 1)])
    assert len(Late(bank.path)) == 1


def test_a_newer_bank_is_refused(bank: Bank) -> None:
    bank.close()
    with sqlite3.connect(bank.path) as db:
        db.execute(f"PRAGMA user_version={VERSION + 1}")
    with pytest.raises(PonderError, match=f"version {VERSION + 1}.*upgrade ponder") as error:
        Bank(bank.path)
    one_line(error.value)


def _text(path: Path) -> None:
    path.write_text("this is my diary\n" * 100)


def _foreign(version: int) -> Any:
    def make(path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE bookmarks (url TEXT)")
            db.execute(f"PRAGMA user_version={version}")

    return make


@pytest.mark.parametrize("make", [_text, _foreign(0), _foreign(VERSION)])
def test_what_is_not_a_bank_is_refused_and_left_alone(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "diary"
    make(path)
    before = path.read_bytes()
    with pytest.raises(PonderError, match=r"diary.*--no-bank") as error:
        Bank(path)
    one_line(error.value)
    assert path.read_bytes() == before


def test_a_bank_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path in (tmp_path, file / "bank", Path("/proc/no/bank")):
        with pytest.raises(PonderError, match="cannot use the bank") as error:
            Bank(path)
        assert "--no-bank" in one_line(error.value)
    with pytest.raises(PonderError, match="there is no bank at"):
        Bank(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)
        try:
            said = as_nobody(lambda: Bank(folder / "bank.sqlite"))
        finally:
            folder.chmod(stat.S_IRWXU)
        assert said.startswith("PonderError: cannot use the bank")
        assert "--no-bank" in said
        assert list(folder.iterdir()) == []


def as_nobody(action: Any) -> str:
    """What ``action`` raises when it may not do everything, as root may."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "no error"
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            action()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def test_a_full_disk_loses_nothing_and_may_be_mended(bank: Bank) -> None:
    model = writer()
    infer(whole(model) | draw(8) | vote, bank=bank)
    db = bank._db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages + 1}")  # the disk is full
    with pytest.raises(PonderError, match="free some disk, or --no-bank") as error:
        infer(whole(model) | draw(2000) | vote, seed=1, bank=bank)
    assert "full" in one_line(error.value)
    assert len(bank) == 8
    other = Bank(bank.path)
    other.put([(b"x", "m", "q", "0", 1)])  # nothing is locked
    db.execute("PRAGMA max_page_count=1000000")
    infer(whole(model) | draw(2000) | vote, seed=1, bank=bank)
    assert len(bank) == 8 + 1 + 2000
    db.execute("PRAGMA max_page_count=1")
    with pytest.raises(PonderError, match="free some disk"):
        bank.remember("m", "x", "y" * 100_000)


def test_a_failed_write_leaves_no_transaction_open(bank: Bank) -> None:
    good = (b"k", "m", "q", "0", 1)
    with pytest.raises(PonderError, match="cannot write to the bank"):
        bank.put([good, (b"l", object(), "q", "1", 2)])  # type: ignore[list-item]
    assert len(bank) == 0
    bank.put([good])
    assert len(bank) == 1


def test_a_locked_bank_is_a_mistake_in_one_line(bank: Bank) -> None:
    other = sqlite3.connect(bank.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    bank._db.execute("PRAGMA busy_timeout=10")
    with pytest.raises(PonderError, match="locked"):
        bank.put([(b"k", "m", "q", "0", 1)])
    other.execute("COMMIT")
    bank.put([(b"k", "m", "q", "0", 1)])
    assert len(bank) == 1


STRATEGIES = ("cot | draw(6) | vote", "cot | draw(4) | weigh(judge) | vote", "direct | draw(3)")


def shown(answer: Answer | BaseException) -> str:
    """What a person is told, the costs apart, as bytes."""
    assert isinstance(answer, Answer)
    return json.dumps({**answer.as_dict(), "ledger": None})


def asked(model: Any, bank: Bank | None, strategy: str, **options: Any) -> list[str]:
    session = Session(model, as_strategy(strategy), bank=bank, **options)
    questions = [make_question(t, kind="number", id=t) for t in ("a bad cab", "a déaf → bee")]
    return [shown(answer) for _, answer in session.answers(questions)]


class Unbatched(TableLM):
    """The same model without its engine."""

    def __init__(self, model: BatchedLM) -> None:
        super().__init__(model.vocabulary, answers, context=10**6)
        self.tokenize, self.follow_up = model.tokenize, model.follow_up  # type: ignore[method-assign]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("engine", [True, False])
def test_a_replay_gives_the_same_bytes_without_a_model(
    bank: Bank, strategy: str, engine: bool
) -> None:
    model: Any = BatchedLM(table=answers, cells=2000)
    if not engine:
        model = Unbatched(model)
    first = asked(model, bank, strategy)
    assert '"answer": "4"' in first[0]
    assert asked(model, None, strategy) == first
    replayed = asked(None, bank, strategy, model_name=model.name, replay=True)
    assert sorted(replayed) == sorted(first)
    assert asked(model, bank, strategy, replay=True) == replayed
    session = Session(None, as_strategy(strategy), model.name, bank=bank, replay=True)
    for _, answer in session.answers([make_question("a bad cab", kind="number", id="a bad cab")]):
        assert isinstance(answer, Answer)
        assert (answer.ledger.tokens, answer.ledger.calls) == (0, 0)
        assert answer.ledger.banked > 0


def test_a_miss_in_a_replay_is_named(bank: Bank) -> None:
    model = BatchedLM(table=answers, cells=2000)
    asked(model, bank, "cot | draw(3) | vote")
    question = make_question("a bad cab", kind="number", id="a bad cab")

    def error(strategy: str, text: str = "", name: str = "batched", seed: int = 0) -> str:
        session = Session(None, as_strategy(strategy), name, bank=bank, replay=True, seed=seed)
        wanted = make_question(text, kind="number", id="new") if text else question
        ((_, answer),) = session.answers([wanted])
        assert isinstance(answer, PonderError)
        return one_line(answer)

    missing = error("cot | draw(5) | vote")
    assert "no sample for a bad cab/0.3/reply" in missing or "a bad cab/3/reply" in missing
    assert "run once without --replay" in missing
    assert "no sample for" in error("cot | draw(3) | vote", seed=1)
    assert "not seen this question" in error("cot | draw(3) | vote", "what else")
    with pytest.raises(PonderError, match="no samples of the model stranger"):
        error("cot | draw(3) | vote", name="stranger")
    with pytest.raises(PonderError, match="replay needs a bank"):
        Session(None, as_strategy("cot"), "batched", replay=True)


def test_a_remembered_model_answers_only_what_it_was_asked(bank: Bank) -> None:
    model = BatchedLM(table=answers)
    chat = [{"role": "user", "content": "a cab"}]
    live = RememberedLM(bank, "nick", model)
    asked_for = (live.tokenize("bad"), live.tokenize("bad", special=True), live.chat(chat))
    replayed = RememberedLM(bank, "nick", None)
    found = (replayed.tokenize("bad"), replayed.tokenize("bad", special=True), replayed.chat(chat))
    assert found == asked_for == (model.tokenize("bad"), model.tokenize("bad"), model.chat(chat))
    assert replayed.follow_up is not None
    assert (replayed.context, replayed.end_tokens) == (model.context, model.end_tokens)
    assert replayed.engine is None
    assert live.engine is model.engine
    with pytest.raises(PonderError, match="run once without"):
        replayed.tokenize("good")
    with pytest.raises(PonderError, match="run once without"):
        replayed.chat([{"role": "system", "content": "a cab"}])
    with pytest.raises(PonderError, match="without --replay"):
        replayed.next_log_probs((1,))
