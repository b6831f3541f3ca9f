"""matplotlib's SVG made fit to stand in a page, beside others, in light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree as ET

from ponder.evidence.report.palette import adaptive

_MARKS = {"path", "use", "text"}
_DECIMALS = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FAMILY = re.compile(r"font-family:[^;]*;?")


def inlined(
    markup: str, name: str, label: str, classes: str, hovers: Mapping[str, Sequence[str]]
) -> str:
    """The picture without what the page says itself: sizes, fonts, namespaces, fixed colours.

    ``name`` keeps its ids apart from those of other pictures; ``label`` is read out in its place.
    ``hovers`` are, for the id of an artist, the texts shown over its marks, one by one.
    """
    root = ET.fromstring(markup)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    _without(root, {"metadata", "style"})
    for element in root.iter():
        if (artist := element.get("id", "")) in hovers:
            for mark, text in zip(_marks(element), hovers[artist], strict=True):
                _explain(mark, text)
    _own_ids(root, name)
    for element in root.iter():
        _plain(element)
    _, _, width, _ = root.attrib["viewBox"].split()
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": classes,
        "role": "img",
        "aria-label": label,
        "style": f"max-width: {width}px",
    }
    return ET.tostring(root, encoding="unicode")


def _without(root: ET.Element, tags: set[str]) -> None:
    for parent in root.iter():
        for child in [child for child in parent if child.tag in tags]:
            parent.remove(child)


def _marks(element: ET.Element) -> Iterator[ET.Element]:
    """What an artist draws, in order; not what it only defines."""
    for child in element:
        if child.tag == "defs":
            continue
        if child.tag in _MARKS:
            yield child
        else:
            yield from _marks(child)


def _explain(mark: ET.Element, text: str) -> None:
    title = ET.Element("title")
    title.text = text
    mark.insert(0, title)


def _own_ids(root: ET.Element, name: str) -> None:
    """Keep the ids that are referred to, beginning with ``name``."""
    used = set()
    for element in root.iter():
        for key, value in element.attrib.items():
            used.update(_REFERENCE.findall(value))
            if key.endswith("href"):
                used.add(value.removeprefix("#"))
    for element in root.iter():
        found = element.attrib.pop("id", None)
        if found in used:
            element.set("id", f"{name}-{found}")
        for key, value in list(element.attrib.items()):
            if key.endswith("href"):
                del element.attrib[key]
                element.set("href", f"#{name}-{value.removeprefix('#')}")
            elif "url(#" in value:
                element.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))


def _plain(element: ET.Element) -> None:
    """Shorter numbers, no white space between elements, colours and fonts left to the page."""
    for key, value in list(element.attrib.items()):
        if key in ("d", "x", "y", "transform", "width", "height"):
            element.set(key, " ".join(_DECIMALS.sub(_hundredth, value).split()))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if "style" in element.attrib:
        style = _FAMILY.sub("", adaptive(element.attrib["style"]))
        element.set("style", " ".join(style.split()))
    if element.tag not in ("text", "title"):
        element.text = None
    element.tail = None


def _hundredth(match: re.Match[str]) -> str:
    return f"{float(match.group()):.2f}".rstrip("0").rstrip(".").replace("-0 ", "0 ")
