"""Templates with what all of them use: money, reasons in words, drawn pictures, forms with their token."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from console.drawing import picture
from fairtag.base.money import currency
from fairtag.page.explanation_words import reason_words

HERE = Path(__file__).parent
STATIC = HERE / "static"
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


class Templates:
    """The templates of all pages."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "money": money,
            "amount": amount,
            "units": units,
            "reason": reason_words,
            "discount": discount,
            "share": share,
            "ago": ago,
            "clock": clock,
            "sentence": sentence,
            "words": lambda name: str(name).replace("_", " "),
        }
        self._environment.globals |= {"picture": picture, "form": form, "asset": asset}

    def render(self, template: str, **values: Any) -> str:
        """A template with values."""
        return self._environment.get_template(template).render(**values)


@pass_context
def form(context: Context, action: str = "", *, to: str = "", swap: str = "", **attributes: str) -> Markup:
    """The opening tag of a posted form, with the token of the session; ``</form>`` closes it.

    Args:
        context: Of the template.
        action: An action of this page.
        to: Address of any other.
        swap: Selector of the element that ``console.js`` exchanges; without it the whole page is loaded.
        attributes: Further attributes; an underscore stands for a hyphen.
    """
    page = context["page"]
    address = to or f"{page.path.rstrip('/')}/{action}"
    given = {"method": "post", "action": address, **({"data-swap": swap} if swap else {})}
    given |= {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    tag = Markup(" ").join(Markup('{}="{}"').format(name, value) for name, value in given.items())
    token = Markup('<input type="hidden" name="csrf" value="{}">').format(context["session"].csrf)
    return Markup("<form {}>{}").format(tag, token)


def asset(name: str) -> str:
    """Address of a file of ``static``, with the digest of its content, so that browsers may keep it for good."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def money(minor: float | None, code: str) -> str:
    """An amount of minor units with its currency; a dash where there is none."""
    return DASH if minor is None else currency(code).text(round(minor))


def amount(minor: float | None, code: str) -> str:
    """The same without the currency, for tables whose heading names it."""
    return DASH if minor is None else currency(code).text(round(minor)).removesuffix(f" {code}")


def units(value: float, code: str) -> str:
    """An amount in currency units, with its currency.

    >>> units(500.0, "JPY"), units(1.25, "KWD")
    ('500 JPY', '1.250 KWD')
    """
    return money(value * currency(code).minor_per_unit, code)


def discount(item: dict[str, Any]) -> str:
    """How far a price lies below list; empty where it does not.

    >>> discount({"price_minor": 7_500, "list_price_minor": 10_000})
    '−25 %'
    """
    saved = item["list_price_minor"] - item["price_minor"]
    return f"{MINUS}{max(1, round(100 * saved / item['list_price_minor']))} %" if saved > 0 else ""


def sentence(message: str) -> str:
    """A message of an error as a sentence; an address or a path at its beginning stays as it is.

    >>> sentence("nothing is sold"), sentence("s3://log: it does not answer"), sentence("")
    ('Nothing is sold.', 's3://log: it does not answer.', '')
    """
    first = message.partition(" ")[0]
    begins = message if any(sign in first for sign in "/:.'") else message[:1].upper() + message[1:]
    return begins if begins.endswith((".", "!", "?")) or not begins else f"{begins}."


def share(value: float | None, places: int = 0) -> str:
    """A share as a percentage; a dash where there is none."""
    return DASH if value is None or math.isnan(value) else f"{100 * value:.{places}f} %"


def ago(then: datetime | str | None) -> str:
    """How long ago something was, in words."""
    if then is None or then == "":
        return "never"
    moment = datetime.fromisoformat(then) if isinstance(then, str) else then
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "just now"


def clock(then: datetime | str | None) -> str:
    """A moment as it is shown: date and minute, UTC."""
    if then is None or then == "":
        return DASH
    moment = datetime.fromisoformat(then) if isinstance(then, str) else then
    return f"{moment:%Y-%m-%d %H:%M} UTC"
