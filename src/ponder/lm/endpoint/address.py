"""``openai:URL,URL?width=64#model``: how a model behind OpenAI-compatible servers is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from urllib.parse import parse_qsl, urlsplit

from ponder.errors import PonderError

SCHEME = "openai:"
CONTINUATIONS = ("vllm", "sglang", "llama", "none")
WIDTH = 32
SECONDS = 600.0
_FORM = "write openai:http://HOST:PORT/v1#MODEL, or --endpoint http://HOST:PORT/v1"


@dataclass(frozen=True)
class Spec:
    """Where a model is asked for, and how.

    ``urls`` end before ``/chat/completions``. ``model`` is its name on the servers, None for the
    only one that they have. At most ``width`` requests are under way, and each try has ``seconds``.
    ``continuation`` says how a reply is gone on with, None to find out.
    """

    urls: tuple[str, ...]
    model: str | None = None
    width: int = WIDTH
    continuation: str | None = None
    seconds: float = SECONDS

    @property
    def text(self) -> str:
        """The name that :func:`parse_spec` reads."""
        options = [f"width={self.width}"] * (self.width != WIDTH)
        options += [f"continue={self.continuation}"] * (self.continuation is not None)
        options += [f"timeout={self.seconds:g}"] * (self.seconds != SECONDS)
        query = f"?{'&'.join(options)}" if options else ""
        return f"{SCHEME}{','.join(self.urls)}{query}#{self.model or ''}".rstrip("#")


def is_endpoint(name: str | None) -> bool:
    """Whether a model's name says that it is behind a server."""
    return name is not None and name.startswith(SCHEME)


def parse_spec(name: str) -> Spec:
    """The meaning of ``openai:URL[,URL...][?width=N&continue=HOW&timeout=SECONDS][#MODEL]``.

    Raises PonderError, saying what to write.
    """
    where, _, model = name.removeprefix(SCHEME).partition("#")
    where, _, query = where.partition("?")
    spec = Spec(tuple(_url(url.strip()) for url in where.split(",")), model or None)
    for key, value in parse_qsl(query, keep_blank_values=True):
        spec = _with_option(spec, key, value)
    return spec


def with_endpoints(model: str | None, endpoints: Sequence[str] | None) -> str | None:
    """A model's name with more addresses: those that ``--endpoint`` gave.

    Without a name that is one behind a server, they are all its addresses.
    """
    if not endpoints:
        return model
    urls = tuple(_url(url) for url in endpoints)
    if model is not None and is_endpoint(model):
        if not _has_address(model):  # the name that results and cards have
            return Spec(urls, model.removeprefix(SCHEME)).text
        spec = parse_spec(model)
        return replace(spec, urls=tuple(dict.fromkeys((*spec.urls, *urls)))).text
    return Spec(urls, model).text


def display_name(model: str) -> str:
    """The name under which the results of a served model are kept, wherever it is served."""
    return f"{SCHEME}{model}"


def known_name(name: str) -> str | None:
    """:func:`display_name`, if ``name`` says which model it is; the reverse is not possible."""
    if not _has_address(name):
        return name  # it is one already
    model = parse_spec(name).model
    return None if model is None else display_name(model)


def _has_address(name: str) -> bool:
    return name.removeprefix(SCHEME).startswith(("http://", "https://"))


def fingerprint_of(model: str) -> str:
    """Of the model's name only: its replicas share what the bank has."""
    return sha256(f"endpoint {model}".encode()).hexdigest()


def _url(text: str) -> str:
    """The address of an API. Raises PonderError if it is none, or has a key in it."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise PonderError(f"a server has an address such as http://host:8000/v1; {_FORM}")
    if parts.username is not None or parts.query or parts.fragment:
        raise PonderError(
            f"the address of {parts.hostname} has more than a host and a path; {_FORM}, and put "
            "its key into PONDER_API_KEY"
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def _with_option(spec: Spec, key: str, value: str) -> Spec:
    if key == "width" and value.isdecimal() and int(value) > 0:
        return replace(spec, width=int(value))
    if key == "continue" and value in CONTINUATIONS:
        return replace(spec, continuation=value)
    if key == "timeout" and value.replace(".", "", 1).isdecimal() and float(value) > 0:
        return replace(spec, seconds=float(value))
    raise PonderError(
        f"a server's address takes ?width=N, ?timeout=SECONDS and ?continue=, one of "
        f"{', '.join(CONTINUATIONS)}; not {key}={value}"
    )
