"""The runtime: all programs of all questions, one stream of model requests, one budget.

Programs run until they wait for a model; their requests go to the engine as the budget admits
them; finished samples go to the bank and wake their programs. Randomness is derived from (seed,
question, particle, address, visit), so results do not depend on the order in which this happens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from ponder.admission import Admission
from ponder.bank import Bank, sample_key
from ponder.dist import Dist, Mixture, Stream, derive
from ponder.effects import Program
from ponder.errands import Desks, Errand, Errands
from ponder.errors import CutShort, PonderError
from ponder.interpret import seed_key
from ponder.job import Asked, Job, Outcome
from ponder.ledger import Budget, Ledger
from ponder.lm.protocol import Completion, Draw, NextToken, OptionLogProbs
from ponder.machine import PENDING, Machine, Task
from ponder.outside import Outside

Watcher = Callable[["Runtime"], None]
_MODEL_DISTS = (Completion, NextToken, OptionLogProbs)
_ERRANDS = 64  # as many are enough to keep the services busy
_PATIENCE = 0.05  # seconds between looks at the clock while services answer


class Runtime:
    """Runs programs against models. One runtime, one budget, one seed.

    ``replay`` forbids the model: a sample that is not in the bank is an error. ``told`` receives
    (question, message) for every Tell effect; ``watch`` is called after every engine step.
    With ``desks`` the engines and services are others' too: then it aborts none of them, and
    whoever shares them out drives it by :meth:`turns`.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        budget: Budget | None = None,
        bank: Bank | None = None,
        replay: bool = False,
        told: Callable[[str, object], None] | None = None,
        watch: Watcher | None = None,
        desks: Desks | None = None,
    ) -> None:
        self.seed = seed
        self.budget = budget or Budget()
        self.bank = bank
        self.replay = replay
        self.cut: str | None = None
        self.admission = Admission(self.budget)
        self.engines: list[Any] = []
        self.aloud = False  # whether somebody listens while replies are written
        self._told = told
        self._watch = watch
        self._machine = Machine(self)
        self._jobs: dict[Task, Job] = {}
        self._starting: Job | None = None
        self._closed = Ledger()
        self._waiting: deque[Any] = deque()
        self._flying: dict[Task, Any] = {}
        self._errands = Errands(desks)
        self._shared = desks is not None
        self._paid: list[tuple[bytes, str, str, str, Any]] = []
        self._aborted = False
        self._began = time.monotonic()

    @property
    def spent(self) -> Ledger:
        """What all questions together have cost so far."""
        total = Ledger()
        total.add(self._closed)
        for job in [*self._jobs.values(), *([self._starting] if self._starting else [])]:
            total.add(job.ledger)
        total.seconds = time.monotonic() - self._began
        return total

    def tokens_left(self) -> float:
        """Expected tokens until everything that has been asked for is done."""
        waiting = [self.admission.forecast.length(r.longest) for _, r in self._waiting]
        return sum(map(self.admission.left, self._in_flight())) + sum(waiting)

    def _in_flight(self) -> list[Any]:
        return [request for _, request in self._flying.values()]

    def flying(self) -> Iterator[tuple[str, Any]]:
        """The model requests that are being served, each with its question."""
        for task, (_, request) in self._flying.items():
            yield self._job(task).id, request

    def interrupt(self, reason: str = "interrupt") -> None:
        """Stop paying: unfinished traces abstain, programs conclude with what they have.

        Safe to call from a signal handler; a decode under way is abandoned, unless it is others'.
        """
        self.cut = self.cut or reason
        if not self._shared:
            self._aborted = True
            for engine in self.engines:
                engine.abort()

    def run(self, jobs: Iterable[tuple[str, Program[Any]]]) -> Generator[Outcome, None, None]:
        """Run programs, named by question, many at once; answers them as they end.

        A program that fails gives an outcome with its error and disturbs no other. Models can be
        used again afterwards, also when the caller stops listening early.
        """
        with closing(self.turns(jobs)) as turns:
            for found in turns:
                if found is None:
                    self._wait()
                else:
                    yield found

    def turns(
        self, jobs: Iterable[tuple[str, Program[Any]]]
    ) -> Generator[Outcome | None, None, None]:
        """Like :meth:`run`, but answers None whenever it must wait.

        Before it goes on its :attr:`engines` are to be stepped, what ended handed to
        :meth:`deliver`, and :meth:`collect` called.
        """
        try:
            yield from self._loop(iter(jobs))
        finally:
            for engine, request in self._flying.values():
                engine.cancel(request)
            self._errands.forget_all()
            if self._aborted:  # an interrupt may have come after the last step
                self._recover()

    def _loop(self, source: Iterator[tuple[str, Program[Any]]]) -> Iterator[Outcome | None]:
        more = True
        while more or self._jobs:
            while more and self.cut is None and self._hungry():
                try:
                    self._start(*next(source))
                except StopIteration:
                    more = False
                yield from self._ended()
            if self.cut is None and self._jobs:
                self._admit()
            if self.cut is not None:
                self._cut_all()
                more = False
            if self._flying or self._errands or self._waiting:
                yield None
            yield from self._ended()
        yield from self._ended()

    def _wait(self) -> None:
        """One step of the engines; what ended, and what services have answered, wakes programs."""
        for engine in self.engines:
            if engine.running or engine.waiting:
                before = time.monotonic()
                ended = engine.step()
                busy = len(engine.running) + len(ended)
                self.deliver(ended, busy, time.monotonic() - before)
        self.collect(0.0 if self._flying else _PATIENCE)
        if self._watch is not None:
            self._watch(self)

    def _hungry(self) -> bool:
        """Whether the engines could take the requests of another question."""
        width = min((e.width for e in self.engines), default=1)
        return len(self._waiting) + len(self._flying) < width and len(self._errands) < _ERRANDS

    def _start(self, id: str, program: Program[Any]) -> None:
        job = Job(id, None, Ledger(), time.monotonic())
        self._starting = job
        root = self._machine.start(program, seed_key(self.seed, id), part=id)
        job.root = root
        self._jobs[root] = job
        self._starting = None

    def _ended(self) -> Iterator[Outcome]:
        self._deposit()
        while self._machine.ended:
            root = self._machine.ended.pop(0)
            job = self._jobs.pop(root)
            job.ledger.seconds = time.monotonic() - job.started
            self._closed.add(job.ledger)
            yield Outcome(job.id, root.value, root.failed, job.ledger, job.price.ledger)

    # What programs ask of their interpreter.

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        """Draw at once, take from the bank, or ask the engine and answer PENDING."""
        key = derive(task.key, address)
        while isinstance(dist, Mixture):
            # One of the parts may be asked of an engine. What chooses it must not draw from it.
            dist = dist.choose(Stream(derive(key, "choice")))
            key = derive(key, "part")
        if not isinstance(dist, (*_MODEL_DISTS, Outside)):
            return dist.draw(Stream(key))
        job = self._job(task)
        bank_key = b""
        if self.bank is not None and _is_kept(dist):
            bank_key = sample_key(dist, key)
            known = self.bank.get(bank_key, dist)
            if known is not None:
                job.ledger.banked += len(known.tokens) if isinstance(known, Draw) else 1
                job.price.charge(dist, known)
                return known
        where = f"{task.path}/{address}"
        if isinstance(dist, Outside):
            if not self._may_check():
                raise CutShort(self.cut or "")
            self._errands.send(Errand(task, dist, where))
            return PENDING
        if self.replay:
            raise PonderError(
                f"replay: the bank has no sample for {where}; run once without --replay"
            )
        if self.cut is not None:
            raise CutShort(self.cut)
        engine = getattr(dist.model, "engine", None)
        if engine is None:
            return self._draw_now(dist, key, (bank_key, job.id, where), job)
        if engine not in self.engines:
            self.engines.append(engine)
        asked = Asked(self, task, bank_key, where, self.aloud)
        request = engine.request(dist, key, job.ledger, asked)
        self._waiting.append((engine, request))
        return PENDING

    def tell(self, task: Task, message: object) -> None:
        """Pass a message on to whoever watches."""
        if self._told is not None:
            self._told(self._job(task).id, message)

    def abandon(self, task: Task) -> None:
        """Cancel what a discarded task has asked for."""
        self._errands.forget(task)
        self._waiting = deque(w for w in self._waiting if w[1].payload.task is not task)
        flight = self._flying.pop(task, None)
        if flight is not None:
            flight[0].cancel(flight[1])

    def _job(self, task: Task) -> Job:
        job = self._jobs.get(task.root) or self._starting
        assert job is not None
        return job

    def _draw_now(self, dist: Any, key: bytes, place: tuple[bytes, str, str], job: Job) -> Any:
        """A model without an engine (a finite one) answers at once."""
        value = dist.draw(Stream(key))
        job.ledger.calls += 1
        job.price.charge(dist, value)
        if isinstance(value, Draw):
            job.ledger.generated += len(value.tokens)
        self._keep(place, dist, value)
        if self.budget != Budget():
            self.cut = self.cut or self.budget.exceeded(self.spent)
        return value

    # The loop.

    def deliver(self, ended: Sequence[tuple[Any, Any]], busy: int, seconds: float) -> None:
        """What came of a step over ``busy`` sequences: (request, value) of those that ended."""
        self.admission.forecast.stepped(busy, seconds)
        for request, value in ended:
            _, task, bank_key, where, _ = request.payload
            del self._flying[task]
            if isinstance(value, PonderError):
                continue
            if isinstance(value, Draw):
                self.admission.forecast.finished(len(value.tokens))
            job = self._job(task)
            job.price.charge(request.dist, value)
            self._keep((bank_key, job.id, where), request.dist, value)
        self._deposit()
        for request, value in ended:
            if isinstance(value, PonderError):  # a server has refused it
                self._machine.throw(request.payload.task, value)
            else:
                self._machine.resume(request.payload.task, value)

    def _may_check(self) -> bool:
        """Whether services may be asked: a cap on tokens or calls does not keep them from it."""
        limit = self.budget.max_seconds
        over = limit is not None and self.spent.seconds >= limit
        if over:
            self.cut = self.cut or "max_seconds"
        return self.cut in (None, "max_tokens", "max_calls") and not over

    def collect(self, wait: float = 0.0) -> None:
        """Wake the programs whose services have answered; wait so many seconds for the first."""
        if not self._errands:
            return
        for done in self._errands.done(wait):
            task, dist = done.errand.task, done.errand.dist
            job = self._job(task)
            job.ledger.checks += 1
            job.ledger.check_seconds += done.seconds
            job.price.charge(dist, done.answer)
            if done.error is not None:
                self._machine.throw(task, done.refusal(done.error))
                continue
            if self.bank is not None and _is_kept(dist):
                row = (dist.key, dist.service.fingerprint, job.id, done.errand.where, done.answer)
                self._paid.append(row)
            self._machine.resume(task, done.answer)

    def _keep(self, place: tuple[bytes, str, str], dist: Any, value: Any) -> None:
        """Queue a sample for the bank: place is (bank key, question, address)."""
        if self.bank is not None:
            self._paid.append((place[0], dist.model.fingerprint, place[1], place[2], value))

    def _deposit(self) -> None:
        paid, self._paid = self._paid, []
        if self.bank is not None and paid:
            self.bank.put(paid)

    def _admit(self) -> None:
        """Hand waiting requests to their engines while all that fly can finish in the budget.

        What is left is cut if nothing is under way and the budget affords no more.
        """
        spent = self.spent
        self.cut = self.cut or self.budget.exceeded(spent)
        while self._waiting and self.cut is None:
            engine, request = self._waiting[0]
            if len(engine.running) + len(engine.waiting) >= engine.width:
                return
            if not self.admission.affords(engine, request, self._in_flight(), spent):
                if not self._flying and not self._errands:
                    self.cut = self.admission.limit(spent)
                return
            self._waiting.popleft()
            task = request.payload.task
            try:
                engine.submit(request)
            except PonderError as error:
                self._machine.throw(task, error)
                continue
            self._flying[task] = (engine, request)

    def _cut_all(self) -> None:
        """Tell every waiting program that its request will not be served."""
        self.collect(0.0)  # what has been answered counts
        tasks = [*self._flying, *(request.payload.task for _, request in self._waiting)]
        if not self._may_check():
            tasks += self._errands.forget_all()
        for engine, request in self._flying.values():
            engine.cancel(request)
        self._flying.clear()
        self._waiting.clear()
        if self._aborted:
            self._recover()
        for task in tasks:
            if not task.discarded:
                self._machine.throw(task, CutShort(self.cut or ""))

    def _recover(self) -> None:
        self._aborted = False
        for engine in self.engines:
            engine.recover()


def _is_kept(dist: Any) -> bool:
    """Whether the bank keeps what is drawn: not the answers of a service without a fingerprint."""
    return not isinstance(dist, Outside) or dist.service.fingerprint != ""
