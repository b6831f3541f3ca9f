"""Strategies: a program, then blocks, composed with ``|``.

A pipeline is a value. Its ``repr`` is the notation used on the command line; its law is computed
when it is composed; it becomes a program when it is bound to a question, a model and potentials.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ponder.binding import Binding, PotentialSource
from ponder.effects import Effects, Program, require_program
from ponder.errors import PonderError
from ponder.law import Kind, Law, stated
from ponder.meaning import Atom
from ponder.measure import Population, Posterior

Stage = Literal["program", "population", "posterior"]


class StageError(PonderError, TypeError):
    """Blocks composed in an order that has no meaning."""


@dataclass(frozen=True)
class Block:
    """One step of a strategy. Subclasses are frozen dataclasses; their fields are its arguments."""

    notation: ClassVar[str] = ""
    # Fields that say how much to run, which an exact check makes small; None: every whole number.
    sizes: ClassVar[tuple[str, ...] | None] = None
    least: ClassVar[int] = 1
    # Whether it asks a model to read on where a trace ended, so that its state is worth keeping.
    reads_trace: ClassVar[bool] = False

    def law(self, incoming: Law) -> Law:
        """The law of what comes out, given the law of what comes in."""
        raise self._lacks("law(self, incoming)")

    def _lacks(self, method: str) -> PonderError:
        return PonderError(f"the block {type(self).__name__} defines no {method}; write it")

    def meaning(self, measure: Sequence[Atom], binding: Binding) -> Sequence[Atom]:
        """What the block does to the target, written down as arithmetic on a finite measure.

        This is the specification against which ``ponder check`` holds the code. The target is
        kept unless a block says otherwise.
        """
        return measure

    def __ror__(self, program: Program[Any]) -> Pipeline:
        if not isinstance(program, Program):
            if callable(program):  # most likely one that was not called
                require_program(program, repr(self))
            return NotImplemented
        return Pipeline(Source.of(program), (self,))

    def __repr__(self) -> str:
        return notation_of(self.notation, self)


class Transform(Block):
    """Program -> Program.

    One that ``corrects`` weighs for how it samples, so that law and factors are no longer apart;
    one that needs them ``apart`` cannot follow it.
    """

    apart: ClassVar[bool] = False
    corrects: ClassVar[bool] = False

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        raise self._lacks("transform(self, program, binding)")


class Infer(Block):
    """Program -> Program[Population]."""

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        raise self._lacks("infer(self, program, law)")


class Move(Block):
    """Population -> Program[Population]."""

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        raise self._lacks("move(self, population, binding)")


class Repeat(Block):
    """Program[Population] -> Program[Population]: works on whole runs of the strategy so far."""

    def repeat(self, runs: Program[Population[Any]]) -> Program[Population[Any]]:
        raise self._lacks("repeat(self, runs)")


class Collapse(Block):
    """Program[Population] -> Program[X]: the strategy so far becomes a program again."""

    def collapse(self, runs: Program[Population[Any]]) -> Program[Any]:
        raise self._lacks("collapse(self, runs)")


class Decide(Block):
    """Population -> Program[Posterior].

    One whose law is bounded says what it claims: the expectation of ``error`` (between 0 and 1)
    is at most ``bound``.
    """

    @property
    def bound(self) -> float:
        """Of a bounded decision: the largest expected error."""
        return 1.0

    def decide(self, population: Population[Any], binding: Binding) -> Program[Posterior]:
        raise self._lacks("decide(self, population, binding)")

    def error(self, posterior: Posterior, target: Sequence[Atom]) -> float:
        """Of a bounded decision: how wrong it is, given the exact target; between 0 and 1."""
        raise self._lacks("error(self, posterior, target), as its law is bounded")


def notation_of(name: str, block: Any) -> str:
    """``name(first, key=value)`` with what differs from the defaults; the bare name if nothing."""
    parts = []
    for index, f in enumerate(dataclasses.fields(block)):
        value = getattr(block, f.name)
        if value == f.default:
            continue
        shown = getattr(value, "__name__", None) if callable(value) else None
        shown = shown or repr(value)
        parts.append(shown if index == 0 else f"{f.name}={shown}")
    return f"{name}({', '.join(parts)})" if parts else name


@dataclass(frozen=True)
class Source:
    """The head of a strategy: builds the program once the question and the model are known.

    Calling it with keyword arguments gives the source with those settings; ``check`` is called
    with them and raises if they make no sense. ``fixed``: it ignores question and model.
    """

    name: str
    build: Callable[..., Program[Any]] = field(compare=False)
    normalised: bool = False
    settings: tuple[tuple[str, Any], ...] = ()
    allowed: tuple[str, ...] = ()
    check: Callable[..., Any] | None = field(default=None, compare=False)
    fixed: bool = False

    @classmethod
    def of(cls, program: Program[Any]) -> Source:
        """A source that ignores question and model: an ordinary program."""
        return cls(program.name, lambda binding: program, program.normalised, fixed=True)

    def __call__(self, **settings: Any) -> Source:
        for key in settings:
            if key not in self.allowed:
                known = ", ".join(self.allowed) or "none"
                raise PonderError(f"{self.name} has no setting {key!r}; its settings: {known}")
        merged = {**dict(self.settings), **settings}
        if self.check is not None:
            self.check(**merged)
        return dataclasses.replace(self, settings=tuple(sorted(merged.items())))

    def bind(self, binding: Binding) -> Program[Any]:
        """The program for this question and model."""
        return self.build(binding, **dict(self.settings))

    def __repr__(self) -> str:
        inside = ", ".join(f"{k}={v!r}" for k, v in self.settings)
        return f"{self.name}({inside})" if inside else self.name

    def __or__(self, block: Block) -> Pipeline:
        return Pipeline(self, ()) | block


@dataclass(frozen=True)
class Pipeline:
    """A source and blocks. ``stage`` and ``law`` follow from them; ``repr`` parses back."""

    source: Source
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        stage: Stage = "program"
        corrected: Block | None = None
        for block in self.blocks:
            stage = next_stage(stage, block, self)
            if isinstance(block, Collapse) or (isinstance(block, Transform) and block.corrects):
                corrected = block
            elif corrected and isinstance(block, Transform) and block.apart:
                raise StageError(
                    f"in {self!r}: {block!r} changes the program's own factors, and after "
                    f"{corrected!r} they are mixed with its weights; put it before {corrected!r}"
                )

    @property
    def stage(self) -> Stage:
        """What binding and running gives: a program's value, a population or a posterior."""
        stage: Stage = "program"
        for block in self.blocks:
            stage = next_stage(stage, block, self)
        return stage

    @property
    def law(self) -> Law:
        """The law that composition gives."""
        return self._laws()[-1]

    def _laws(self) -> list[Law]:
        """The law before the first block and after each."""
        kind: Kind = "exact" if self.source.normalised else "weighted"
        laws = [Law(kind, repr(self.source), ordered=self.source.normalised)]
        for block in self.blocks:
            laws.append(block.law(laws[-1]))
        return laws

    def __or__(self, block: Block) -> Pipeline:
        if not isinstance(block, Block):
            raise StageError(
                f"{block!r} cannot follow | in a strategy; use a block such as draw(8) or vote"
            )
        return Pipeline(self.source, (*self.blocks, block))

    def __repr__(self) -> str:
        return " | ".join([repr(self.source), *map(repr, self.blocks)])

    def bind(self, binding: Binding) -> Program[Any]:
        """The whole strategy as one program for this question and model."""
        self.check_learnt()
        binding = dataclasses.replace(binding, keep_state=self._reads_traces())
        laws = self._laws()

        def run() -> Effects[Any]:
            program = self.source.bind(binding)
            stage: Stage = "program"
            for block, law in zip(self.blocks, laws[1:], strict=True):
                program = applied(block, stage, program, law, binding)
                stage = next_stage(stage, block, self)
            return (yield from program)

        return Program(run, repr(self))

    def check_learnt(self) -> None:
        """Raise PonderError if it names a potential whose numbers are still to be learnt."""
        for potential in self._potentials():
            if potential.missing:
                raise PonderError(potential.missing)

    def _potentials(self) -> list[PotentialSource]:
        values = [getattr(b, f.name) for b in self.blocks for f in dataclasses.fields(b)]
        return [value for value in values if isinstance(value, PotentialSource)]

    def _reads_traces(self) -> bool:
        """Whether a model will read on where a trace ended, so that its state is worth keeping."""
        asked = any(potential.reads_trace for potential in self._potentials())
        return asked or any(block.reads_trace for block in self.blocks)


def applied(
    block: Block, stage: Stage, program: Program[Any], law: Law, binding: Binding
) -> Program[Any]:
    """The program after ``block`` at this stage; ``law`` is the one it then has."""
    if stage == "program" and isinstance(block, Transform):
        return block.transform(program, binding)
    if isinstance(block, Collapse):
        return block.collapse(program)

    def run() -> Effects[Any]:
        if isinstance(block, Infer):
            return _as_complete((yield from block.infer(program, law)))
        if isinstance(block, Repeat):
            return _as_complete((yield from block.repeat(program)))
        population = yield from program
        if isinstance(block, Move):
            return _as_complete((yield from block.move(population, binding)))
        assert isinstance(block, Decide)
        return (yield from block.decide(population, binding))

    return Program(run, program.name)


def _as_complete(population: Population[Any]) -> Population[Any]:
    """The population; one with a trace that was cut short claims nothing, whatever it says."""
    complete = all(trace.status != "unfinished" for trace in population.traces)
    if complete or population.law.kind == "heuristic":
        return population
    return population.with_law(stated(population.law, complete=False))


def next_stage(stage: Stage, block: Block, whole: Pipeline) -> Stage:
    """The stage after ``block``, or a StageError that says what is missing."""
    if stage == "program":
        if isinstance(block, Transform):
            return "program"
        if isinstance(block, Infer):
            return "population"
        remedy = f"{block!r} works on a population; put an inference block such as draw(8) before"
    elif stage == "population":
        if isinstance(block, Move | Repeat):
            return "population"
        if isinstance(block, Collapse):
            return "program"
        if isinstance(block, Decide):
            return "posterior"
        remedy = f"{block!r} works on a program; put it before the inference block"
    else:
        remedy = f"the strategy has already decided; nothing can follow, remove {block!r}"
    raise StageError(f"in {whole!r}: {remedy}")
