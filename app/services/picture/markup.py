"""Write SVG: every text escaped, every number short."""

import re
from collections.abc import Iterable
from decimal import Context, Decimal, InvalidOperation
from typing import Any
from xml.sax.saxutils import escape, quoteattr

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SHOWN = Context(prec=9)
_LONGEST_PLAIN = 14


def safe(text: Any) -> str:
    """Escape any text for the inside of an element; what XML cannot hold becomes a replacement character."""
    return escape(_NOT_XML.sub("\ufffd", str(text)))


def element(tag: str, content: str | Iterable[str] = "", /, **attributes: Any) -> str:
    """Write an element; `content` is markup, and an underscore in an attribute's name stands for a hyphen."""
    inside = content if isinstance(content, str) else "".join(content)
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}={quoteattr(_value(value))}" for name, value in attributes.items()
    )
    return f"<{tag}{written}>{inside}</{tag}>" if inside else f"<{tag}{written}/>"


def label(text: str, x: float, y: float, class_: str, **attributes: Any) -> str:
    """Write a line of text that reads `text` whatever it holds."""
    return element("text", safe(text), x=x, y=y, class_=class_, **attributes)


def tooltip(text: str) -> str:
    """Name the element that this is put into."""
    return element("title", safe(text))


def shorten(name: str, longest: int) -> str:
    """Leave out the middle of a long name: both ends of an address tell it apart."""
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 3
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"


def quantity(value: Any) -> str:
    """Write a decimal string in a few digits; what is none stays as it is."""
    try:
        number = _SHOWN.create_decimal(Decimal(str(value))).normalize()
    except InvalidOperation:
        return str(value)
    plain = f"{number:f}"
    return plain if len(plain) <= _LONGEST_PLAIN else f"{number:E}".replace("E+", "e").replace("E", "e")


def size(value: Any) -> float:
    """Read a decimal string as a length of zero or more."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if 0.0 < number < float("inf") else 0.0


def _value(value: Any) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else _NOT_XML.sub("\ufffd", str(value))
