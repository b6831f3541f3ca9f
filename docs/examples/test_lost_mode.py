"""What ``lost_mode.py`` tells is so."""

from __future__ import annotations

import lost_mode
import pytest


def test_weights_are_content_pairs_are_not_and_a_share_of_the_prior_mends_it() -> None:
    lost, mended, pairs = lost_mode.told(lost_mode.trained(steps=150), draws=1000)
    assert lost.startswith("guide: 1.00 of the weight right of zero")
    assert "the weights can be trusted" in lost
    assert 0.3 < float(mended.split(": ")[1][:4]) < 0.7
    assert "lost modes" in pairs


def test_the_evidence_is_half_of_what_it_is() -> None:
    import math

    from scipy.integrate import quad
    from scipy.stats import norm

    import ponder
    from ponder.guarantee import diagnose

    def at(theta: float) -> float:
        return float(norm.pdf(theta) * norm.pdf(lost_mode.SEEN, abs(theta), lost_mode.ERROR))

    exact = math.log(2 * quad(at, 0, 10)[0])
    guide = lost_mode.trained(steps=150)(lost_mode.SEEN)
    corrected = lost_mode.model(lost_mode.SEEN) | ponder.propose(guide) | ponder.draw(1000)
    found = diagnose(ponder.infer(corrected)).log_evidence
    assert found == pytest.approx(exact - math.log(2), abs=0.1)
