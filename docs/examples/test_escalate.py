"""How a method is held to its law in a test suite: ``pytest docs/examples``."""

from __future__ import annotations

import discount
import escalate
import escalate_first
import pytest

import ponder
from ponder.testing import assert_valid


def test_escalate_is_valid_alone_and_in_a_strategy() -> None:
    assert_valid(escalate.Escalate(few=2, many=4), seconds=3)
    assert_valid(ponder.cot | escalate.escalate | ponder.vote, seconds=3)


def test_the_first_version_is_refuted() -> None:
    with pytest.raises(AssertionError, match="weighted"):
        assert_valid(escalate_first.escalate, seconds=20)


def test_discount_does_what_it_is_specified_to_do() -> None:
    assert_valid(discount.discount, seconds=3)
    with pytest.raises(AssertionError, match="weighted"):
        assert_valid(discount.unspecified, seconds=20)
