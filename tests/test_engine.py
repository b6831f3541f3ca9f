"""Continuous batching gives what one-by-one decoding gives, shares what it can, and leaks nothing.

The reference is TableLM's own ``draw``, which knows neither engine, cache nor sampler.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from fake_decoder import END, BatchedLM, hashed
from ponder.dist import Stream, derive
from ponder.errors import PonderError
from ponder.ledger import Ledger
from ponder.lm.decoder import UBATCH
from ponder.lm.engine import CHUNK, PATIENCE
from ponder.lm.protocol import Completion, Draw, NextToken, OptionLogProbs, Tokens
from ponder.lm.request import Request
from ponder.lm.sampling_law import SamplingLaw
from ponder.lm.states import States
from ponder.lm.writing import Vocabulary, Writing

LAWS = (
    SamplingLaw(),
    SamplingLaw(0.7),
    SamplingLaw(0.0),
    SamplingLaw(1.3, top_k=5),
    SamplingLaw(0.8, top_p=0.8),
    SamplingLaw(1.0, top_k=8, top_p=0.9, min_p=0.1),
)


def key(index: int) -> bytes:
    return derive(b"test", f"request {index}")


def request(model: BatchedLM, dist: Any, index: int = 0) -> Request:
    return model.engine.request(dist, key(index), Ledger())


def serve(model: BatchedLM, requests: Sequence[Request], arrivals: Iterable[int] = ()) -> list[Any]:
    """The values of all requests; request i arrives at the step given, at once by default."""
    at = dict(enumerate(arrivals))
    values: dict[int, Any] = {}
    place = {id(r): i for i, r in enumerate(requests)}
    coming = sorted(range(len(requests)), key=lambda i: at.get(i, 0))
    longest = sum(len(r.prompt) + r.longest for r in requests)
    for step in range(max(at.values(), default=0) + 2 * longest + 10):
        while coming and at.get(coming[0], 0) <= step:
            model.engine.submit(requests[coming.pop(0)])
        for ended, value in model.engine.step():
            assert place[id(ended)] not in values
            values[place[id(ended)]] = value
        model.decoder.check()
        if len(values) == len(requests):
            return [values[i] for i in range(len(requests))]
    raise AssertionError(f"starved: {set(range(len(requests))) - set(values)}")


def alone(dist: Any, index: int) -> Any:
    return dist.draw(Stream(key(index)))


def assert_same(found: Any, wanted: Any) -> None:
    assert found == wanted
    if isinstance(wanted, Draw):
        np.testing.assert_allclose(found.logp, wanted.logp, atol=2e-4)
        np.testing.assert_allclose(found.logq, wanted.logq, atol=2e-4)
        assert found.prompt == wanted.prompt


def some_prompts(rng: random.Random, count: int, longest: int) -> list[Tokens]:
    """A third of them new, a third equal to an earlier one, a third with a prefix of one."""
    prompts: list[Tokens] = []
    for _ in range(count):
        fresh = tuple(rng.randrange(END) for _ in range(rng.randint(1, longest)))
        kind = rng.randrange(3) if prompts else 0
        old = rng.choice(prompts) if kind else ()
        cut = rng.randint(0, len(old))
        prompts.append((fresh, old, (old[:cut] + fresh)[:longest])[kind])
    return prompts


def some_dists(model: BatchedLM, rng: random.Random, count: int, longest: int) -> list[Any]:
    dists: list[Any] = []
    for prompt in some_prompts(rng, count, longest):
        law = rng.choice(LAWS)
        kind = rng.random()
        if kind < 0.1:
            dists.append(NextToken(model, prompt, law))
        elif kind < 0.2:
            dists.append(OptionLogProbs(model, prompt, ((0, 3), (5,), (END, 1, 2))))
        else:
            stop = tuple(rng.sample(("abc", "cab", "bb", "da", "h "), rng.randint(0, 3)))
            most, part = rng.randint(1, longest), rng.random() < 0.5
            keep = rng.random() < 0.5
            dists.append(Completion(model, prompt, law, most, stop, segment=part, keep=keep))
    return dists


@pytest.mark.parametrize(("cells", "slots"), [(42, 5), (64, 4), (200, 6), (3000, 60)])
@pytest.mark.parametrize("seed", [1, 2])
def test_batched_requests_give_what_each_gives_alone(cells: int, slots: int, seed: int) -> None:
    model = BatchedLM(cells=cells, slots=slots, width=4, ending=0.05)
    rng = random.Random(seed)
    dists = some_dists(model, rng, 40, 20)
    arrivals = [rng.randrange(60) if rng.random() < 0.5 else 0 for _ in dists]
    values = serve(model, [request(model, d, i) for i, d in enumerate(dists)], arrivals)
    for i, (dist, value) in enumerate(zip(dists, values, strict=True)):
        if isinstance(dist, OptionLogProbs):
            np.testing.assert_allclose(value, alone(dist, i), atol=2e-4)
        else:
            assert_same(value, alone(dist, i))
    assert model.decoder.ordered
    if cells == 42:
        assert model.decoder.preempted > 5  # the hard case is tried
    if cells == 3000:
        assert model.decoder.preempted == 0
    model.decoder.check_all_free()


def test_order_of_arrival_and_width_change_nothing() -> None:
    def values(width: int, order: int) -> list[Any]:
        model = BatchedLM(cells=120, width=width, ending=0.05)
        dists = some_dists(model, random.Random(3), 20, 20)
        found = [request(model, d, i) for i, d in enumerate(dists)]
        return serve(model, found[::order])[::order]

    first = values(1, 1)
    for width, order in ((1, -1), (4, 1), (4, -1), (20, 1)):
        found = values(width, order)
        for a, b in zip(first, found, strict=True):
            assert a == b
            if isinstance(a, Draw):
                assert (a.logp, a.logq) == (b.logp, b.logq)


def test_stop_strings_across_tokens() -> None:
    written = [WORD.index(w) for w in ("a", "bb", "ca", "ab", "d")]
    model = scripted(written)
    texts = {
        ("bc",): "ab",  # across two tokens
        ("bbcaab",): "a",  # across three
        ("b",): "a",  # inside one
        ("aa", "ca"): "abb",  # the first place wins, not the first string
        ("zz",): "abbcaabd",
        (): "abbcaabd",
    }
    for stop, text in texts.items():
        dist = Completion(model, (7,), SamplingLaw(0.0), max_tokens=9, stop=stop)
        (draw,) = serve(model, [request(model, dist)])
        assert draw.text == text
        assert_same(draw, alone(dist, 0))
        (whole,) = serve(model, [request(model, Completion(model, (7,), dist.law, 9, stop, True))])
        assert whole.text == model.detokenize(whole.tokens)
        assert whole.tokens == draw.tokens
        assert whole.finish == "stop"


WORD = ("a", "b", "c", "d", "e", "f", "g", "h", "ab", "ca", "bb", " ")


def scripted(written: Sequence[int]) -> BatchedLM:
    """A model that surely writes these tokens after a prompt of one token, then ends."""

    def table(tokens: Tokens) -> list[float]:
        place = len(tokens) - 1
        token = written[place] if place < len(written) else END
        return [float(t == token) for t in range(END + 1)]

    return BatchedLM(table=table)


def test_characters_and_stops_split_between_tokens() -> None:
    pieces = ["né".encode()[:2], "é".encode()[1:], "→".encode()[:1], "→".encode()[1:], b"x"]
    vocabulary = Vocabulary(6, frozenset({5}), lambda t: pieces[t])
    dist = Completion(BatchedLM(), (), stop=("é→",), max_tokens=9)
    writing = Writing(dist)
    finishes = [writing.write(t, 0.0, 0.0, vocabulary) for t in (0, 1, 2, 3)]
    assert finishes == [None, None, None, "stop"]
    assert writing.finished("stop").text == "n"
    unstopped = Writing(Completion(BatchedLM(), (), max_tokens=2))
    assert unstopped.write(4, 0.0, 0.0, vocabulary) is None
    assert unstopped.write(0, 0.0, 0.0, vocabulary) == "length"
    assert unstopped.finished("length").text == "xn�"


def test_requests_of_one_prompt_compute_it_once() -> None:
    model = BatchedLM(cells=1000, width=8)
    prompt = tuple(i % END for i in range(150))
    found = [request(model, Completion(model, prompt, max_tokens=5), i) for i in range(12)]
    serve(model, found)
    computed = sum(r.ledger.prompt_computed for r in found)
    assert computed == 150 + 11  # all but the first compute its last token, for the logits
    assert sum(r.ledger.prompt_reused for r in found) == 11 * 149
    generated = sum(r.ledger.generated for r in found)
    assert sum(model.decoder.sizes) == computed + generated - len(found)
    assert all(r.ledger.calls == 1 for r in found)


def test_prompts_share_their_prefix_even_while_it_is_computed() -> None:
    model = BatchedLM(cells=2000, width=8)
    prefix = tuple(i % END for i in range(130))
    dists = [Completion(model, (*prefix, 1 + i, 2, 3), max_tokens=9) for i in range(6)]
    found = [request(model, d, i) for i, d in enumerate(dists)]
    values = serve(model, found, [0, 1, 1, 2, 3, 40])
    assert [r.ledger.prompt_computed for r in found] == [133, 3, 3, 3, 3, 3]
    for i, dist in enumerate(dists):
        assert_same(values[i], alone(dist, i))


def segment(model: BatchedLM, prompt: Tokens, keep: bool = True) -> Completion:
    return Completion(model, prompt, stop=(" ",), max_tokens=8, segment=True, keep=keep)


def test_a_kept_state_is_read_on_without_recomputing() -> None:
    model = BatchedLM(cells=2000, width=8, ending=0.0)
    prompt = tuple(i % END for i in range(100))
    (first,) = serve(model, [request(model, segment(model, prompt))])
    transcript = prompt + first.tokens
    before = sum(model.decoder.sizes)
    heirs = [segment(model, transcript) for _ in range(3)]
    found = [request(model, d, 10 + i) for i, d in enumerate(heirs)]
    values = serve(model, found)
    assert [r.ledger.prompt_computed for r in found] == [1, 1, 1]
    assert [r.ledger.prompt_reused for r in found] == [len(transcript) - 1] * 3
    written = sum(len(v.tokens) for v in values)
    assert sum(model.decoder.sizes) - before == written  # 3 last tokens, all drawn ones but 3
    for i, dist in enumerate(heirs):
        assert_same(values[i], alone(dist, 10 + i))
    options = OptionLogProbs(model, transcript + values[0].tokens + (3, 4), ((1,), (2,)))
    judge = request(model, options)
    (value,) = serve(model, [judge])
    assert judge.ledger.judge == 3
    assert judge.ledger.prompt_computed == 0
    np.testing.assert_allclose(value, alone(options, 0), atol=2e-4)


def test_a_state_that_is_not_kept_leaves_only_its_prompt() -> None:
    model = BatchedLM(cells=2000, ending=0.0)
    prompt = tuple(i % END for i in range(100))
    (first,) = serve(model, [request(model, segment(model, prompt, keep=False), 5)])
    assert len(first.tokens) > 3
    assert referenced_tokens(model) == 100
    again = request(model, segment(model, prompt + first.tokens))
    serve(model, [again])
    assert again.ledger.prompt_computed == len(first.tokens)


def referenced_tokens(model: BatchedLM) -> int:
    return model.decoder.cache.size - model.decoder.cache.free


def test_idle_state_expires_and_kept_state_later() -> None:
    model = BatchedLM(cells=2000, width=2, ending=0.0)
    kept, dropped = (1,) * 20, (2,) * 20
    serve(model, [request(model, segment(model, kept)), request(model, segment(model, dropped))])
    serve(model, [request(model, segment(model, dropped, keep=False), 1)])

    def shared(prompt: Tokens) -> int:
        return model.decoder.cache.longest_prefix(np.array(prompt))[1]

    for _ in range(2 * PATIENCE):
        model.engine.step()
    assert shared(kept) == 20
    assert shared(dropped) == 20  # the kept state of the first run holds it too
    for _ in range(20 * PATIENCE):
        model.engine.step()
    assert referenced_tokens(model) == 0

    serve(model, [request(model, segment(model, dropped, keep=False))])
    assert shared(dropped) == 20
    for _ in range(2 * PATIENCE):
        model.engine.step()
    assert shared(dropped) == 0


def test_cancelling_in_the_middle_leaves_the_others_alone() -> None:
    model = BatchedLM(cells=300, width=4, ending=0.0)
    prompt = tuple(i % END for i in range(40))
    dists = [Completion(model, prompt, max_tokens=20) for _ in range(8)]
    found = [request(model, d, i) for i, d in enumerate(dists)]
    for r in found:
        model.engine.submit(r)
    values: dict[int, Any] = {}
    while not values:
        for ended, value in model.engine.step():
            values[found.index(ended)] = value
        if model.engine.steps == 10:
            running, waiting = found[1], found[7]
            assert running.slot is not None
            assert waiting.slot is None
            written = running.generated
            model.engine.cancel(running)
            model.engine.cancel(waiting)
            model.decoder.check()
            assert (running.ledger.wasted, waiting.ledger.wasted) == (written, 0)
            assert 0 < written == running.ledger.generated
    rest = [r for i, r in enumerate(found) if i not in (1, 7, *values)]
    while len(values) < 6:
        values |= {found.index(r): v for r, v in model.engine.step()}
    for i, value in values.items():
        assert_same(value, alone(dists[i], i))
    assert len(rest) + 2 < 8
    assert not model.engine.running
    assert not model.engine.waiting
    model.decoder.check_all_free()


def test_cancelling_a_prefill_that_others_wait_for() -> None:
    model = BatchedLM(cells=2000, width=4)
    prompt = tuple(i % END for i in range(300))
    dists = [Completion(model, (*prompt, i), max_tokens=4) for i in range(3)]
    found = [request(model, d, i) for i, d in enumerate(dists)]
    for r in found:
        model.engine.submit(r)
    model.engine.step()
    model.engine.step()
    assert found[1].slot is None  # it waits for the prefix
    model.engine.cancel(found[0])
    values: dict[Request, Any] = {}
    for _ in range(20):
        values |= dict(model.engine.step())
    assert_same(values[found[1]], alone(dists[1], 1))
    assert_same(values[found[2]], alone(dists[2], 2))
    # What the cancelled one had computed was not lost.
    assert found[1].ledger.prompt_computed == 301 - found[0].ledger.prompt_computed


def test_bad_prompts_are_refused_in_one_line() -> None:
    model = BatchedLM(cells=50)
    with pytest.raises(PonderError, match="50 tokens but the context holds 50; shorten") as long:
        model.engine.submit(request(model, Completion(model, (1,) * 50)))
    assert "\n" not in str(long.value)
    with pytest.raises(PonderError, match="prompt is empty"):
        model.engine.submit(request(model, Completion(model, ())))
    assert not model.engine.waiting


@pytest.mark.parametrize("length", [1, 20, 47, 48, 49])
def test_a_trace_that_fills_the_context_ends_by_length(length: int) -> None:
    model = BatchedLM(cells=50, ending=0.0)
    dist = Completion(model, (1,) * length, max_tokens=500)
    (draw,) = serve(model, [request(model, dist)])
    assert draw.finish == "length"
    assert 49 <= length + len(draw.tokens) <= 50
    assert (
        draw.tokens == alone(Completion(model, dist.prompt, max_tokens=len(draw.tokens)), 0).tokens
    )


def test_batches_are_full_but_never_too_large() -> None:
    model = BatchedLM(cells=5000, slots=80, width=100, ending=0.01)
    rng = random.Random(4)
    prompts = [tuple(rng.randrange(END) for _ in range(rng.randint(1, 150))) for _ in range(80)]
    dists = [Completion(model, p, max_tokens=rng.randint(1, 40)) for p in prompts]
    found = [request(model, d, i) for i, d in enumerate(dists)]
    assert model.engine.width == UBATCH - CHUNK
    values = serve(model, found)
    for i, dist in enumerate(dists):
        assert_same(values[i], alone(dist, i))
    assert UBATCH - 4 <= max(model.decoder.sizes) <= UBATCH


def test_decoding_goes_on_during_a_long_prefill() -> None:
    model = BatchedLM(cells=2000, width=2, ending=0.0)
    writer = request(model, Completion(model, (1, 2), max_tokens=100))
    reader = request(model, Completion(model, (3,) * 1000, max_tokens=1), 1)
    model.engine.submit(writer)
    model.engine.step()
    model.engine.submit(reader)
    steps = 0
    while reader.ledger.calls == 0:
        written = writer.generated
        model.engine.step()
        steps += 1
        assert writer.generated == written + 1
    assert 1000 / (CHUNK + 1) <= steps <= 1000 / CHUNK + 2


def test_prompts_that_do_not_fit_together_are_computed_once_each() -> None:
    model = BatchedLM(cells=800, slots=8, width=6, ending=0.0)
    found = [request(model, Completion(model, (i + 1,) * 300, max_tokens=10), i) for i in range(6)]
    serve(model, found)
    assert [r.ledger.prompt_computed for r in found] == [300] * 6
    assert model.decoder.preempted == 0


def test_nothing_leaks_over_many_requests() -> None:
    model = BatchedLM(cells=90, slots=7, width=5, ending=0.1)
    rng = random.Random(5)
    dists = some_dists(model, rng, 200, 25)
    pending: list[Request] = []
    ended = cancelled = 0
    for step in range(5000):
        if dists and rng.random() < 0.5:
            pending.append(request(model, dists.pop(), step))
            model.engine.submit(pending[-1])
        if pending and rng.random() < 0.05:
            victim = pending.pop(rng.randrange(len(pending)))
            model.engine.cancel(victim)
            cancelled += 1
        for r, _ in model.engine.step():
            pending.remove(r)
            ended += 1
        model.decoder.check()
        busy = {s for s in model.decoder.cache.slots.values() if s.busy}
        assert busy == {r.slot for r in model.engine.running}
        if not dists and not pending:
            break
    assert ended + cancelled == 200
    assert cancelled > 5
    model.decoder.check_all_free()


def test_a_large_request_is_not_overtaken_for_ever() -> None:
    model = BatchedLM(cells=100, slots=8, width=4, ending=0.0)
    rng = random.Random(6)

    def small(step: int) -> Request:
        prompt = tuple(rng.randrange(END) for _ in range(10))
        return request(model, Completion(model, prompt, max_tokens=10), step)

    for i in range(4):
        model.engine.submit(small(i))
    large = request(model, Completion(model, (1,) * 90, max_tokens=5))
    model.engine.submit(large)
    for step in range(100):
        model.engine.submit(small(10 + step))
        if any(r is large for r, _ in model.engine.step()):
            return
    raise AssertionError("starved")


def test_who_has_begun_ends_before_who_waits() -> None:
    model = BatchedLM(cells=40, slots=8, width=2, ending=0.0)
    found = [request(model, Completion(model, (i,) * 10, max_tokens=15), i) for i in range(6)]
    for r in found:
        model.engine.submit(r)
    ended: list[int] = []
    while len(ended) < 6:
        ended += [found.index(r) for r, _ in model.engine.step()]
    assert model.decoder.preempted > 0
    assert ended == sorted(ended)


def test_an_aborted_engine_recovers() -> None:
    model = BatchedLM(cells=500, ending=0.0)
    dists = [Completion(model, (i + 1,) * 30, max_tokens=10) for i in range(6)]
    for i, dist in enumerate(dists):
        model.engine.submit(request(model, dist, i))
    for _ in range(5):
        model.engine.step()
    model.engine.abort()
    assert model.engine.step() == []
    model.engine.recover()
    model.decoder.check_all_free()
    values = serve(model, [request(model, d, i) for i, d in enumerate(dists)])
    for i, dist in enumerate(dists):
        assert_same(values[i], alone(dist, i))


def test_recovering_without_an_aborted_step_forgets_all_requests() -> None:
    model = BatchedLM(cells=500, ending=0.0)
    dist = Completion(model, (1,) * 100, max_tokens=10)
    model.engine.submit(request(model, dist))
    model.engine.step()
    model.engine.abort()  # too late for the step
    model.engine.recover()
    (value,) = serve(model, [request(model, dist)])  # does not wait for the forgotten prefill
    assert_same(value, alone(dist, 0))
    model.decoder.check_all_free()


def test_recovering_leaves_open_states_alone() -> None:
    model = BatchedLM(cells=500, ending=0.0)
    states = States(model.decoder, END + 1)  # type: ignore[arg-type]
    state = states.open((1, 2, 3))
    states.log_probs([state])
    model.engine.submit(request(model, Completion(model, (1, 2, 3, 4))))
    model.engine.abort()
    model.engine.step()
    model.engine.recover()
    states.advance(state, 5)
    wanted = model.next_log_probs((1, 2, 3, 5))
    np.testing.assert_allclose(states.log_probs([state])[0], wanted, atol=1e-4)
    states.release(state)
    model.decoder.check_all_free()


def test_states_that_fill_the_context_are_an_error_not_a_hang() -> None:
    model = BatchedLM(cells=60, ending=0.0)
    states = States(model.decoder, END + 1)  # type: ignore[arg-type]
    state = states.open((1,) * 40)
    states.log_probs([state])
    model.engine.submit(request(model, Completion(model, (2,) * 30, max_tokens=5)))
    with pytest.raises(PonderError, match="release"):
        model.engine.step()
    model.engine.recover()
    (value,) = serve(model, [request(model, Completion(model, (1,) * 45, max_tokens=5))])
    assert len(value.tokens) == 5
    states.release(state)
    model.decoder.check_all_free()


def test_states_share_fork_and_advance() -> None:
    model = BatchedLM(cells=300, slots=12, ending=0.0)
    states = States(model.decoder, END + 1)  # type: ignore[arg-type]
    prompt = tuple(i % END for i in range(140))  # more than one batch
    first = states.open(prompt)
    states.log_probs([first])
    heirs = [states.fork(first) for _ in range(5)]
    for i, heir in enumerate(heirs):
        states.advance(heir, i)
        states.advance(heir, i + 1)
    before = sum(model.decoder.sizes)
    laws = states.log_probs([*heirs, first, heirs[0]])
    assert sum(model.decoder.sizes) - before == 10
    wanted = [model.next_log_probs((*prompt, i, i + 1)) for i in range(5)]
    wanted += [model.next_log_probs(prompt), wanted[0]]
    np.testing.assert_allclose(laws, wanted, atol=1e-4)
    again = states.open((*prompt, 3, 4, 5))
    states.log_probs([again])
    assert sum(model.decoder.sizes) - before == 11
    for state in (*heirs, first, again):
        states.release(state)
    with pytest.raises(PonderError, match="released"):
        states.advance(first, 1)
    model.decoder.check_all_free()


def test_uncached_counts_what_would_be_computed() -> None:
    model = BatchedLM(cells=2000, ending=0.0)
    prompt = tuple(i % END for i in range(200))
    ask = request(model, Completion(model, prompt, max_tokens=3))
    assert model.engine.uncached(ask) == 200
    model.engine.submit(ask)
    model.engine.step()
    longer = request(model, Completion(model, (*prompt, 1, 2)))
    assert model.engine.uncached(longer) == 2  # the rest is under way
    assert model.engine.uncached(request(model, Completion(model, prompt))) == 1


def test_the_reference_is_not_trivial() -> None:
    """The fake's laws depend on every token, so that a wrong state cannot go unseen."""
    table = hashed()
    assert table((1, 2, 3)) != table((2, 2, 3))
    assert len({alone(Completion(BatchedLM(), (1,)), i).tokens for i in range(20)}) > 15
