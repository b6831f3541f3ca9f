"""Plain data as JSON: the only values that cross from the tested program to the verifier.

None, bool, str, finite floats and integers below 2**53 are themselves, a list is a list. All else
is an object with one key: ``{"tuple": [...]}``, ``{"set": [...]}``, ``{"frozenset": [...]}``,
``{"dict": [[key, value], ...]}``, ``{"bytes": hex}``, ``{"int": "0x..."}``,
``{"float": "nan" | "inf" | "-inf"}``, ``{"complex": [real, imaginary]}``,
``{"fraction": [numerator, denominator]}``, ``{"decimal": text}``, ``{"iterator": [...]}`` and
``{"str": hex of UTF-32}`` for text that is not valid Unicode.

A value of a subclass travels as its base: what arrives is an exact builtin type, so that no method
of the sender is ever run by the receiver. An iterator is exhausted and arrives as a new one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

SAFE_INTEGER = 2**53
LONGEST_ITERATOR = 100_000


class NotPlain(Exception):
    """A value that is not plain data, or a form that stands for none."""


def encode(value: Any) -> Any:
    """The JSON form of ``value``. Raises NotPlain; RecursionError if it is nested too deeply."""
    if value is None or value is True or value is False:
        return value
    for kind, form in _FORMS:
        if isinstance(value, kind):
            return form(value)
    raise NotPlain(f"a {type(value).__name__} is not plain data")


def decode(form: Any) -> Any:
    """The value that ``form`` stands for. Raises NotPlain unless it is exactly as documented."""
    kind = type(form)
    if form is None or kind in (bool, int, str):
        return form
    if kind is float and math.isfinite(form):
        return form
    if kind is list:
        return [decode(part) for part in form]
    if kind is dict and len(form) == 1:
        ((tag, body),) = form.items()
        if tag in _MAKERS:
            try:
                return _MAKERS[tag](body)
            except (ArithmeticError, LookupError, TypeError, ValueError):
                raise NotPlain(f"malformed {tag}") from None
    raise NotPlain("malformed answer")


def _of_int(value: int) -> Any:
    number = int.__index__(value)
    return number if -SAFE_INTEGER < number < SAFE_INTEGER else {"int": hex(number)}


def _of_float(value: float) -> Any:
    number = float.__float__(value)
    return number if math.isfinite(number) else {"float": repr(number)}


def _of_str(value: str) -> Any:
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return {"str": text.encode("utf-32-be", "surrogatepass").hex()}
    return text


def _of_list(value: list[Any]) -> Any:
    return [encode(part) for part in list.__iter__(value)]


def _of_dict(value: dict[Any, Any]) -> Any:
    return {"dict": [[encode(key), encode(part)] for key, part in dict.items(value)]}


def _of_complex(value: complex) -> Any:
    return {"complex": [_of_float(value.real), _of_float(value.imag)]}


def _of_fraction(value: Fraction) -> Any:
    return {"fraction": [_of_int(value.numerator), _of_int(value.denominator)]}


def _of_iterator(value: Iterator[Any]) -> Any:
    parts = list(islice(value, LONGEST_ITERATOR + 1))
    if len(parts) > LONGEST_ITERATOR:
        raise NotPlain(f"an iterator of more than {LONGEST_ITERATOR} values is not plain data")
    return {"iterator": [encode(part) for part in parts]}


_FORMS: tuple[tuple[type[Any], Callable[[Any], Any]], ...] = (
    (int, _of_int),
    (float, _of_float),
    (str, _of_str),
    (list, _of_list),
    (tuple, lambda value: {"tuple": [encode(part) for part in tuple.__iter__(value)]}),
    (dict, _of_dict),
    (set, lambda value: {"set": [encode(part) for part in set.__iter__(value)]}),
    (frozenset, lambda value: {"frozenset": [encode(part) for part in frozenset.__iter__(value)]}),
    (bytes, lambda value: {"bytes": bytes.hex(value)}),
    (complex, _of_complex),
    (Fraction, _of_fraction),
    (Decimal, lambda value: {"decimal": Decimal.__str__(value)}),
    (Iterator, _of_iterator),
)


def _parts(body: Any) -> list[Any]:
    if type(body) is not list:
        raise NotPlain("malformed answer")
    return [decode(part) for part in body]


def _text(body: Any) -> str:
    if type(body) is not str:
        raise NotPlain("malformed answer")
    return body


def _to_float(body: Any) -> float:
    if body not in ("nan", "inf", "-inf"):
        raise NotPlain("malformed float")
    return float(body)


def _to_complex(body: Any) -> complex:
    real, imaginary = _parts(body)
    if type(real) is not float or type(imaginary) is not float:
        raise NotPlain("malformed complex")
    return complex(real, imaginary)


def _to_fraction(body: Any) -> Fraction:
    numerator, denominator = _parts(body)
    if type(numerator) is not int or type(denominator) is not int:
        raise NotPlain("malformed fraction")
    return Fraction(numerator, denominator)


def _to_dict(body: Any) -> dict[Any, Any]:
    pairs = _parts(body)
    if any(type(pair) is not list for pair in pairs):
        raise NotPlain("malformed dict")
    return dict(pairs)


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "tuple": lambda body: tuple(_parts(body)),
    "set": lambda body: set(_parts(body)),
    "frozenset": lambda body: frozenset(_parts(body)),
    "dict": _to_dict,
    "bytes": lambda body: bytes.fromhex(_text(body)),
    "int": lambda body: int(_text(body), 16),
    "float": _to_float,
    "complex": _to_complex,
    "fraction": _to_fraction,
    "decimal": lambda body: Decimal(_text(body)),
    "iterator": lambda body: iter(_parts(body)),
    "str": lambda body: bytes.fromhex(_text(body)).decode("utf-32-be", "surrogatepass"),
}
