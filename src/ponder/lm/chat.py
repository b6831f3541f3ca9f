"""Chat templates from GGUF metadata, rendered so that a message can never pass for markup.

A template turns messages into one string in which special tokens such as ``<|im_end|>`` are markup.
A question may contain the same characters. So every content is marked with private-use characters
before rendering, and the rendered string is cut at the marks: what lies between them is text, to be
tokenised without special tokens; all the rest, the template's default system prompt too, is markup.

Templates are programs from a model file: they run in jinja2's sandbox, with the globals and filters
that Hugging Face's templates expect (``raise_exception``, ``strftime_now``, ``tojson``, loop
controls, ``{% generation %}``). ``strftime_now`` makes a prompt depend on the date.
"""

import datetime
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from ponder.errors import PonderError

if TYPE_CHECKING:
    from jinja2 import Environment, nodes
    from jinja2.parser import Parser

ROLES = ("system", "user", "assistant", "tool")
PRIVATE_USE = range(0xF0000, 0xFFFFE)  # Unicode plane 15

PLAIN = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""Lines of ``role: content``, then ``assistant:``; for models whose file has no template."""

Piece = tuple[str, bool]
"""(text, is_markup): tokenise with special tokens parsed if and only if ``is_markup``."""


class ChatTemplate:
    """A compiled chat template; ``bos`` and ``eos`` are the texts of those tokens.

    Raises PonderError if ``source`` is not a template.
    """

    def __init__(self, source: str, bos: str = "", eos: str = "") -> None:
        from jinja2 import TemplateSyntaxError

        self.source, self.bos, self.eos = source, bos, eos
        try:
            self._template = _environment().from_string(source)
        except TemplateSyntaxError as error:
            raise PonderError(
                f"the model's chat template has an error in line {error.lineno} "
                f"({_one_line(error)}): choose another model file"
            ) from error

    @classmethod
    def plain(cls) -> "ChatTemplate":
        """The template :data:`PLAIN`."""
        return cls(PLAIN)

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, str], bos: str = "", eos: str = ""
    ) -> "ChatTemplate":
        """The template of a GGUF file with that metadata; :meth:`plain` if it has none."""
        source = metadata.get("tokenizer.chat_template", "")
        return cls(source, bos, eos) if source.strip() else cls.plain()

    def render(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The whole prompt as one string: the joined :meth:`pieces`."""
        return _joined(self.pieces(messages, add_generation_prompt))

    def pieces(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> list[Piece]:
        """The prompt as alternating markup and text, no piece empty.

        Each message has a ``role`` of :data:`ROLES` and a ``content``, nothing else. Joined, the
        pieces are what the template makes of the messages; it may strip white space off contents.
        If a template goes by what a content begins or ends with, it meets the marks there, and the
        marked rendering counts. Raises PonderError if the template refuses the messages or fails,
        or drops, cuts or repeats a content.
        """
        checked = [_checked(message) for message in messages]
        if not checked:
            raise PonderError("there is no message: give at least one, such as the question")
        unmarked = self._run(checked, add_generation_prompt)
        pieces = self._cut(checked, add_generation_prompt, spaces_outside=False)
        if _joined(pieces) != unmarked:
            # Outside the marks, white space is where a template that trims contents can reach it.
            trimmed = self._cut(checked, add_generation_prompt, spaces_outside=True)
            if _joined(trimmed) == unmarked:
                return trimmed
        return pieces

    def _cut(
        self, messages: list[dict[str, str]], add_generation_prompt: bool, spaces_outside: bool
    ) -> list[Piece]:
        """Render with every content marked and split the result at the marks."""
        taken = itertools.chain(self.source, self.bos, self.eos, *(m["content"] for m in messages))
        pairs = _free_pairs(len(messages), set(taken))
        marked, used = [], []
        for message, pair in zip(messages, pairs, strict=True):
            content = message["content"]
            core = content.strip() if spaces_outside else content
            if core:  # an empty content stays empty: templates ask whether there is one
                before, after = content.split(core, 1)
                content = f"{before}{pair[0]}{core}{pair[1]}{after}"
                used.append(pair)
            marked.append({"role": message["role"], "content": content})
        return _split(self._run(marked, add_generation_prompt), used)

    def _run(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                bos_token=self.bos,
                eos_token=self.eos,
                tools=None,
                documents=None,
            )
        except Exception as error:  # whatever a program from a model file can think of
            raise PonderError(
                f"the model's chat template refuses these messages ({_one_line(error)}): "
                "change the messages or choose another model"
            ) from error


def _checked(message: Mapping[str, str]) -> dict[str, str]:
    """A copy of ``message``, which must have a known role, a text and no other key.

    Another key would reach the prompt unmarked, so special tokens in it would be parsed.
    """
    if set(message) != {"role", "content"}:
        raise PonderError(f"a message has keys {sorted(message)}: give it 'role' and 'content'")
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise PonderError(f"a message has the role {role!r}: use one of {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise PonderError(f"a message's content is {type(content).__name__}: make it a string")
    return {"role": role, "content": content}


def _free_pairs(count: int, taken: set[str]) -> list[tuple[str, str]]:
    """``count`` pairs of private-use characters, none of them ``taken``."""
    free = (chr(code) for code in PRIVATE_USE if chr(code) not in taken)
    marks = list(itertools.islice(free, 2 * count))
    if len(marks) < 2 * count:
        raise PonderError("too many messages or private-use characters to mark: send fewer")
    return list(zip(marks[::2], marks[1::2], strict=True))


def _split(rendered: str, pairs: list[tuple[str, str]]) -> list[Piece]:
    """Pieces of a rendered prompt in which every pair must enclose one content."""
    closing = dict(pairs)
    marks = "".join(itertools.chain(*pairs))
    strings = re.split(f"([{marks}])", rendered) if marks else [rendered]
    # strings = markup, opening, text, closing, markup, opening, ...
    opened, closed = strings[1::4], strings[3::4]
    if sorted(opened) != sorted(closing) or [closing[mark] for mark in opened] != closed:
        raise PonderError(
            "the model's chat template drops, cuts or repeats a message: "
            "change the messages' roles or choose another model"
        )
    flagged = [(text, index % 2 == 0) for index, text in enumerate(strings[::2]) if text]
    runs = itertools.groupby(flagged, key=lambda piece: piece[1])
    return [(_joined(list(run)), is_markup) for is_markup, run in runs]


def _joined(pieces: Sequence[Piece]) -> str:
    return "".join(text for text, _ in pieces)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."


@cache
def _environment() -> "Environment":
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks what a model says, for training; here it changes nothing."""

        tags = {"generation"}  # noqa: RUF012 (jinja2's interface)

        def parse(self, parser: "Parser") -> "list[nodes.Node]":
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", Generation],
    )
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.filters["tojson"] = _tojson
    return environment


def _raise_exception(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; jinja2's own filter escapes for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
