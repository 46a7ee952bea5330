"""Disclosure: where personal prices are allowed, and what the customer must be told.

    rule = read_disclosures().rule("US-NY", date.today())
    rule.personalisation, rule.text

The rules are a dated table, ``disclosure.json``; each row carries its source and what counsel has yet to confirm. In
doubt there are no personal prices: in a place that the table does not know, and on a day before a place's first rule
(reason code JURISDICTION_OFF).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from fairtag.base.errors import ConfigError
from fairtag.base.files import read_json

SCHEMA: Final = "fairtag.disclosure/1"
DEFAULT: Final = "default"
_ISO_3166 = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")  # a country, or a part of one
_SEPARATORS = re.compile(r"[^A-Z0-9]+")


@dataclass(frozen=True)
class DisclosureRule:
    """The rule of one place from one day on.

    Args:
        jurisdiction: ``EU``, an ISO 3166 code such as ``US-NY``, or ``default``.
        effective: First day on which the rule holds.
        until: First day on which it no longer holds; None if no end is known.
        personalisation: Whether personal prices are allowed.
        text: Text to be shown beside a personal price, byte for byte; None where prices are not personal.
        text_is_statutory: Whether the law gives the wording, so that nobody may edit it.
        source: Source of the rule.
        counsel: What a lawyer must confirm before the rule is relied on; empty if nothing is open.
    """

    jurisdiction: str
    effective: date
    until: date | None
    personalisation: bool
    text: str | None
    text_is_statutory: bool
    source: str
    counsel: str

    def in_force(self, on: date) -> bool:
        """Whether the rule holds on the day."""
        return self.effective <= on and (self.until is None or on < self.until)


@dataclass(frozen=True)
class DisclosureTable:
    """One version of the table.

    Args:
        version: Version, which reports show.
        rules: All rules.
        aliases: Jurisdiction by alias: other spellings and member states, normalised.
    """

    version: str
    rules: tuple[DisclosureRule, ...]
    aliases: Mapping[str, str]

    def resolve(self, jurisdiction: str | None) -> str:
        """Jurisdiction of a place; ``default`` if the place is unknown or None.

        A subdivision takes the rule of its country (``DE-BY`` that of the EU, ``GB-SCT`` that of ``GB``); a state of
        the United States has its own rule or none.

        >>> table = read_disclosures()
        >>> table.resolve("de-by"), table.resolve("US-NY"), table.resolve("atlantis")
        ('EU', 'US-NY', 'default')
        """
        code = _normal(jurisdiction)
        known = {rule.jurisdiction for rule in self.rules} - {DEFAULT}
        country = code.split("-", maxsplit=1)[0]
        candidates = (code,) if country == "US" else (code, country)
        for candidate in candidates:
            found = self.aliases.get(candidate, candidate)
            if found in known:
                return found
        return DEFAULT

    def rule(self, jurisdiction: str | None, on: date) -> DisclosureRule:
        """Rule of a place on a day; the default rule if the place has none in force.

        >>> table = read_disclosures()
        >>> table.rule("US-NY", date(2026, 3, 1)).text
        'THIS PRICE WAS SET BY AN ALGORITHM USING YOUR PERSONAL DATA'
        >>> table.rule("atlantis", date(2026, 3, 1)).personalisation
        False
        """
        place = self.resolve(jurisdiction)
        current = [rule for rule in self.rules if rule.jurisdiction == place and rule.in_force(on)]
        if current:
            return max(current, key=lambda rule: rule.effective)
        return next(rule for rule in self.rules if rule.jurisdiction == DEFAULT)

    def rule_between(self, jurisdiction: str | None, first: date, last: date) -> DisclosureRule:
        """Rule of a place that holds on all days from ``first`` to ``last``; the default rule if it changes in between.

        A price lock over these days carries one text, and no text is right before and after a change.
        """
        days = {rule.effective for rule in self.rules} | {rule.until for rule in self.rules if rule.until is not None}
        found = {self.rule(jurisdiction, day) for day in (first, last, *(day for day in days if first < day < last))}
        return found.pop() if len(found) == 1 else self.rule(None, first)


def read_disclosures(path: Path | None = None) -> DisclosureTable:
    """Read a table; by default the one in the package.

    Raises:
        ConfigError: The file has another schema, or a row contradicts itself.
    """
    return _packaged() if path is None else _parse(read_json(path), str(path))


@cache
def _packaged() -> DisclosureTable:
    with resources.as_file(resources.files("fairtag.policy") / "disclosure.json") as path:
        return _parse(read_json(path), path.name)


def require_place(jurisdiction: str) -> None:
    """Refuse a place that is written otherwise than the table reads it; an unknown place has no personal prices.

    Raises:
        ConfigError: It is neither ``EU``, nor of the form of ISO 3166, nor a name in the table.

    >>> require_place("DE-BY")
    >>> require_place("Germany")
    Traceback (most recent call last):
    ...
    fairtag.base.errors.ConfigError: 'Germany' is no place; write a code of ISO 3166 such as DE or US-NY
    """
    code = _normal(jurisdiction)
    if not _ISO_3166.fullmatch(code) and code not in read_disclosures().aliases:
        raise ConfigError(f"{jurisdiction!r} is no place; write a code of ISO 3166 such as DE or US-NY")


def _normal(jurisdiction: str | None) -> str:
    return _SEPARATORS.sub("-", (jurisdiction or "").strip().upper()).strip("-")


def _parse(document: Mapping[str, Any], name: str) -> DisclosureTable:
    if document.get("schema") != SCHEMA:
        raise ConfigError(f"{name}: schema {document.get('schema')!r}, this version reads {SCHEMA!r}")
    rules = tuple(_rule(row, name) for row in document["rules"])
    if [rule.jurisdiction for rule in rules].count(DEFAULT) != 1:
        raise ConfigError(f"{name}: there must be exactly one rule for {DEFAULT!r}")
    aliases = {_normal(alias): place for place, names in document["aliases"].items() for alias in names}
    unknown = set(aliases.values()) - {rule.jurisdiction for rule in rules}
    if unknown:
        raise ConfigError(f"{name}: aliases for {', '.join(sorted(unknown))}, which has no rule")
    return DisclosureTable(str(document["version"]), rules, aliases)


def _rule(row: Mapping[str, Any], name: str) -> DisclosureRule:
    try:
        rule = DisclosureRule(
            jurisdiction=row["jurisdiction"],
            effective=date.fromisoformat(row["effective"]),
            until=date.fromisoformat(row["until"]) if row.get("until") else None,
            personalisation=row["personalisation"],
            text=row["text"],
            text_is_statutory=row["text_is_statutory"],
            source=row["source"],
            counsel=row["counsel"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{name}: a rule cannot be read ({type(error).__name__}: {error})") from error
    where = f"{name}: {rule.jurisdiction} from {rule.effective}"
    if not isinstance(rule.personalisation, bool):  # the text "false" would count as true
        raise ConfigError(f"{where}: personalisation is {rule.personalisation!r}; it must be true or false")
    if rule.personalisation and not rule.text:
        raise ConfigError(f"{where}: personal prices need a disclosure text")
    if rule.jurisdiction == DEFAULT and rule.personalisation:
        raise ConfigError(f"{where}: personal prices must be off where the law is unknown")
    if rule.until is not None and rule.until <= rule.effective:
        raise ConfigError(f"{where}: the rule ends on {rule.until}, before it begins")
    return rule
