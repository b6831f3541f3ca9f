"""Kernels leave the target of every toy program invariant, exactly, Ẑ included."""

from __future__ import annotations

from typing import Any

import pytest

from exact import assert_same, measure
from ponder.binding import Potential
from ponder.blocks import draw, smc, weigh
from ponder.blocks.gibbs import gibbs
from ponder.blocks.kernel import Kernel
from ponder.blocks.ladder import ladder, swap
from ponder.blocks.mh import mh, regenerate
from ponder.errors import PonderError
from ponder.interpret import enumerate_measure
from toys import PROGRAMS, inception

KERNELS: list[Kernel] = [
    mh(1),
    mh(2),
    regenerate(1),
    gibbs(1, n=2, ess=1.0),
    gibbs(1, n=2, ess=0.5),
    gibbs(1, n=2, ess=1.0, ancestors=True),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
@pytest.mark.parametrize("name", list(PROGRAMS))
def test_a_kernel_keeps_the_target(name: str, kernel: Kernel) -> None:
    assert_same(measure(PROGRAMS[name] | draw(1) | kernel), enumerate_measure(PROGRAMS[name]))


@pytest.mark.parametrize("kernel", [mh(1), regenerate(1)], ids=repr)
@pytest.mark.parametrize(
    "name", ["chain", "early", "uneven", "whimsical", "asserting", "doomed", "opaque"]
)
def test_smc_moves_particles_at_their_stage(name: str, kernel: Kernel) -> None:
    for ess in (0.6, 1.0):
        strategy = PROGRAMS[name] | smc(2, ess=ess, move=kernel)
        assert_same(measure(strategy), enumerate_measure(PROGRAMS[name]))


@pytest.mark.parametrize("name", ["chain", "early", "mortal", "opaque", "spread"])
def test_swapping_neighbours_keeps_the_ladder(name: str) -> None:
    before: Any = PROGRAMS[name] | ladder(0.5) | draw(1)
    assert_same(measure(before | swap(1)), measure(before))
    assert_same(measure(before | mh(1)), measure(before))


def test_smc_refuses_moves_that_need_the_end() -> None:
    with pytest.raises(PonderError, match="unfinished"):
        smc(2, move=gibbs(1, n=2))


def test_a_new_past_of_another_length() -> None:
    p = inception() | weigh(lambda bits: -0.3 * sum(bits))
    strategy = p | draw(1) | gibbs(1, n=2, ess=1.0, ancestors=True)
    assert_same(measure(strategy), measure(p | draw(1)))


def test_a_particle_that_was_moved_samples_what_it_has_not_come_to() -> None:
    p = PROGRAMS["uneven"] | weigh(STEERED)
    assert_same(measure(p | smc(1, move=mh(1))), measure(p | draw(1)))


STEERED = Potential("steered", lambda bits: 0.2 * sum(bits), lambda seen: 0.1 * len(seen))
