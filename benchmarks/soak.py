"""A server under full load: does it stay up, keep requests apart, and give back what it takes?

Starts ``ponder serve`` with SmolLM2 and a bank of its own, and has 24 clients ask it in every way
that it knows, some of which go away, send nonsense, or come with a wrong key. Every request has a
word of its own, and no reply may hold another's. In the end stands a table of claims, each with
what was counted; the exit status is 1 if one of them does not hold.

    python benchmarks/soak.py                # ten minutes, and two to look again
    python benchmarks/soak.py --minutes 1    # does it run?
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from harness import machine
from soak_claims import Seen, claims
from soak_client import LEAVING, Outcome, dawdle, send
from soak_requests import GOOD, MAX_BODY, MODEL, Ask, any_bad, any_good, good, new_marker
from soak_server import Server

WARM_UP = 120.0  # seconds that memory may grow
GRACE = 15
OPTIONS = (
    *("--max-concurrent", "16", "--max-queue", "4", "--max-body", str(MAX_BODY)),
    *("--max-tokens-per-request", "40000", "--max-seconds-per-request", "60"),
    *("--grace", str(GRACE)),
)


@dataclass
class Soak:
    """One run: its randomness, its requests, and what has been seen."""

    server: Server
    client: httpx.AsyncClient
    rng: random.Random
    seen: Seen = field(default_factory=Seen)

    def marker(self) -> str:
        """A new one, which is known from now on."""
        self.seen.markers.add(marker := new_marker(self.rng))
        return marker

    async def ask(self, ask: Ask, leave: str = "", slow: float = 0.0) -> Outcome:
        """Send a request and keep its outcome."""
        outcome = await send(self.client, ask, leave, slow)
        self.seen.outcomes.append(outcome)
        return outcome

    async def insist(self, ask: Ask) -> Outcome:
        """Send a request until it is not told to come back later."""
        while (outcome := await self.ask(ask)).end == "busy":
            await asyncio.sleep(1)
        return outcome

    async def worker(self, end: float) -> None:
        """One of the clients: a request after the other, most of them well behaved."""
        while time.monotonic() < end:
            kind = self.rng.random()
            if kind < 0.2:
                outcome = await self.ask(any_bad(self.marker(), self.rng))
            elif kind < 0.32:
                leave = self.rng.choice(LEAVING)
                outcome = await self.ask(any_good(self.marker(), self.rng), leave)
            else:
                slow = 0.3 if kind > 0.97 else 0.0
                outcome = await self.ask(any_good(self.marker(), self.rng), slow=slow)
            if outcome.end == "busy":
                await asyncio.sleep(self.rng.uniform(0.2, 2))

    async def dawdler(self, end: float) -> None:
        """Sends slowly, or nothing that makes sense."""
        while time.monotonic() < end:
            how = self.rng.choice(["drip", "drip", "drip", "stall", "break off", "no HTTP"])
            if how == "stall" and end - time.monotonic() < 40:
                how = "drip"  # its reply comes after half a minute
            ask = good("bare", self.marker(), self.rng)
            self.seen.dawdled.append(await dawdle(self.server.url, ask, how))

    async def again(self, end: float, probes: list[Outcome]) -> None:
        """Asks what was asked before; and what is asked nowhere else, to be asked once more."""
        while time.monotonic() < end:
            probe = self.rng.choice(probes)
            self.seen.replayed.append((probe, await self.insist(probe.ask)))
            if len(self.seen.in_company) < 40:
                fresh = good("seed", self.marker(), self.rng)
                self.seen.in_company.append(await self.insist(fresh))
            await asyncio.sleep(2)

    async def watcher(self, end: float) -> None:
        """Reads the server's memory, and says how it goes."""
        said = time.monotonic()
        while time.monotonic() < end:
            self.seen.memory.append(self.server.memory())
            if time.monotonic() - said > 15:
                said = time.monotonic()
                ends = Counter(outcome.end for outcome in self.seen.outcomes)
                megabytes = self.seen.memory[-1].resident / 1e6
                faults = [fault for o in self.seen.outcomes for fault in o.faults]
                say(f"{end - said:5.0f} s left, {dict(ends)}, {megabytes:.0f} MB, {faults[-2:]}")
            await asyncio.sleep(1)

    async def load(self, seconds: float, workers: int) -> None:
        """The load itself, between two rounds of the same questions with nobody else about."""
        for kind in GOOD:  # what is loaded when it is first needed is no leak
            await self.insist(good(kind, self.marker(), self.rng))
        kinds = ["seed"] * 8 + ["sc4"] * 4
        asks = [seeded(good(kind, self.marker(), self.rng), i) for i, kind in enumerate(kinds)]
        probes = [await self.insist(ask) for ask in asks]
        end = time.monotonic() + seconds
        self.seen.warm = time.monotonic() + min(WARM_UP, seconds / 4)
        async with asyncio.TaskGroup() as group:
            for _ in range(workers - 3):
                group.create_task(self.worker(end))
            group.create_task(self.dawdler(end))
            group.create_task(self.dawdler(end))
            group.create_task(self.again(end, probes))
            group.create_task(self.watcher(end))
        self.seen.idle_after = await asyncio.to_thread(self.server.seconds_to_idle)
        for probe in probes:
            self.seen.replayed.append((probe, await self.insist(probe.ask)))
        self.seen.files_after = self.server.memory().files
        self.seen.counters = await asyncio.to_thread(self.server.metrics)
        self.seen.healthy = await asyncio.to_thread(self.server.healthy)

    async def leave_all(self) -> None:
        """Clients that all go away at once: how long their places stay taken."""
        streamed = {"stream": True, "max_tokens": 1000}
        for fields in (streamed, {"max_tokens": 1000}, {"how": "@long", "stream": True}):
            for _ in range(3):
                how = {**fields}
                asks = [long(self.marker(), self.rng, **how) for _ in range(8)]
                tasks = [asyncio.create_task(send(self.client, ask)) for ask in asks]
                while (await asyncio.to_thread(self.server.metrics))["ponder_engine_running"] < 4:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(self.rng.uniform(0, 2))
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                freed = await asyncio.to_thread(self.server.seconds_to_idle)
                self.seen.freed.append(freed)

    async def end(self) -> None:
        """SIGTERM with a full house: everybody is answered or told, and it ends in time."""
        short = [good("bare, streamed", self.marker(), self.rng) for _ in range(4)]
        short += [good("bare", self.marker(), self.rng) for _ in range(4)]
        slow = [long(self.marker(), self.rng, how="@long", stream=i < 5) for i in range(12)]
        asks = [replace(ask, wanted=(200, 503)) for ask in slow + short]
        tasks = [asyncio.create_task(send(self.client, ask)) for ask in asks]
        await asyncio.sleep(2)
        self.server.terminate()
        began = time.monotonic()
        await asyncio.sleep(0.5)
        self.seen.late = await send(self.client, good("bare", self.marker(), self.rng))
        self.seen.last = await asyncio.gather(*tasks)
        await self.client.aclose()
        status = await asyncio.to_thread(self.server.process.wait, 60)
        self.seen.exit = (status, time.monotonic() - began)


def seeded(ask: Ask, seed: int) -> Ask:
    """The request with a seed, so that it repeats itself."""
    return ask.with_fields({**(ask.fields or {}), "seed": seed})


def long(marker: str, rng: random.Random, **fields: object) -> Ask:
    """A request that goes on for many seconds."""
    ask = good("bare", marker, rng)
    how = str(fields.pop("how", ""))
    talk = {"role": "user", "content": f"Tell {marker} a very long story about the sea."}
    return ask.with_fields({"model": MODEL + how, "messages": [talk], **fields})


async def alone(server: Server, seen: Seen) -> None:
    """Ask again, one at a time, what was asked in company; nothing is remembered here."""
    async with httpx.AsyncClient(base_url=server.url, timeout=None) as client:
        for probe in seen.in_company:
            seen.alone.append((probe, await send(client, probe.ask)))


async def soak(server: Server, minutes: float, workers: int, seed: int) -> Seen:
    """The whole run but for the last look."""
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=30)
    client = httpx.AsyncClient(base_url=server.url, timeout=None, limits=limits)
    run = Soak(server, client, random.Random(seed))
    await run.load(60 * minutes, workers)
    say("all clients go away at once")
    await run.leave_all()
    say("SIGTERM")
    await run.end()
    return run.seen


def say(text: str) -> None:
    """Progress, for the eyes."""
    print(f"soak: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0, help="of the clients' whims")
    parser.add_argument("--keep", type=Path, help="a folder for the server's log and bank")
    given = parser.parse_args()
    packages = ("ponder", "llama-cpp-python", "starlette", "uvicorn", "pydantic", "httpx")
    print(", ".join(f"{key} {value}" for key, value in machine(packages).items()))
    print(f"load average {os.getloadavg()[0]:.2f} before")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        server = Server(folder, MODEL, "--bank", str(folder / "bank.sqlite"), *OPTIONS)
        try:
            seen = asyncio.run(soak(server, given.minutes, given.workers, given.seed))
        finally:
            server.close()
        say("the same requests alone, with no bank")
        other = Server(folder, MODEL, "--no-bank", name="alone")
        try:
            asyncio.run(alone(other, seen))
        finally:
            other.close()
        print(f"load average {os.getloadavg()[0]:.2f} after\n")
        sys.exit(0 if claims(seen, server, GRACE) else 1)


if __name__ == "__main__":
    main()
