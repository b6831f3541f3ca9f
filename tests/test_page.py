"""The page of the server: as a document, and in a browser against replies made up for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import combinations
from typing import Any

import pytest

from canned import HOSTILE
from canned_server import PAGE, Canned
from headless import CHROMIUM, Browser

TEXT = PAGE.read_text(encoding="utf-8")
QUESTION = "How many clips did Natalia sell altogether?"
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


# --- the page as a document ---------------------------------------------------------------------


class Document(HTMLParser):
    """The elements of the page; the labels that fields stand in."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.unlabelled: list[str | None] = []
        self._labels = 0
        self.feed(TEXT)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._labels += tag == "label"
        if tag in ("input", "select", "textarea") and not self._labels:
            self.unlabelled.append(dict(attrs).get("id"))

    def handle_endtag(self, tag: str) -> None:
        self._labels -= tag == "label"


def test_the_page_is_one_small_file_that_fetches_nothing_from_elsewhere() -> None:
    assert len(TEXT.splitlines()) < 450
    assert not re.search(r"https?://|@import|url\(", TEXT)
    for tag, attrs in Document().elements:
        assert "src" not in attrs, tag
        assert attrs.get("href", "data:,") == "data:,", tag
        assert not [name for name in attrs if name.startswith("on")], tag


def test_text_of_others_can_never_become_markup() -> None:
    """There is no way in the script from text to elements."""
    ways = r"(inner|outer)HTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|createContextual"
    assert not re.search(ways, TEXT)
    assert not re.search(r"\beval\b|new Function|set(Timeout|Interval)\([\"'`]", TEXT)


def test_the_key_is_kept_for_the_session_only() -> None:
    assert "sessionStorage" in TEXT
    assert not re.search(r"localStorage|indexedDB|cookie", TEXT)


def test_the_script_names_elements_that_exist_once() -> None:
    ids = Counter(attrs["id"] for _, attrs in Document().elements if attrs.get("id"))
    assert set(ids.values()) == {1}
    used = set(re.findall(r'\$\("([\w-]+)"\)', TEXT)) | {"posterior", "facts", "written", "cut"}
    assert used <= set(ids)


def test_every_field_has_a_label() -> None:
    assert not Document().unlabelled


def _luminance(colour: str) -> float:
    long = colour if len(colour) == 7 else "#" + "".join(c * 2 for c in colour[1:])
    parts = [int(long[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_enough(dark: bool) -> None:
    """WCAG 2.2, contrast of text, level AA: 4.5 to 1."""
    light, night = re.findall(r":root \{(.*?)\}", TEXT, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w+);", light))
    colours |= dict(re.findall(r"--([\w-]+): (#\w+);", night)) if dark else {}
    for text, ground in [
        ("ink", "paper"), ("ink", "field"), ("soft", "paper"), ("soft", "field"),
        ("accent", "paper"), ("on-accent", "accent"), ("warn", "warn-tint"), ("ink", "warn-tint"),
    ]:  # fmt: skip
        a, b = sorted(_luminance(colours[name]) for name in (text, ground))
        assert (b + 0.05) / (a + 0.05) >= 4.5, (text, ground)


# --- the page in a browser ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    with Browser() as found:
        yield found


@pytest.fixture
def server() -> Iterator[Canned]:
    with Canned() as found:
        yield found


class Visit:
    """A person at the page of a server."""

    def __init__(self, browser: Browser, server: Canned, **look: Any) -> None:
        self.browser, self.server = browser, server
        browser.errors.clear()
        browser.look(**look)
        browser.open(server.url)
        browser.run("sessionStorage.clear()")

    def put(self, field: str, value: str) -> None:
        """Fill a field in, or choose in it."""
        find = f"document.getElementById({field!r})"
        self.browser.run(f"{find}.value = {value!r}")
        self.browser.run(f"{find}.dispatchEvent(new Event('change', {{bubbles: true}}))")

    def click(self, id: str) -> None:
        self.browser.run(f"document.getElementById({id!r}).click()")

    def text(self, id: str) -> str:
        """What is to be read there; nothing if it is not shown."""
        found: str = self.browser.run(f"document.getElementById({id!r}).innerText")
        shown = self.browser.run(f"document.getElementById({id!r}).checkVisibility()")
        return found if shown else ""

    def all(self, selector: str, what: str = "innerText") -> list[Any]:
        found: list[Any] = self.browser.run(
            f"[...document.querySelectorAll({selector!r})].map((e) => e.{what})"
        )
        return found

    def until(self, condition: str) -> None:
        self.browser.until(condition)

    def ask(self, method: str) -> None:
        self.until("document.querySelectorAll('#method option').length > 1")
        self.put("question", QUESTION)
        self.put("method", method)
        self.click("ask")

    def asked(self, method: str) -> None:
        """Ask, and wait for the end."""
        self.server.go.set()
        self.ask(method)
        self.ended()

    def ended(self) -> None:
        self.until("document.body.className === ''")


@in_browser
def test_a_strategy_is_watched_and_answered(browser: Browser, server: Canned) -> None:
    visit = Visit(browser, server)
    visit.ask("toy@sc8")
    visit.until("document.querySelectorAll('.trace.finished').length === 3")
    assert visit.text("answer") == "72"
    assert visit.text("worth") == "leads so far, with 0.67 of the weight"
    visit.until("document.getElementById('pace').textContent.includes('3 of 8 traces ended')")
    assert "566 of about 700 tokens" in visit.text("pace")
    assert [row.split()[:2] for row in visit.all("#shares tr")] == [["72", "0.67"], ["96", "0.33"]]
    assert visit.all(".trace.running .said") == ["writing"] * 5
    written = visit.all(".trace.running pre", "textContent")
    assert all(0 < len(text) < 300 for text in written)
    server.go.set()
    visit.ended()
    assert visit.text("answer") == "72"
    assert visit.text("worth") == "probability 0.71 (model posterior)"
    assert "not how often it is right" in visit.text("meaning")
    assert visit.all("#shares tr .bar", "style.width") == ["71.4286%", "14.2857%", "14.2857%"]
    assert visit.all("#shares tr td:last-child") == ["5", "1", "1"]
    assert visit.all("#costs tr")[0].split("\t") == ["prompt computed", "95", "95"]
    assert "29.6" in visit.text("costs")
    assert "consistent for cot" in visit.text("worths")
    assert visit.all(".trace .num") == ["weight 0.125"] * 8
    assert len(visit.all(".trace.wins")) == 5
    assert visit.text("status") == "72. probability 0.71 (model posterior)"
    assert not visit.text("problem")
    assert not visit.text("cut")
    assert not browser.errors
    (body,) = server.asked
    assert body == {
        "model": "toy@sc8",
        "messages": [{"role": "user", "content": QUESTION}],
        "stream": True,
        "ponder": {"progress": True, "genealogy": True, "traces": True},
    }


@in_browser
def test_cards_stay_with_their_traces_whatever_their_order(
    browser: Browser, server: Canned
) -> None:
    visit = Visit(browser, server)
    browser.run("""showTraces([
        {text: "one", answer: null, status: "running", tokens: 1},
        {text: "two", answer: null, status: "running", tokens: 1}])""")
    browser.run("document.querySelector('.trace button').click()")
    browser.run("""showTraces([
        {text: "two more", answer: "2", status: "finished", tokens: 2},
        {text: "three", answer: null, status: "running", tokens: 1},
        {text: "one more", answer: null, status: "running", tokens: 2}])""")
    assert visit.all(".trace pre", "textContent") == ["one more", "two more", "three"]
    assert visit.all(".trace", "classList.contains('open')") == [True, False, False]
    browser.run("showTraces([{text: 'three', answer: '3', status: 'finished', tokens: 1}])")
    assert visit.all(".trace pre", "textContent") == ["three"]


@in_browser
def test_the_bare_model_is_read_as_it_writes(browser: Browser, server: Canned) -> None:
    visit = Visit(browser, server)
    visit.ask("toy")
    visit.until("document.getElementById('reply').textContent.endsWith('as many,')")
    assert visit.text("reply") == "Natalia sold 48 clips in April and half as many,"
    server.go.set()
    visit.ended()
    assert visit.text("reply").endswith("72 – in all, naïvely.")
    assert not visit.text("answer")
    assert not visit.text("posterior")
    assert "1,954" in visit.text("costs")
    assert server.asked[0]["ponder"] == {}


@in_browser
def test_a_stream_may_be_cut_anywhere(browser: Browser) -> None:
    """Byte by byte, within characters and within CR LF."""
    with Canned(torn=True) as server:
        visit = Visit(browser, server)
        visit.asked("toy")
        assert visit.text("reply").endswith("72 – in all, naïvely.")
        assert not visit.text("problem")
    cut = """(async (text, sizes) => {
        const bytes = new TextEncoder().encode(text), pieces = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
            pieces.push(bytes.slice(at, (at += sizes[i % sizes.length])));
        }
        const stream = new ReadableStream({ start(to) {
            for (const piece of pieces) to.enqueue(piece);
            to.close();
        } });
        const found = [];
        for await (const event of events(stream)) found.push(event);
        return found;
    })"""
    text = r": naïve\r\n\r\ndata: {\r\ndata:}\r\revent: x\nid: 1\ndata: é–\n\n\n: z\ndata: last"
    wanted = [
        {"comment": "naïve"}, {"data": "{\n}"}, {"data": "é–"}, {"comment": "z"}, {"data": "last"},
    ]  # fmt: skip
    for sizes in ([1], [2], [3, 1], [1000]):
        assert browser.run(f'{cut}("{text}", {sizes})') == wanted, sizes


@in_browser
def test_markup_shows_as_text(browser: Browser, server: Canned) -> None:
    visit = Visit(browser, server)
    visit.asked("toy@hostile")
    assert visit.text("answer") == HOSTILE
    assert visit.all("#shares th", "textContent") == [HOSTILE]
    assert HOSTILE in visit.all(".trace pre", "textContent")
    assert visit.all("[data-of=strategy]", "textContent") == [HOSTILE]
    browser.run("document.querySelector('#tree g').dispatchEvent(new Event('click'))")
    assert visit.all("#told pre", "textContent") == [HOSTILE]
    assert visit.all("main script, main img", "outerHTML") == []
    assert browser.run("document.title") == "ponder"
    assert not browser.errors


@in_browser
def test_an_abstention_says_why(browser: Browser, server: Canned) -> None:
    visit = Visit(browser, server)
    visit.asked("toy@certain")
    assert visit.text("answer") == "No answer"
    assert visit.text("worth").startswith("It abstains: the most common answer is not settled")
    assert visit.text("worth").endswith("probability 0.71 (model posterior)")
    assert not visit.all(".leads"), "no answer leads where none is given"
    visit.asked("toy@nothing")
    assert visit.text("worth") == "No trace gave one that can be read."
    assert not visit.text("posterior")


@in_browser
def test_what_was_cut_short_says_so(browser: Browser, server: Canned) -> None:
    visit = Visit(browser, server)
    visit.asked("toy@cut")
    cut = visit.text("cut")
    assert cut.startswith("Cut short by the limit on tokens.")
    assert "1 trace not finished" in cut
    assert "no law" in visit.text("meaning")
    visit.asked("toy@sc8")
    assert not visit.text("cut"), "nothing is left of the question before"
    visit.asked("toy")
    assert not visit.text("worth")
    assert not visit.text("meaning")


@in_browser
def test_troubles_are_told_in_plain_words(browser: Browser, server: Canned) -> None:
    visit = Visit(browser, server)
    visit.asked("toy@busy")
    assert visit.text("problem").split("\n\n") == [
        "The server is busy.", "64 requests are waiting already", "Ask again in 7 seconds.",
    ]  # fmt: skip
    assert not visit.text("found")
    visit.asked("toy@broken")
    assert visit.text("problem").startswith("The reply broke off.")
    assert visit.text("answer") == "72", "what had come is still there"
    assert not visit.all(".trace.running"), "nobody writes any more"
    visit.asked("toy@midway")
    assert "the model stopped (id 7f3a)" in visit.text("problem")
    visit.asked("toy@sc8")
    assert not visit.text("problem")


@in_browser
def test_a_server_that_is_gone_is_named(browser: Browser) -> None:
    with Canned() as server:
        visit = Visit(browser, server)
        visit.asked("toy@sc8")
    visit.click("ask")
    visit.ended()
    assert visit.text("problem").startswith("The server cannot be reached.")


@in_browser
def test_a_key_is_asked_for_sent_and_forgotten_with_the_tab(browser: Browser) -> None:
    with Canned(key="opensesame") as server:
        visit = Visit(browser, server)
        visit.until("!document.getElementById('problem').hidden")
        assert visit.text("problem").startswith("The server asks for a valid API key.")
        assert browser.run("document.activeElement.id") == "key"
        visit.put("key", "opensesame")
        visit.until("document.querySelectorAll('#method option').length > 1")
        assert not visit.text("problem")
        visit.asked("toy@sc8")
        assert visit.text("answer") == "72"
        assert server.keys[-1] == "Bearer opensesame"
        assert browser.run("sessionStorage.getItem('ponder-key')") == "opensesame"
        assert browser.run("localStorage.length") == 0
        assert browser.run("document.cookie") == ""
    assert "opensesame" not in str(server.asked)


@in_browser
def test_stop_leaves_the_server(browser: Browser, server: Canned) -> None:
    visit = Visit(browser, server)
    visit.ask("toy@sc8")
    visit.until("document.querySelectorAll('.trace.finished').length === 3")
    assert not server.gone.is_set()
    visit.click("stop")
    assert server.gone.wait(10), "the connection is closed while the stream goes on"
    visit.ended()
    assert visit.text("pace").startswith("Stopped after ")
    assert visit.all(".trace.running") == []
    assert visit.text("answer") == "72"
    assert not visit.text("problem")
    assert browser.run("document.getElementById('stop').checkVisibility()") is False
    server.go.set()
    visit.asked("toy")
    assert visit.text("reply"), "another question can be asked"


@in_browser
def test_a_strategy_of_ones_own_and_limits_are_sent(browser: Browser, server: Canned) -> None:
    visit = Visit(browser, server)
    visit.asked("toy@")
    assert visit.text("problem").startswith("There is no strategy yet.")
    assert not server.asked
    assert visit.text("own")
    browser.run("document.querySelector('#examples button').click()")
    assert browser.run("document.getElementById('notation').value") == "cot | draw(8) | vote"
    fields = {"max_tokens": "300", "max_seconds": "2.5", "max_calls": "9", "seed": "7"}
    for field, value in {**fields, "kind": "choice", "options": "red\n\n blue "}.items():
        visit.put(field, value)
    visit.click("ask")
    visit.ended()
    (body,) = server.asked
    assert body["model"] == "toy"
    assert body["seed"] == 7
    assert body["ponder"] == {
        "strategy": "cot | draw(8) | vote", "kind": "choice", "options": ["red", "blue"],
        "max_tokens": 300, "max_seconds": 2.5, "max_calls": 9,
        "progress": True, "genealogy": True, "traces": True,
    }  # fmt: skip


@in_browser
def test_the_genealogy_is_a_tree_that_the_keyboard_climbs(browser: Browser, server: Canned) -> None:
    visit = Visit(browser, server)
    visit.asked("toy@filter")
    assert len(visit.all("#tree g")) == 40
    lines = visit.all("#tree path", "getAttribute('d')")
    assert len(lines) == 40, "one from the question or the parent to each"
    ends = [tuple(map(float, re.findall(r"-?[\d.]+", line))) for line in lines]
    for a, b in combinations(ends, 2):
        if a[0] == b[0]:
            assert (a[1] - b[1]) * (a[-1] - b[-1]) >= 0, "two lines cross"
    areas = browser.run("""(() => {
        const heavy = (g) => +g.getAttribute('aria-label').match(/weight ([\\d.]+)/)[1];
        return [...document.querySelectorAll('#tree g')].filter((g) => heavy(g) > 0.02)
            .map((g) => g.querySelector('circle').getAttribute('r') ** 2 / heavy(g));
    })()""")
    assert max(areas) == pytest.approx(min(areas), rel=0.02), "areas go with weights"
    assert len(visit.all("#tree g[tabindex='0']")) == 1, "one stop for the tab key"
    browser.run("document.querySelector('#tree g').focus()")
    label = "document.activeElement.getAttribute('aria-label')"
    assert browser.run(label).startswith("Stage 1")
    for key, stage in [("ArrowRight", 2), ("ArrowRight", 3), ("ArrowDown", 3), ("ArrowLeft", 2)]:
        browser.press(key)
        assert browser.run(label).startswith(f"Stage {stage}"), key
    assert visit.text("told").startswith("Stage 2")
    assert "In May she sold half as many" in visit.text("told")
    dead = [d for d in visit.all("#tree g", "getAttribute('aria-label')") if "weight 0.000" in d]
    assert len(dead) == 1


@in_browser
def test_it_is_used_by_keyboard_alone_and_read_aloud(browser: Browser, server: Canned) -> None:
    visit = Visit(browser, server)
    visit.until("document.querySelectorAll('#method option').length > 1")
    visit.put("method", "toy@sc8")
    browser.run("document.getElementById('question').focus()")
    browser.send("Input.insertText", text=QUESTION)
    server.go.set()
    browser.press("Enter", control=True)
    visit.until("document.getElementById('status').textContent.startsWith('72. prob')")
    browser.run("document.querySelector('.trace button').focus()")
    browser.press(" ")
    assert visit.all(".trace button", "getAttribute('aria-expanded')")[:2] == ["true", "false"]
    visit.put("method", "toy@")
    browser.run("document.getElementById('more').open = true")
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"textbox", "combobox", "button", "spinbutton", "DisclosureTriangle", "progressbar"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in nodes
        if not node.get("ignored") and node.get("role", {}).get("value") in roles
    ]
    assert len(named) > 20
    assert not [role for role, name in named if not name]


@in_browser
@pytest.mark.parametrize("dark", [False, True])
def test_a_telephone_shows_all_of_it(browser: Browser, server: Canned, dark: bool) -> None:
    visit = Visit(browser, server, width=390, height=844, dark=dark)
    for method in ("toy@filter", "toy@many", "toy@hostile", "toy@busy", "toy"):
        visit.asked(method)
        wide = browser.run("document.documentElement.scrollWidth")
        assert wide <= 390, f"{method} has to be scrolled sideways"
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 27)" if dark else "rgb(254, 254, 253)")
