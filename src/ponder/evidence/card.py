"""The card: what ``ponder tune`` has found, for ``ask`` and ``run`` to use. Small readable JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ponder import defaults
from ponder.answering import as_strategy
from ponder.errors import PonderError
from ponder.evidence.abstaining import Calibrated, Points, missing, selector_of
from ponder.evidence.classes import Sizes, allotting
from ponder.guarantee.allotment import CLASSES, allotted
from ponder.guarantee.calibration import Calibrator
from ponder.strategy import Pipeline

VERSION = 1
_KIND = "ponder card"


@dataclass(frozen=True)
class Card:
    """A strategy that was chosen on questions with known answers, and what it is worth.

    ``sizes`` allots numbers of answers by how the first ones agree; None: all questions get the
    same. ``points`` has one entry a labelled question, its probability from the others, so that
    any risk can be certified when it is asked for. ``holdout`` is the state of the reusable
    holdout. The rest is for people to read: see ``docs/evidence.md``. ``recorded``: the samples
    were another program's, so that ``model`` is only what it was called.
    """

    strategy: str
    sizes: Sizes | None
    law: str
    model: str
    recorded: bool
    made: Mapping[str, Any]
    tuned_on: Mapping[str, Any]
    accuracy: Mapping[str, Any]
    classes: Mapping[str, Any]
    calibrator: Calibrator
    calibration: Mapping[str, Any]
    points: Points
    risks: Sequence[Mapping[str, Any]]
    verifiers: Sequence[Mapping[str, Any]] | None
    cost: Mapping[str, Any]
    holdout: Mapping[str, Any]
    tried: Sequence[Mapping[str, Any]]

    @property
    def pipeline(self) -> Pipeline:
        """The strategy, with its classes."""
        found = as_strategy(self.strategy)
        return found if self.sizes is None else allotting(found, self.sizes)

    @property
    def fingerprint(self) -> str:
        """The same for cards that answer alike."""
        decides = [self.strategy, self.sizes, self.calibrator.as_dict(), list(self.points)]
        return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

    def worth(
        self, risk: float | None = None, confidence: float = defaults.CONFIDENCE
    ) -> Calibrated:
        """What its answers are worth, and which may be given at a ``risk``.

        Raises PonderError for a risk or a confidence that is not between 0 and 1.
        """
        if risk is None:
            return Calibrated(self.calibrator, self.fingerprint)
        selector = selector_of(self.points, risk, confidence)
        note = ""
        if selector.why:
            short = missing(self.points, risk, confidence)
            note = f"a risk of {risk:g} is not certified, so that nothing is answered: {short}"
        else:
            note = f"--risk {risk:g}: {selector.statement}"
        fingerprint = f"{self.fingerprint} risk {risk:g} confidence {confidence:g}"
        return Calibrated(self.calibrator, fingerprint, selector, note)

    def refuse_other(self, model: str) -> None:
        """Raise PonderError for a model that it was not tuned on."""
        if not self.recorded and model != self.model:
            raise PonderError(
                f"the card was tuned on the model {self.model}, not {model}; use --model "
                f"{self.model}, or tune one for {model}"
            )

    def as_dict(self) -> dict[str, Any]:
        """One JSON object."""
        sizes = None if self.sizes is None else dict(zip(CLASSES, self.sizes, strict=True))
        return {
            _KIND: VERSION,
            "strategy": self.strategy,
            "sizes": sizes,
            "law": self.law,
            "model": {"name": self.model, "recorded": self.recorded},
            "made": self.made,
            "tuned_on": self.tuned_on,
            "accuracy": self.accuracy,
            "classes": self.classes,
            "calibration": {**self.calibration, "calibrator": self.calibrator.as_dict()},
            "risks": self.risks,
            "points": [list(point) for point in self.points],
            "verifiers": self.verifiers,
            "cost": self.cost,
            "holdout": self.holdout,
            "tried": self.tried,
        }

    @classmethod
    def from_dict(cls, record: Any, where: str = "this") -> Card:
        """What ``as_dict`` gave. Raises PonderError, naming ``where``, for anything else."""
        version = record.get(_KIND) if isinstance(record, dict) else None
        if not isinstance(version, int):
            raise PonderError(f"{where} is not a card; make one with ponder tune --out")
        if version > VERSION:
            raise PonderError(
                f"{where} is a card of version {version}, this ponder reads up to {VERSION}; "
                "upgrade ponder, or tune again"
            )
        try:
            found = cls._read(record)
            _check(found)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise PonderError(
                f"{where} is a damaged card: an entry is missing, or is not what it should be; "
                "tune again"
            ) from None
        except PonderError as error:
            raise PonderError(f"{where} is a card that cannot be used: {error}") from None
        return found

    @classmethod
    def _read(cls, record: Mapping[str, Any]) -> Card:
        for names, kind in _KINDS.items():
            if not all(isinstance(record[name], kind) for name in names):
                raise TypeError(names)
        said = dict(record["calibration"])
        calibrator = Calibrator.from_dict(said.pop("calibrator"))
        sizes = record["sizes"]
        return cls(
            strategy=str(record["strategy"]),
            sizes=None if sizes is None else allotted(*(sizes[name] for name in CLASSES)).sizes,
            law=record["law"],
            model=str(record["model"]["name"]),
            recorded=bool(record["model"]["recorded"]),
            calibrator=calibrator,
            calibration=said,
            points=[(None if p is None else float(p), float(c)) for p, c in record["points"]],
            **{name: record[name] for name in _AS_THEY_ARE},
        )

    @classmethod
    def read(cls, path: str | Path) -> Card:
        """The card in a file. Raises PonderError, in a line, if there is none."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise PonderError(
                f"cannot read {path}: {error.strerror or error}; give a card, made by ponder tune"
            ) from None
        except UnicodeDecodeError:
            raise PonderError(f"{path} is not a card; make one with ponder tune --out") from None
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            raise PonderError(f"{path} is not a card; make one with ponder tune --out") from None
        return cls.from_dict(record, str(path))

    def write(self, path: str | Path) -> None:
        """Write it, whole or not at all. Raises PonderError if it cannot be written."""
        target = Path(path)
        part = target.with_name(target.name + ".part")
        try:
            part.write_text(_readable(self.as_dict()), encoding="utf-8")
            part.replace(target)
        except OSError as error:
            raise PonderError(
                f"cannot write {path} ({error.strerror}); choose another --out"
            ) from None


_KINDS: dict[tuple[str, ...], Any] = {
    ("made", "tuned_on", "accuracy", "classes", "cost", "holdout", "calibration", "model"): dict,
    ("risks", "tried", "points"): list,
    ("law", "strategy"): str,
    ("verifiers",): list | None,
    ("sizes",): dict | None,
}
_AS_THEY_ARE = (
    "made",
    "tuned_on",
    "accuracy",
    "classes",
    "risks",
    "verifiers",
    "cost",
    "holdout",
    "tried",
)


def _check(card: Card) -> None:
    """Raise what using it would raise."""
    card.pipeline  # noqa: B018 - it may not parse
    card.worth(0.5)
    if not card.points:
        raise PonderError("it has no labelled questions; tune again")


def _readable(record: Mapping[str, Any]) -> str:
    """JSON with a line for every entry, and lists of numbers in one."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    flat = re.compile(r"\[\n\s*((?:[^\[\]{}\"]|\s)*?)\s+\]")
    return flat.sub(lambda m: "[" + re.sub(r"\s+", " ", m.group(1)) + "]", text) + "\n"
