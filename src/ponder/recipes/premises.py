"""Premises as a graph: which of them lead to a conclusion, and in which order.

Statements are linked where what one gives is what another needs: content words, lightly stemmed.
"Each wumpus is an impus" needs wumpus and gives impus. No grammar is parsed, so it is a guess, and
a rule is never followed from its consequence denied to its condition denied.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_FILLER_WORDS = """
    a an the all any each every everything everyone no nothing some something someone anyone
    nobody either neither both one ones thing things people person they them their it its he she
    him her his and or but if then than when whenever so not never nor also that which who whom
    this these those there of in on at to for from by with as into is are was were be been being
    am do does did has have had can could may might must will would should
"""
_FILLERS = frozenset(_FILLER_WORDS.split())
_WORD = re.compile(r"[^\W_]+")
_IF = re.compile(r"(?:if|when|whenever)\s(.+?)(?:,\s*then\b|\sthen\b|,)(.+)")
_GIVEN = re.compile(r"(.+?)\s(?:if|when|whenever)\s(.+)")
_LINK = re.compile(
    r"(?<!\bwho)(?<!\bthat)(?<!\bwhich)\s"
    r"(?:is|are|was|were|has|have|can|could|may|might|must|will|would|should|does|do|did)\b"
)


class Sides(NamedTuple):
    """The content words that a statement speaks of, and those that it says of them."""

    needs: frozenset[str]
    gives: frozenset[str]


def sides(statement: str) -> Sides:
    """What follows "if", or stands before the verb, and the rest; all words are both if unclear."""
    text = statement.lower()
    if match := _IF.match(text):
        needs, gives = words(match.group(1)), words(match.group(2))
    elif match := _GIVEN.match(text):
        gives, needs = words(match.group(1)), words(match.group(2))
    else:
        parts = _LINK.split(text, maxsplit=1)
        needs, gives = words(parts[0]), words(parts[-1])
    if needs and gives:
        return Sides(needs, gives)
    return Sides(words(text), words(text))


def words(text: str) -> frozenset[str]:
    """The content words of a text: no fillers, and no plural endings."""
    return frozenset(_stem(w) for w in _WORD.findall(text.lower()) if w not in _FILLERS)


def _stem(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ses", "xes", "zes", "ches", "shes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("us", "ss", "is")):
        return word[:-1]
    return word


def relevant(premises: Sequence[str], conclusion: str, depth: int) -> list[int]:
    """The indices of the premises that bear on the conclusion, facts first, in proof direction.

    Backward, breadth first and at most ``depth`` links far: premises that give what the
    conclusion says, those that give what these need, and so on. Then forward from what the
    conclusion speaks of: those of them that it reaches, or all if it reaches none. The farthest
    from the conclusion come first; of equally far ones the first. All premises, as they stand, if
    none is linked to the conclusion.
    """
    graph = [sides(premise) for premise in premises]
    start, goals = sides(conclusion)
    far: dict[int, int] = {}
    for link in range(1, depth + 1):
        new = [i for i, s in enumerate(graph) if i not in far and s.gives & goals]
        if not new:
            break
        far.update(dict.fromkeys(new, link))
        goals = frozenset().union(*(graph[i].needs for i in new))
    kept = _reached(graph, far, start) or list(far)
    return sorted(kept, key=lambda i: (-far[i], i)) or list(range(len(premises)))


def _reached(graph: Sequence[Sides], among: dict[int, int], known: frozenset[str]) -> list[int]:
    """Those of the statements that speak, link by link, of what is known."""
    reached: list[int] = []
    while new := [i for i in among if i not in reached and graph[i].needs & known]:
        reached += new
        known = known.union(*(graph[i].gives for i in new))
    return reached
