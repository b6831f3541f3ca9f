"""What ``waiting.py`` prints is right."""

from __future__ import annotations

import math

import pytest
import waiting

from ponder.guarantee import diagnose


def test_the_corrected_guide_has_the_exact_posterior_and_evidence() -> None:
    late, early = 0.3 * math.exp(-9 / 34), 0.7 * math.exp(-49 / 34)  # variance 4^2 + 1 in all
    posterior = waiting.main(steps=100)
    shares = {share.answer: share for share in posterior.shares}
    assert abs(shares[1.0].share - late / (late + early)) < 5 * shares[1.0].error
    found = diagnose(posterior.population)
    assert found.relative_error is not None
    evidence = math.log((late + early) / math.sqrt(34 * math.pi))
    assert found.log_evidence == pytest.approx(evidence, abs=5 * found.relative_error)
