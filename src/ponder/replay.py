"""Replaying a program from its recorded choices, and refusing one that has changed its mind."""

from __future__ import annotations

from typing import Any

from ponder.addresses import Addresses
from ponder.dist import Dist
from ponder.effects import Each, Effect, Effects, Nested, Program, Sample
from ponder.errors import NotAFunctionOfItsChoices
from ponder.trace import Choice, handed


class Replay:
    """Feeds recorded choices back to a fresh generator, verifying that it asks for the same.

    Factors, twists and messages were applied the first time, and are passed over.
    """

    def __init__(
        self,
        name: str,
        recorded: list[Choice],
        prefix: str,
        addresses: Addresses,
        position: int = 0,
    ) -> None:
        self.name = name
        self.recorded = recorded
        self.prefix = prefix
        self.addresses = addresses
        self.position = position

    def forward(self, generator: Effects[Any]) -> Effect:
        """Answers the first sample or nested program for which nothing is recorded."""
        try:
            effect = next(generator)
            while not (isinstance(effect, Sample | Nested) and self.position == len(self.recorded)):
                effect = generator.send(self._answer(effect))
        except StopIteration:
            raise self.refusal("it returned early") from None
        return effect

    def _whole(self, program: Program[Any], prefix: str) -> Any:
        """The value of a sub-program, from the choices recorded under ``prefix``."""
        inner = Replay(self.name, self.recorded, prefix, Addresses(), self.position)
        generator = program.start()
        try:
            effect = next(generator)
            while True:
                effect = generator.send(inner._answer(effect))
        except StopIteration as stop:
            self.position = inner.position
            return stop.value

    def _answer(self, effect: Effect) -> Any:
        if isinstance(effect, Sample):
            return self._recorded_sample(effect)
        if isinstance(effect, Each):
            pairs = zip(effect.programs, self.addresses.each(effect), strict=True)
            return [self._whole(p, f"{self.prefix}{part}/") for p, part in pairs]
        if isinstance(effect, Nested):
            self.addresses.next(effect.name)
            choice = self._next(f"a nested program {effect.program.name}")
            if choice.dist is not None:
                raise self.refusal(f"{choice.address} was a sample before, now a nested program")
            return choice.value[0]
        return None

    def _recorded_sample(self, effect: Sample) -> Any:
        choice = self._next(f"a sample of {effect.dist!r}")
        address = self.prefix + self.addresses.next(effect.name)
        if choice.address != address:
            raise self.refusal(f"address {address} was {choice.address} before")
        self.verify(effect, choice.dist, address)
        return handed(choice.value)

    def _next(self, wanted: str) -> Choice:
        if self.position == len(self.recorded):
            raise self.refusal(f"it now asks for {wanted}, which was not recorded")
        self.position += 1
        return self.recorded[self.position - 1]

    def verify(self, effect: Sample, dist: Dist[Any] | None, address: str) -> None:
        """Refuse a sample of another distribution than ``dist``."""
        if dist is not effect.dist and dist != effect.dist:
            raise self.refusal(f"at {address} it samples {effect.dist!r}, before {dist!r}")

    def refusal(self, why: str) -> NotAFunctionOfItsChoices:
        """The error that says so."""
        return NotAFunctionOfItsChoices(
            f"program {self.name} is not a function of its choices: {why}; make it depend only on "
            "its arguments and sampled values"
        )
