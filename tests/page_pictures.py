"""Pictures of the page for people to look at: ``python tests/page_pictures.py FOLDER [NAME]``."""

from __future__ import annotations

import sys
import time
from itertools import product
from pathlib import Path

from canned import MODELS
from canned_server import Canned
from headless import Browser

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in "
    "May. How many clips did Natalia sell altogether in April and May?"
)
LOOKS = {
    "wide-light": (1280, 800, False),
    "wide-dark": (1280, 800, True),
    "narrow-light": (390, 844, False),
    "narrow-dark": (390, 844, True),
}
STATES = ("empty", "own", "midway", *MODELS)


def choose(browser: Browser, method: str) -> None:
    """Put a question and pick a method, as a person would."""
    browser.until("document.querySelectorAll('#method option').length > 1")
    browser.run(f"document.getElementById('question').value = {QUESTION!r}")
    browser.run(f"document.getElementById('method').value = {method!r}")
    browser.run(
        "document.getElementById('method').dispatchEvent(new Event('change', {bubbles: true}))"
    )


def main(folder: Path, only: str = "") -> None:
    """Every state in every look; ``only`` those whose name it is a part of."""
    folder.mkdir(parents=True, exist_ok=True)
    with Browser() as browser, Canned() as server:
        for name, (look, (width, height, dark)) in product(STATES, LOOKS.items()):
            label = f"{name.replace('@', '-')}.{look}"
            if only not in label:
                continue
            server.go.clear()
            browser.look(width=width, height=height, dark=dark)
            browser.open(server.url)
            bring_about(browser, server, name)
            time.sleep(0.5)  # bars and rows glide
            browser.picture(folder / f"{label}.png")
            print(label)


def bring_about(browser: Browser, server: Canned, name: str) -> None:
    """A state: the form alone, a strategy at work, or the end of a reply."""
    choose(browser, {"empty": "toy@sc8", "own": "toy@", "midway": "toy@sc8"}.get(name, name))
    if name == "own":
        browser.run("document.getElementById('more').open = true")
    elif name != "empty":
        browser.run("document.getElementById('ask').click()")
        if name == "midway":
            browser.until("document.querySelectorAll('.trace.finished').length === 3")
        else:
            server.go.set()
            browser.until("document.body.className === ''")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
