"""The report of a bench: one page that stands by itself, says what the figures say, and no more."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ponder.errors import PonderError
from ponder.evidence.report import write_report
from ponder.evidence.report.answers import shares
from ponder.evidence.report.heat import by_difficulty
from ponder.evidence.report.labels import spread
from ponder.evidence.report.lettering import lettered
from ponder.evidence.report.palette import GREEN, GREY, HUES, INK
from ponder.evidence.report.schema import Descendant, checked
from ponder.evidence.report.selective import risk_curve
from ponder.evidence.report.table import compared
from ponder.evidence.report.tree import _columns, fates
from ponder.evidence.report.verdict import verdict
from ponder.evidence.report.wording import number, percent, points, shortened

EXAMPLE = Path(__file__).parent / "data" / "results.json"
HOSTILE = "<script>alert('x')</script> \"&amp; $x_1$ ]]> \x00\x1b\ud800 {{ 7 * 7 }}"
PICTURES = ["frontier", "reliability", "selective", "forecast", "genealogy", "tokens", "heat"]
VOID = {"meta", "br", "link", "img", "input", "hr"}
Change = Callable[[dict[str, Any]], object]


def example(change: Change | None = None) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(EXAMPLE.read_text())
    if change is not None:
        change(results)
    return results


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(example(), path)
    return path.read_text(encoding="utf-8")


def written(results: dict[str, Any], tmp_path: Path) -> str:
    write_report(results, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """The elements of a page, and whether each that begins also ends."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never ended: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th") and self.cells:
            self.cells[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"{tag} ends and never began"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if ("td" in self.open or "th" in self.open) and self.cells[-1]:
            self.cells[-1][-1] += data


def pictures(page: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def titles(page: str, name: str, which: str = "wide") -> list[str]:
    """What is shown over the marks of a picture."""
    section = re.search(rf'<section id="{name}">.*?</section>', page, re.DOTALL)
    assert section is not None
    (svg,) = [s for s in pictures(section.group()) if s.get("class") == which]
    return [title.text or "" for title in svg.iter("title")]


# --- the page as a document ---------------------------------------------------------------------


def test_the_page_is_well_formed_and_complete(page: str) -> None:
    found = Page(page)
    sections = [attrs["id"] for tag, attrs in found.elements if tag == "section"]
    assert sections == [*PICTURES, "comparisons", "failures", "made", "reading"]
    ids = [attrs["id"] for _, attrs in found.elements if attrs.get("id")]
    assert not [name for name, times in Counter(ids).items() if times > 1]
    svgs = pictures(page)
    assert [svg.get("class") for svg in svgs] == ["wide", "narrow"] * len(PICTURES)
    for svg in svgs:
        assert svg.get("role") == "img"
        assert len(svg.get("aria-label") or "") > 40
        assert svg.findall(".//text"), "text must stay text"
    assert page.count("<figcaption>") == len(PICTURES)


def test_every_reference_within_a_picture_is_to_itself(page: str) -> None:
    for svg in pictures(page):
        own = {element.get("id") for element in svg.iter()}
        text = ET.tostring(svg, encoding="unicode")
        asked = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)
        assert {a or b for a, b in asked} == own - {None}


def test_the_page_loads_nothing(page: str) -> None:
    low = page.lower()
    for word in ("http:", "https:", "//", "src=", "<script", "<link", "<img", "@import", "base64"):
        assert word not in low, word
    assert set(re.findall(r"url\((.)", low)) == {"#"}
    assert "default-src 'none'" in low


def test_colours_follow_the_reader_s_scheme(page: str) -> None:
    """No colour is fixed: pictures use the page's variables, which dark sets anew."""
    body = page[page.index("<body>") :]
    assert not re.findall(r"#[0-9a-f]{6}\b", body)
    light, dark = re.findall(r"--ink: (#\w+)", page)
    assert light != dark
    used = set(re.findall(r"var\((--[\w-]+)\)", page))
    assert used <= set(re.findall(r"(--[\w-]+):", page))


def test_the_same_results_give_the_same_bytes(page: str, tmp_path: Path) -> None:
    """In another process, with other hashes, and whatever matplotlib is told elsewhere."""
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nfont.size: 30\nsvg.hashsalt: z\n")
    code = (
        "import json, sys; from pathlib import Path\n"
        "from ponder.evidence.report import write_report\n"
        "write_report(json.load(open(sys.argv[1])), Path(sys.argv[2]))"
    )
    out = tmp_path / "again.html"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path)}
    command = [sys.executable, "-c", code, str(EXAMPLE), str(out)]
    subprocess.run(command, check=True, env=environment)
    assert out.read_text(encoding="utf-8") == page


def test_reading_the_module_draws_nothing() -> None:
    """``ponder --help`` must not wait for matplotlib."""
    code = (
        "import sys, ponder.evidence.report\n"
        "print([m for m in ('matplotlib', 'jinja2', 'scipy') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"


# --- what others wrote ----------------------------------------------------------------------------


def _texts(value: Any, keep: set[str]) -> Any:
    """Hostile text in place of every text, but for those under ``keep``."""
    if isinstance(value, dict):
        return {k: v if k in keep else _texts(v, keep) for k, v in value.items()}
    if isinstance(value, list):
        return [_texts(item, keep) for item in value]
    return value + HOSTILE if isinstance(value, str) else value


def test_nothing_that_others_wrote_is_markup(tmp_path: Path) -> None:
    results = _texts(example(), {"what", "kind"})
    results["methods"][0]["failures"] = [{"id": HOSTILE, "why": HOSTILE}]
    results["notes"] = [HOSTILE]
    page = written(results, tmp_path)
    found = Page(page)
    assert not {tag for tag, _ in found.elements} & {"script", "img", "iframe"}
    assert not [a for _, attrs in found.elements for a in attrs if a.startswith("on")]
    assert not re.findall("[\x00-\x08\x0e-\x1f\ud800-\udfff]", page)
    assert "{{ 7 * 7 }}" in page
    assert "alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert len(pictures(page)) == 2 * len(PICTURES)
    assert any("$x_1$" in text for text in titles(page, "genealogy")), "no formula is typeset"


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PonderError, match=r"cannot write .*nowhere.*name another file"):
        write_report(example(), tmp_path / "nowhere" / "report.html")


# --- parts that are not there ---------------------------------------------------------------------


def _silent(results: dict[str, Any]) -> None:
    results["forecast"] = results["genealogy"] = None
    results["comparisons"] = []
    for method in results["methods"]:
        method["calibration"] = None
        method["samples"] = [[q, None, credit] for q, _, credit in method["samples"]]
        for point in method["curve"]:
            point["by_question"] = {}


def test_what_is_missing_is_said_in_a_line(tmp_path: Path) -> None:
    page = written(example(_silent), tmp_path)
    found = Page(page)
    sections = [attrs.get("id") for tag, attrs in found.elements if tag == "section"]
    drawn = [name for name in sections if name in PICTURES]
    assert drawn == ["frontier", "tokens"]
    for line in ("No reliability diagram:", "No risk by coverage:", "No forecast:", "No traces"):
        assert page.count(line) == 1
    assert "None: no two methods were measured at the same tokens." in page
    assert "It was compared with no other method" in page


def _bare(results: dict[str, Any]) -> None:
    """One method, one size, nothing right, nothing spent, no baseline."""
    results["methods"] = results["methods"][:1]
    results["baselines"] = results["comparisons"] = results["pareto"] = []
    (method,) = results["methods"]
    method["curve"] = method["curve"][-1:]
    method["curve"][0] |= {"accuracy": 0.0, "interval": [0.0, 0.0], "tokens": 0.0, "spent": {}}
    method["calibration"]["bins"] = [[1.0, 0.0, 1]]
    method["samples"] = [[0, 1.0, 0.0]]
    for trace in results["genealogy"]["traces"]:
        trace |= {"weight": 0.0, "alive": False, "parent": trace["index"]}


def test_the_least_there_can_be_is_drawn(tmp_path: Path) -> None:
    page = written(example(_bare), tmp_path)
    Page(page)
    assert "a random sample" in page
    assert "coverage ceiling" in page
    assert page.count("not measured") == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.update(version=2), "version 2"),
        (lambda r: r.pop("pareto"), "lack pareto"),
        (lambda r: r.update(methods=[]), "without a measurement"),
        (lambda r: r["methods"][0].update(curve=[]), "without a measurement"),
    ],
)
def test_results_that_cannot_be_read(change: Change, said: str, tmp_path: Path) -> None:
    with pytest.raises(PonderError, match=said) as caught:
        write_report(example(change), tmp_path / "report.html")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


# --- figures --------------------------------------------------------------------------------------


def test_the_table_holds_the_results(page: str) -> None:
    results = example()
    rows = [row for row in Page(page).cells if row]
    for method in results["methods"]:
        full = method["curve"][-1]
        cells = next(row for row in rows if row[0].endswith(method["strategy"]))
        _, law, right, answered, tokens, covered = cells
        assert law == method["law"]
        shown, low, high = map(float, re.findall(r"[\d.]+", right))
        wanted = [full["accuracy"], *full["interval"], full["answered"], full["covered"]]
        printed = [shown, low, high, float(answered[:-1]), float(covered[:-1])]
        assert printed == pytest.approx([100 * x for x in wanted], abs=0.0501)
        assert float(tokens.replace(",", "")) == pytest.approx(full["tokens"], abs=0.501)
    for name in ("random sample", "ceiling"):
        (base,) = [b for b in results["baselines"] if b["name"].endswith(name)]
        row = next(row for row in rows if row[0].endswith(name))
        assert row[2].startswith(percent(base["accuracy"]))


def test_methods_are_ordered_by_accuracy_then_cost() -> None:
    def equal(results: dict[str, Any]) -> None:
        for method, tokens in zip(results["methods"], (30.0, 20.0, 10.0), strict=True):
            method["curve"][-1] |= {"accuracy": 0.5, "tokens": tokens}
        results["methods"][0]["curve"][-1]["accuracy"] = 0.6

    shown = lettered(checked(example(equal)))
    names = [m["strategy"] for m in example()["methods"]]
    assert [m.letter for m in shown] == ["A", "B", "C"]
    assert [m.strategy for m in shown] == [names[0], names[2], names[1]]


def test_letters_and_hues_run_out_gracefully() -> None:
    def many(results: dict[str, Any]) -> None:
        results["methods"] = [copy.deepcopy(results["methods"][0]) for _ in range(30)]

    shown = lettered(checked(example(many)))
    assert [m.letter for m in shown][24:] == ["Y", "Z", "AA", "AB", "AC", "AD"]
    assert [m.colour for m in shown[:6]] == list(HUES)
    assert {m.colour for m in shown[6:]} == {GREY}


def test_each_measured_point_is_in_the_frontier(page: str) -> None:
    said = " ".join(titles(page, "frontier"))
    measured = [point for method in example()["methods"] for point in method["curve"]]
    assert len(titles(page, "frontier")) == len(measured)
    for point in measured:
        assert f"{point['strategy']}\n{percent(point['accuracy'])} right" in said
    ticks = re.findall(r">(\d+k?)</text>", page[page.index('id="frontier"') :])
    assert "1k" in ticks, "a log axis with ticks that people read"


def test_bins_are_drawn_in_proportion(page: str) -> None:
    bins = [b for m in example()["methods"] for b in m["calibration"]["bins"]]
    assert len(titles(page, "reliability")) == len(bins)
    assert sum(int(re.findall(r"(\d+) runs?$", t)[0]) for t in titles(page, "reliability")) == sum(
        count for _, _, count in bins
    )


def test_risk_by_coverage_ends_at_all_answers() -> None:
    def silent(results: dict[str, Any]) -> None:
        results["methods"][0]["samples"] = [
            [0, 0.9, 1.0], [1, 0.9, 0.0], [2, 0.5, 0.5], [3, None, 0.0]
        ]  # fmt: skip
        results["methods"] = results["methods"][:1]

    curve = risk_curve(lettered(checked(example(silent)))[0])
    assert curve is not None
    assert curve.coverage.tolist() == [0.5, 0.75]
    assert curve.risk.tolist() == [0.5, 0.5]


def test_each_question_is_in_the_heat_map_the_hardest_last(page: str) -> None:
    results = example()
    said = titles(page, "heat")
    assert sorted(text.split("\n")[0] for text in said) == sorted(
        question["id"] for question in results["questions"]
    )
    means = [
        sum(map(float, re.findall(r" ([\d.]+)%", text))) / len(results["methods"]) for text in said
    ]
    assert means == sorted(means, reverse=True)


def test_difficulty_is_within_tasks() -> None:
    import numpy as np

    rows: Any = [{"id": str(i), "task": task, "kind": "text"} for i, task in enumerate("abab")]
    credit = np.array([[0.1, 0.2, 0.9, 0.2], [0.1, 0.4, 0.9, 0.4]])
    assert by_difficulty(rows, credit) == [("a", [2, 0]), ("b", [1, 3])]


# --- the family tree ------------------------------------------------------------------------------


def trace(index: int, parent: int | None, stage: int, **other: Any) -> Descendant:
    whole = {"weight": 0.5, "answer": None, "text": f"text {index}", "tokens": 3, "alive": True}
    return {"index": index, "parent": parent, "stage": stage, **whole, **other}  # type: ignore


def test_each_trace_can_be_read(page: str) -> None:
    traces = example()["genealogy"]["traces"]
    said = titles(page, "genealogy")
    assert len(said) == len(traces)
    for one in traces:
        (text,) = [t for t in said if t.startswith(f"trace {one['index']}, ")]
        assert f"weight {one['weight']:.3f}" in text
        assert one["text"] in text


def discs(page: str) -> list[tuple[float, float]]:
    """The weight and the radius of each disc of the wide genealogy that is not of least size."""
    (svg, *_) = pictures(page[page.index('id="genealogy"') :])
    found = []
    for mark in svg.iter("path"):
        title = mark.find("title")
        if title is not None:
            corners = [float(x) for x in re.findall(r"-?[\d.]+", mark.get("d") or "")]
            radius = (max(corners[::2]) - min(corners[::2])) / 2
            found.append((float(re.findall(r"weight ([\d.]+)", title.text or "")[0]), radius))
    return [(weight, radius) for weight, radius in found if radius > 3.01]


def test_areas_are_weights(page: str) -> None:
    found = discs(page)
    ratios = [radius**2 / weight for weight, radius in found]
    assert len(ratios) > 10
    assert max(ratios) / min(ratios) < 1.03
    assert 12 < max(radius for _, radius in found) < 25, "large enough to point at"


@st.composite
def families(draw: st.DrawFn) -> list[Descendant]:
    traces: list[Descendant] = []
    before: list[int] = []
    for stage in range(draw(st.integers(2, 4))):
        here = []
        for _ in range(draw(st.integers(1, 5))):
            parent = draw(st.sampled_from(before)) if before else None
            answer = draw(st.sampled_from(["1", "2", None]))
            traces.append(trace(len(traces), parent, stage, answer=answer))
            here.append(traces[-1]["index"])
        before = here
    return traces


def _crossings(traces: list[Descendant]) -> Iterator[tuple[int, int]]:
    for before, here in pairwise(_columns(traces)):
        rank = {trace["index"]: i for i, trace in enumerate(before)}
        order = [rank[t["parent"]] for t in here if t["parent"] is not None]
        yield from ((a, b) for a, b in pairwise(order) if a > b)


@given(families())
def test_no_two_edges_cross(traces: list[Descendant]) -> None:
    assert not list(_crossings(traces))
    placed = [trace["index"] for column in _columns(traces) for trace in column]
    assert sorted(placed) == [trace["index"] for trace in traces]


def test_a_lineage_wears_the_colour_of_what_it_comes_to() -> None:
    traces = [
        trace(0, None, 0),
        trace(1, None, 0),
        trace(2, None, 0),
        trace(3, 0, 1, answer="72", weight=0.5),
        trace(4, 1, 1, answer="72", weight=0.3),
        trace(5, 1, 1, answer="24", weight=0.2),
        trace(6, 2, 1, answer="24", weight=0.0, alive=False),
    ]
    family: Any = {"traces": traces, "right_answer": "72.0"}
    right, wrong = shares(family, "number")
    assert (right.answer, right.right, right.colour) == ("72", True, GREEN)
    assert right.weight == pytest.approx(0.8)
    assert not wrong.right
    found = fates(traces, [right, wrong])
    assert found[0] == found[3] == GREEN
    assert found[1] == INK
    assert found[2] is None
    assert found[5] == wrong.colour != GREEN


def test_draws_of_one_stage_stand_by_answer(tmp_path: Path) -> None:
    def one_stage(results: dict[str, Any]) -> None:
        answers, weights = ["$7$", "$7$", None, "9"], [0.4, 0.1, 0.25, 0.25]
        results["genealogy"]["right_answer"] = "9"
        results["genealogy"]["traces"] = [
            trace(i, None, 0, answer=answer, weight=weight)
            for i, (answer, weight) in enumerate(zip(answers, weights, strict=True))
        ]

    page = written(example(one_stage), tmp_path)
    svg = pictures(page[page.index('id="genealogy"') :])[0]
    assert (svg.get("aria-label") or "").endswith(
        "$7$: 50.0% of the weight, 2 traces. 9 (right): 25.0% of the weight, 1 trace. "
        "no answer: 25.0% of the weight, 1 trace."
    )
    assert len(titles(page, "genealogy")) == 4
    assert [text.text for text in svg.iter("text")] == [
        "$7$", "50.0%", "9", "25.0%", "✓", "no answer", "25.0%",
    ]  # fmt: skip
    ratios = [radius**2 / weight for weight, radius in discs(page)]
    assert ratios == pytest.approx([ratios[0]] * 4, rel=0.03)


# --- the verdict ----------------------------------------------------------------------------------


def said(change: Change) -> str:
    results = checked(example(change))
    return re.sub(r"<[^>]+>", "", str(verdict(results, lettered(results))))


def _base(accuracy: float, low: float, high: float) -> Change:
    def change(results: dict[str, Any]) -> None:
        results["methods"][0]["curve"][-1] |= {"accuracy": 0.78, "interval": [0.7, 0.86]}
        results["baselines"] = [
            {"name": "coverage ceiling", "accuracy": 0.99, "interval": [0.9, 1.0], "tokens": None},
            {"name": "a random option", "accuracy": 0.1, "interval": None, "tokens": None},
            {
                "name": "a random sample",
                "accuracy": accuracy,
                "interval": [low, high],
                "tokens": 50.0,
            },
        ]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_base(0.4, 0.3, 0.5), "A random sample gets 40.0% (30.0 to 50.0%) at 50 tokens: the two"),
        (_base(0.4, 0.3, 0.5), "do not overlap"),
        (_base(0.6, 0.5, 0.72), "overlap, so that these numbers alone do not show a gain"),
        (_base(0.8, 0.79, 0.81), "the method does not improve on it here"),
        (_base(0.8, 0.79, 0.81), "Some candidate of some method was right for 99.0%"),
    ],
)
def test_the_verdict_against_the_best_baseline(change: Change, words: str) -> None:
    assert words in said(change)
    assert "random option" not in said(change), "the best baseline, not any"


def _difference(low: float, high: float, **other: Any) -> Change:
    def change(results: dict[str, Any]) -> None:
        a, b = results["methods"][0]["strategy"], results["methods"][1]["strategy"]
        mean = (low + high) / 2
        row = {"a": a, "b": b, "tokens": 5.0, "difference": mean, "interval": [low, high], **other}
        easy = {**row, "difference": mean + 0.5, "b": "easier"}
        results["comparisons"] = [easy, row, {**row, "a": b, "b": a}]

    return change


@pytest.mark.parametrize(
    ("low", "high", "other", "words", "word"),
    [
        (0.03, 0.15, {}, "+9.0 points (+3.0 to +15.0): the interval excludes 0, so", "better"),
        (-0.03, 0.15, {}, "cannot tell the two apart", "not told apart"),
        (0.0, 0.1, {}, "cannot tell the two apart", "not told apart"),
        (-0.2, -0.1, {}, "the other is the better use of these tokens", "worse"),
        (0.03, 0.15, {"together": [-0.01, 0.19]}, "not once all comparisons", "better, alone"),
        (0.03, 0.15, {"beyond": "above"}, "which stops at fewer tokens", "better"),
        (0.03, 0.15, {"beyond": "above"}, "the interval excludes 0. ", "better"),
        (0.03, 0.15, {"beyond": "below"}, "which has no size so cheap", "better"),
    ],
)
def test_the_verdict_against_the_closest_method(
    low: float, high: float, other: dict[str, Any], words: str, word: str
) -> None:
    change = _difference(low, high, **other)
    assert words in said(change)
    assert "easier" not in said(change)
    assert compared(checked(example(change))["comparisons"][1]) == word


def test_the_verdict_names_what_is_as_good_for_less() -> None:
    def cheap(results: dict[str, Any]) -> None:
        results["methods"][1]["curve"][0] |= {"accuracy": 0.9, "tokens": 12.0}

    small = example()["methods"][1]["curve"][0]["strategy"]
    assert f"{small}, for 12 tokens, was right no less often: 90.0%." in said(cheap)
    assert "no less often" not in said(lambda results: None)


def test_the_verdict_owns_failures_choice_and_ties() -> None:
    def failed(results: dict[str, Any]) -> None:
        results["methods"][0]["failures"] = [{"id": "1", "why": "x"}, {"id": "2", "why": "x"}]

    assert "could not be run on 2 questions, counted as wrong" in said(failed)
    assert "flatters it" in said(failed)

    def alone(results: dict[str, Any]) -> None:
        results["methods"] = results["methods"][:1]

    assert "flatters" not in said(alone)

    def tied(results: dict[str, Any]) -> None:
        for method in results["methods"]:
            method["curve"][-1]["accuracy"] = 0.5

    assert "is right as often as any of 3 methods, and cheapest of these" in said(tied)


# --- small parts ----------------------------------------------------------------------------------

PLACES = st.lists(st.floats(0, 100), min_size=1, max_size=8)


@given(PLACES)
def test_names_are_spread_within_bounds_and_in_order(places: list[float]) -> None:
    found = spread(places, 10, 0, 100)
    for (a, x), (b, y) in pairwise(sorted(zip(places, found, strict=True))):
        assert y - x >= 10 - 1e-9 or a == b
    assert min(found) >= -1e-9
    assert max(found) <= 100 + 1e-9
    far = sorted(places)
    if all(b - a >= 10 for a, b in pairwise(far)):
        assert found == pytest.approx(places)


@given(PLACES)
def test_names_are_not_moved_farther_than_needed(places: list[float]) -> None:
    """A block about its mean is the least-squares answer: moving all of it cannot help."""
    found = spread(places, 10, -1000, 1000)
    assert sum(found) == pytest.approx(sum(places), abs=1e-6)


def test_names_that_do_not_fit_are_nearer() -> None:
    assert spread([5.0] * 11, 10, 0, 20) == pytest.approx([2.0 * i for i in range(11)])
    assert spread([], 10, 0, 20) == []


def test_words_for_numbers() -> None:
    assert [percent(x) for x in (0.508, 1, 0, None, math.nan)] == [
        "50.8%", "100.0%", "0.0%", "–", "–",
    ]  # fmt: skip
    assert [points(x) for x in (0.09, -0.0312, 0.0001, -0.0001)] == ["+9.0", "−3.1", "0.0", "0.0"]
    assert [number(x) for x in (2913.4, 99.96, 8, 7.25, 0, None)] == [
        "2,913", "100", "8", "7.2", "0", "–",
    ]  # fmt: skip
    assert shortened("a\nb  c", 9) == "a b c"
    for longest in range(2, 30):
        assert len(shortened("0123456789" * 3, longest)) <= longest
