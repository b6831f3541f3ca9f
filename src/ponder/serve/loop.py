"""The thread that owns the models: many requests at once, one batch, one bank.

Every request has a runtime of its own (one budget, one seed). They take turns: each works until it
waits for a model, those that hold the fewest places first; then the engines take one step for all.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ponder.answering import Session
from ponder.bank import Bank
from ponder.errands import Desks
from ponder.errors import PonderError
from ponder.ledger import Ledger
from ponder.lm.protocol import LanguageModel
from ponder.lm.remembered import RememberedLM
from ponder.serve.live import Live
from ponder.serve.work import Ended, Heard, Ticket, Work
from ponder.verify.services import Services

IDLE = 0.5  # seconds between looks at the clock when there is nothing to do
SERVICES = 0.005  # the same while services work for somebody
LOOK = 0.2  # seconds between statements of what has been done

Load = Callable[[str], LanguageModel]
Order = Callable[[], None]


class Loop:
    """Works on what is handed in. ``open_model`` and ``load`` (for models that strategies name)
    are called in its thread, which opens the ``bank`` too."""

    def __init__(
        self,
        open_model: Callable[[], LanguageModel],
        *,
        bank: Path | None = None,
        load: Load | None = None,
        unsafe: bool = False,
    ) -> None:
        self.model_name = ""
        self._open_model = open_model
        self._load = load
        self._services = Services(unsafe=unsafe)
        self._desks = Desks()
        self._path = bank
        self._bank: Bank | None = None
        self._model: Any = None
        self._others: dict[str, LanguageModel] = {}
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._live: dict[Ticket, Live] = {}
        self._spent = Ledger()
        self._state: dict[str, float] = {}
        self._looked = 0.0
        self._closing: str | None = None
        self._opened = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="ponder", daemon=True)

    # For any thread.

    def start(self) -> None:
        """Load the model; answers when it is ready. Raises what loading raises."""
        self._thread.start()
        self._opened.wait()
        if self._failed is not None:
            raise self._failed

    def submit(self, work: Work, heard: Heard) -> Ticket:
        """Hand in a request; ``heard`` is called in the loop's thread, last with an Ended for
        every choice. Raises PonderError if the loop is closing."""
        if self._closing is not None or not self._thread.is_alive():
            raise PonderError("the server is shutting down; ask again later")
        ticket = Ticket(work, heard)
        self._orders.put(lambda: self._begin(ticket))
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Forget a request: nothing is heard of it any more, its places in the batch are free."""
        self._orders.put(lambda: self._drop(ticket))

    def conclude(self, ticket: Ticket, reason: str) -> None:
        """Have a request answered with what it has, cut short for ``reason``."""
        self._orders.put(lambda: self._cut(ticket, reason))

    def close(self, reason: str = "shutdown") -> None:
        """Conclude everything and end the thread."""

        def stop() -> None:
            self._closing = reason
            for ticket in list(self._live):
                self._cut(ticket, reason)

        self._orders.put(stop)
        self._thread.join()

    def state(self) -> dict[str, float]:
        """Requests, running and waiting sequences now; tokens and calls since the start."""
        return dict(self._state)

    # The thread's own.

    def _work(self) -> None:
        try:
            self._open()
        except BaseException as error:
            self._failed = error
            return
        finally:
            self._opened.set()
        while self._live or self._closing is None:
            try:
                self._round()
            except Exception as error:  # a bug: nobody may wait for ever
                for ticket in list(self._live):
                    self._fail(ticket, error)
        if self._bank is not None:
            self._bank.close()

    def _round(self) -> None:
        self._take()
        for ticket, live in sorted(self._live.items(), key=_places):
            self._turn(ticket, live)
        for engine in self._engines():
            self._step(engine)
        for ticket, live in list(self._live.items()):
            try:
                live.speak()
            except Exception as error:
                self._fail(ticket, error)
        self._look()

    def _open(self) -> None:
        model = self._open_model()
        self._model, self.model_name = model, model.name
        if self._path is not None:
            self._bank = Bank(self._path)
            self._model = RememberedLM(self._bank, model.name, model)
        self._look()

    def _take(self) -> None:
        """Follow the orders that have come; wait for one if there is nothing else to do."""
        if any(engine.running or engine.waiting for engine in self._engines()):
            wait = 0.0
        else:
            wait = SERVICES if self._live else IDLE
        try:
            order = self._orders.get(wait > 0, wait or None)
            while True:
                order()
                order = self._orders.get_nowait()
        except queue.Empty:
            pass

    def _begin(self, ticket: Ticket) -> None:
        try:
            live = Live(ticket, self._session)
        except Exception as error:
            for index in range(len(ticket.work.questions)):
                ticket.heard(Ended(index, error))
            return
        self._live[ticket] = live
        if self._closing is not None:
            self._cut(ticket, self._closing)

    def _session(self, work: Work, told: Callable[[str, object], None]) -> Session:
        return Session(
            self._model,
            work.pipeline,
            seed=work.seed,
            budget=work.budget,
            bank=self._bank,
            told=told,
            load=self._other,
            services=self._services,
            worth=work.worth,
            desks=self._desks,
        )

    def _other(self, name: str) -> LanguageModel:
        if self._load is None:
            raise PonderError(f"the strategy names the model {name!r}; this server has only one")
        if name not in self._others:
            model = self._load(name)
            kept = self._bank
            self._others[name] = model if kept is None else RememberedLM(kept, model.name, model)
        return self._others[name]

    def _drop(self, ticket: Ticket) -> None:
        live = self._live.pop(ticket, None)
        if live is not None:
            live.close()
            self._spent.add(live.runtime.spent)

    def _fail(self, ticket: Ticket, error: BaseException) -> None:
        """End a request that has failed, and no other."""
        live = self._live.get(ticket)
        if live is not None:
            with contextlib.suppress(Exception):  # whoever should hear it may be gone
                live.fail_all(error)
            with contextlib.suppress(Exception):
                self._drop(ticket)

    def _cut(self, ticket: Ticket, reason: str) -> None:
        live = self._live.get(ticket)
        if live is not None:
            live.runtime.interrupt(reason)

    def _turn(self, ticket: Ticket, live: Live) -> None:
        try:
            live.runtime.collect()
            if not live.go_on():
                self._drop(ticket)
        except Exception as error:  # a bug, or a full disk
            self._fail(ticket, error)

    def _step(self, engine: Any) -> None:
        if not (engine.running or engine.waiting):
            return
        before = time.monotonic()
        try:
            ended = engine.step()
        except Exception as error:  # nobody knows whose fault it is
            for ticket, live in list(self._live.items()):
                if engine in live.runtime.engines:
                    self._fail(ticket, error)
            engine.recover()
            return
        seconds = time.monotonic() - before
        busy = len(engine.running) + len(ended)
        for ticket, live in list(self._live.items()):
            own = [pair for pair in ended if pair[0].payload.runtime is live.runtime]
            try:
                live.runtime.deliver(own, busy, seconds)
            except Exception as error:
                self._fail(ticket, error)

    def _engines(self) -> list[Any]:
        """The engines of the requests at work, each once."""
        found = {id(e): e for live in self._live.values() for e in live.runtime.engines}
        return list(found.values())

    def _look(self) -> None:
        """State what has been done, a few times a second."""
        now = time.monotonic()
        if now - self._looked < LOOK and self._live:
            return
        self._looked = now
        total = Ledger()
        total.add(self._spent)
        for live in self._live.values():
            total.add(live.runtime.spent)
        engines = self._engines()
        self._state = {
            "requests": len(self._live),
            "running": sum(len(e.running) for e in engines),
            "waiting": sum(len(e.waiting) for e in engines),
            **{name: value for name, value in total.as_dict().items() if name != "seconds"},
        }


def _places(pair: tuple[Ticket, Live]) -> int:
    """How many places in the batch a request holds."""
    return len(list(pair[1].runtime.flying()))
