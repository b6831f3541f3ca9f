"""What the soak has seen, and the table of claims that it makes of it."""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from soak_client import Outcome
from soak_server import Course, Memory, Server, course

FLAT = 0.05  # by which memory may grow after the warm-up
FREED = 2.0  # seconds in which places are free again
LAST = 10.0  # seconds that concluded requests have, after the grace
Row = tuple[str, str, str, bool]


@dataclass
class Seen:
    """Everything that the claims rest on. Pairs are of the same request: (earlier, later)."""

    markers: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=list)
    dawdled: list[tuple[str, str]] = field(default_factory=list)
    replayed: list[tuple[Outcome, Outcome]] = field(default_factory=list)
    in_company: list[Outcome] = field(default_factory=list)
    alone: list[tuple[Outcome, Outcome]] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    warm: float = 0.0
    idle_after: float = float("inf")
    files_after: int = 0
    counters: dict[str, float] = field(default_factory=dict)
    healthy: bool = False
    freed: list[float] = field(default_factory=list)
    last: list[Outcome] = field(default_factory=list)
    late: Outcome | None = None
    exit: tuple[int, float] = (-1, float("inf"))

    def foreign(self) -> list[str]:
        """Every marker in a reply that is another request's."""
        return [
            f"{found} in the reply to {outcome.ask.marker} ({outcome.ask.kind})"
            for outcome in [*self.outcomes, *self.last, *(later for _, later in self.alone)]
            for found in sorted(outcome.markers - {outcome.ask.marker})
            if found in self.markers
        ]

    def of(self, *ends: str) -> list[Outcome]:
        """The outcomes with some end."""
        return [outcome for outcome in self.outcomes if outcome.end in ends]

    def faults(self, *claims: str) -> list[str]:
        """What is wrong with replies, of these claims."""
        return [
            f"{outcome.ask.kind}: {fault}"
            for outcome in [*self.outcomes, *self.last]
            for fault in outcome.faults
            if fault.split(":", 1)[0] in claims
        ]


def claims(seen: Seen, server: Server, grace: float) -> bool:
    """Print the tables; answers whether every claim holds."""
    rows = list(_rows(seen, server, grace))
    print("| claim | counted | wanted | holds |\n| --- | --- | --- | --- |")
    for claim, counted, wanted, holds in rows:
        print(f"| {claim} | {counted} | {wanted} | {'yes' if holds else '**NO**'} |")
    _print_kinds(seen)
    found = Counter(
        re.sub(r"kx[a-z]{7}xk|[0-9a-f]{24}", "...", fault)
        for fault in [*seen.foreign(), *(f for o in [*seen.outcomes, *seen.last] for f in o.faults)]
    )
    for fault, count in found.most_common(40):
        print(f"fault, {count} times: {fault}")
    for line in server.lines("bug", "Error", "Traceback", 'File "')[:40]:
        print(f"log: {line}")
    return all(row[-1] for row in rows)


def _rows(seen: Seen, server: Server, grace: float) -> Iterator[Row]:
    answered, refused, busy = seen.of("answered"), seen.of("refused"), seen.of("busy")
    ended = len(answered) + len(refused) + len(busy)
    yield _none("requests that had no end in time (hang)", seen.faults("hang"), len(seen.outcomes))
    yield _none("replies or connections broken off", seen.faults("broken"), ended)
    yield _none("errors not in OpenAI's form, in one line", seen.faults("shape"), len(refused))
    yield _none("replies with a traceback", seen.faults("traceback"), ended)
    yield _none("statuses other than the right one", seen.faults("status"), ended)
    yield _none("replies that are not what was asked for", seen.faults("content"), len(answered))
    yield _none("429 or 503 without Retry-After", seen.faults("retry"), len(busy))
    own = sum(outcome.own for outcome in answered)
    yield _none(f"another request's marker in a reply ({own} had their own)", seen.foreign(), ended)
    told = sum(marker in server.log for marker in seen.markers)
    yield ("markers in the server's log", f"{told} of {len(seen.markers)}", "0", not told)
    bugs = server.lines("a bug in ponder", "Traceback")
    yield ("bugs in the server's log", str(len(bugs)), "0", not bugs)
    yield ("same process, /health 200 after the load", str(seen.healthy), "True", seen.healthy)
    yield from _dawdlers(seen)
    yield from _memory(seen)
    yield from _places(seen, server)
    yield from _same(seen)
    yield from _end(seen, grace)


def _none(claim: str, found: list[str], of: int) -> Row:
    return claim, f"{len(found)} of {of}", "0", not found


def _dawdlers(seen: Seen) -> Iterator[Row]:
    right = {
        "drip": ("HTTP/1.1 200 OK", "HTTP/1.1 429 Too Many Requests"),
        "stall": ("HTTP/1.1 408 Request Timeout",),
        "break off": ("closed",),
        "no HTTP": ("HTTP/1.1 400 Bad Request", "closed"),
    }
    wrong = [f"{how}: {came}" for how, came in seen.dawdled if came not in right[how]]
    counts = dict(Counter(how for how, _ in seen.dawdled))
    counted = f"{len(wrong)} of {len(seen.dawdled)} {counts} {sorted(set(wrong)) or ''}"
    yield "slow or broken senders not answered as they should be", counted, "0", not wrong


def _memory(seen: Seen) -> Iterator[Row]:
    kept = [memory for memory in seen.memory if memory.time >= seen.warm]
    if not kept:
        yield "memory after the warm-up", "not read", f"+{FLAT:.0%}", False
        return
    times = [memory.time for memory in kept]
    for name, values in (
        ("resident memory", [memory.resident for memory in kept]),
        ("of it anonymous", [memory.anonymous for memory in kept]),
    ):
        found: Course = course(times, values)
        said = f"{found.megabytes()}: {found.growth:+.1%}"
        yield f"{name} after the warm-up", said, f"at most +{FLAT:.0%}", found.growth <= FLAT
    files = [memory.files for memory in kept]
    few = seen.files_after <= min(files)
    said = f"{seen.files_after} (under load {min(files)} to {max(files)})"
    yield "open files after the load", said, "no more than under it", few


def _places(seen: Seen, server: Server) -> Iterator[Row]:
    idle = seen.idle_after
    claim = "at work or waiting after the load, by /metrics"
    yield claim, f"0 after {idle:.2f} s", f"0 within {FREED:g} s", idle <= FREED
    worst = max(seen.freed, default=float("inf"))
    said = f"at most {worst:.2f} s in {len(seen.freed)} times 8 clients"
    yield "places free after all clients left", said, f"{FREED:g} s", worst <= FREED
    late = list(_noticed(seen, server))
    said = f"{len(late)} found in the log, at most {max(late, default=0):.2f} s"
    said += f", median {statistics.median(late):.2f} s" if late else ""
    yield "under load, until a leaver is noticed", said, f"{FREED:g} s", max(late, default=9) <= 2


def _noticed(seen: Seen, server: Server) -> Iterator[float]:
    """Seconds from a client's leaving its stream to the line in the log that says so."""
    logged = re.findall(r"^(\S+ \S+) (\S+) .* client left,", server.log, re.M)
    at = {reference: stamp for stamp, reference in logged}
    for outcome in seen.of("left"):
        found = re.search(r'"id": ?"((?:chat)?cmpl-\w+)"', outcome.raw)
        stamp = at.get(found[1]) if found else None
        if stamp is not None:
            whole, milliseconds = stamp.split(",")
            seconds = time.mktime(time.strptime(whole, "%Y-%m-%d %H:%M:%S"))
            yield max(0.0, seconds + int(milliseconds) / 1000 - outcome.left_at)


def _same(seen: Seen) -> Iterator[Row]:
    pairs = [pair for pair in seen.replayed if all(o.end == "answered" for o in pair)]
    other = sum(a.texts != b.texts for a, b in pairs)
    paid = sum(b.reply["ponder"]["cost"]["now"]["generated"] for _, b in pairs)
    claim = "asked again during and after the load: other text"
    yield claim, f"{other} of {len(pairs)}", "0", not other and bool(pairs)
    yield "of these, tokens generated again", str(paid), "0", not paid
    pairs = [pair for pair in seen.alone if all(o.end == "answered" for o in pair)]
    same = sum(a.texts == b.texts for a, b in pairs)
    prompts = sum(_prompt(a) != _prompt(b) for a, b in pairs)
    said = f"{same} of {len(pairs)} ({same / max(1, len(pairs)):.0%})"
    yield "in company and alone without a bank: same text", said, "reported", bool(pairs)
    yield "of these, other prompt tokens", f"{prompts} of {len(pairs)}", "0", not prompts


def _prompt(outcome: Outcome) -> int:
    return int(outcome.reply["usage"]["prompt_tokens"])


def _end(seen: Seen, grace: float) -> Iterator[Row]:
    became = Counter(_became(outcome) for outcome in seen.last)
    untold = [o for o in seen.last if o.end not in ("answered", "refused", "busy") or o.faults]
    said = f"{len(untold)} of {len(seen.last)}: {dict(became)}"
    yield "in flight at SIGTERM, neither answered nor told", said, "0", not untold
    late = seen.late
    told = late is not None and late.status == 503 and "retry-after" in late.headers
    said = "none" if late is None else str(late.status)
    yield "asked after SIGTERM: status, with Retry-After", said, "503", told
    status, seconds = seen.exit
    said = f"{status} after {seconds:.1f} s"
    holds = status == 0 and seconds <= grace + LAST
    yield "exit status after SIGTERM", said, f"0 within {grace:g} + {LAST:g} s", holds


def _became(outcome: Outcome) -> str:
    if outcome.end == "answered":
        return f"cut short: {outcome.cut}" if outcome.cut else "answered"
    return f"{outcome.end} {outcome.status}"


def _print_kinds(seen: Seen) -> None:
    print("\n| asked | times | answered | refused | 429 | left | own marker | mean s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    kinds: dict[str, list[Outcome]] = {}
    for outcome in seen.outcomes:
        kinds.setdefault(outcome.ask.kind, []).append(outcome)
    for kind, found in [*sorted(kinds.items()), ("**all**", seen.outcomes)]:
        ends = Counter(outcome.end for outcome in found)
        own = sum(outcome.own for outcome in found if outcome.end == "answered")
        counts = [ends[end] for end in ("answered", "refused", "busy", "left")]
        seconds = _mean(outcome.seconds for outcome in found if outcome.end == "answered")
        cells = " | ".join(map(str, counts))
        print(f"| {kind} | {len(found)} | {cells} | {own} | {seconds} |")
    print()


def _mean(values: Iterable[float]) -> str:
    found = list(values)
    return f"{statistics.mean(found):.2f}" if found else ""
