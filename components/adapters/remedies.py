"""What to do about a broken rule of the contract, in one sentence with the setting or the spelling that helps."""

from __future__ import annotations

from components.adapters.suites import IN_ONE_UNIT, NOT_BEFORE, ONCE, ONE_VALUE, REFERENCE, UNIQUE_KEY, WHOLE_COINS
from components.adapters.validation_report import KNOWN_COLUMN, NOT_EMPTY, REQUIRED_COLUMN, Finding
from fairtag.base import schema
from fairtag.fairness.forbidden import forbidden_attribute

READABLE = {
    "id": "export the id as text: a spreadsheet turns a long id into 4.0E+12, and its digits are lost; a program turns "
    "17850 into 17850.0 where other rows have none",
    "money": "write a number of currency units such as 12.99; a decimal comma is stated in metadata.json: "
    '{"csv": {"decimal": ","}}',
    "number": "write a number",
    "share": "write a number from 0 to 1",
    "integer": "write a whole number",
    "flag": "write true or false",
    "ids": 'write a JSON list of ids, such as ["A17", "B02"]',
    "numbers": "write a JSON list of numbers, such as [0.5, 12]",
    "text": "write UTF-8 text",
    "category": "write UTF-8 text",
}


def remedy(finding: Finding) -> str:
    """What to do about a finding.

    >>> remedy(Finding("items", "title", "not null", "critical", 1))
    'fill the cell, or leave the row out'
    """
    rule, table = finding.rule, schema.table(finding.table)
    if rule.startswith("readable as "):
        return _readable(finding, rule.removeprefix("readable as "))
    if rule.startswith(REFERENCE):
        return (
            f"add it to {rule.removeprefix(REFERENCE)} or leave the row out; check that both tables spell ids alike: "
            "capitals, leading zeros, and ü as one character or as two"
        )
    if "smallest coin" in rule:
        return "price it at one coin or more, or leave the item out: it would be given away"
    if rule.startswith(WHOLE_COINS):
        return (
            "it is charged rounded to whole coins; round it in the export, or name the right currency: "
            '{"currency": "..."} in metadata.json'
        )
    if rule == KNOWN_COLUMN and (protected := _protected(finding.column.split(", "))):
        return f"drop the column: {', '.join(protected)}, and a protected attribute may never reach a price"
    known = {
        f"{ONCE}{schema.PAGE_ID}": f"count {schema.RANK} from 1 on each page; where each stood is not known until then",
        IN_ONE_UNIT: "one of them is in cents; write both in currency units, such as 12.99",
        NOT_BEFORE: f'write the time of day; a number since 1970 has a unit: {{"times": {{"{finding.table}.'
        f'{finding.column}": {{"unit": "s"}}}}}} (s, ms, us or ns) in metadata.json',
        f"{ONE_VALUE}{schema.PAGE_ID}": f"write one {finding.column} on all rows of a page: it is that of the page",
        f"{schema.PURCHASED} where {schema.QUANTITY} > 0": f"write the units bought where {schema.PURCHASED} is true, "
        f"and 0 elsewhere; until then {schema.PURCHASED} decides, and a purchase without units is of one",
        REQUIRED_COLUMN: f"add the column; {table.name} needs {', '.join(table.required_names)}",
        KNOWN_COLUMN: f"drop the column, or give it one of the names {', '.join(table.names)}"
        + (f"; one that shifts demand may begin with {table.own_prefix}" if table.own_prefix else ""),
        NOT_EMPTY: "export the table again: a shop has items, or there is nothing to find and to price"
        if table is schema.ITEMS
        else "export the table again",
        UNIQUE_KEY: f"keep one row for each {' and '.join(table.key)}",
        "not null": "fill the cell, or leave the row out",
    }
    return known.get(rule, "correct the values, or leave the row out")


def _protected(columns: list[str]) -> list[str]:
    """Those of some columns that name a protected attribute, and which."""
    named = ((name, forbidden_attribute(name)) for name in columns)
    return [f"{name} names {attribute}" for name, attribute in named if attribute is not None]


def _readable(finding: Finding, kind: str) -> str:
    if kind != "time":
        return READABLE[kind]
    stated = f'{{"times": {{"{finding.table}.{finding.column}": {{"format": "%d/%m/%Y"}}}}}}'
    return f"write ISO 8601, such as 2026-02-01T10:00:00Z, or state the format: {stated}"
