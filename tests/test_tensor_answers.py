"""Values that are tensors of one number vote and are counted as that number."""

from __future__ import annotations

import pytest

import ponder
from ponder.interpret import enumerate_measure

torch = pytest.importorskip("torch")


@ponder.program
def flip() -> ponder.Effects[object]:
    from ponder.tensors import Torch

    return (yield from ponder.sample(Torch(torch.distributions.Bernoulli(0.25))))


def test_tensors_of_one_number_are_one_answer() -> None:
    found = ponder.infer(flip() | ponder.draw(50) | ponder.vote)
    assert {share.answer for share in found.shares} == {0.0, 1.0}
    assert sum(share.count for share in found.shares) == 50


def test_and_one_key() -> None:
    assert enumerate_measure(flip()) == pytest.approx({0.0: 0.75, 1.0: 0.25})


@pytest.mark.parametrize("infer", [ponder.draw(100), ponder.smc(100, ess=1.0)], ids=repr)
def test_what_a_program_changes_in_place_is_not_what_was_recorded(infer: ponder.Block) -> None:
    from ponder.tensors import Torch

    normal = torch.distributions.Normal

    def twice(in_place: bool) -> ponder.Program[float]:
        @ponder.program
        def run() -> ponder.Effects[float]:
            total = 0.0
            for _ in range(2):
                z = yield from ponder.sample(Torch(normal(0.0, 1.0)))
                if in_place:
                    z += 1.0
                else:
                    z = z + 1.0
                yield from ponder.observe(Torch(normal(z, 0.3)), 1.0)
                total += float(z)
            return total

        return run()

    said, changed = (ponder.infer(twice(flag) | infer, seed=1) for flag in (False, True))
    assert [t.value for t in changed.traces] == [t.value for t in said.traces]
    assert changed.log_evidence == said.log_evidence
