"""Writes docs/configuration.md from the settings: ``python -m pipelines.configuration --write``.

A test holds the page to :func:`page`, so that it never differs from the code.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fairtag.base.files import canonical_json, write_text
from fairtag.base.settings import Settings, dotted
from pipelines.options import Setting, flat
from pipelines.settings import RunSettings, document_class

PAGE = Path("docs") / "configuration.md"
SCOPE = {"": "both", "run": "`fairtag run`", "submit": "`fairtag submit`"}
ARGUMENT = re.compile(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", re.MULTILINE | re.DOTALL)
INTRODUCTION = """# Configuration

Every setting of a run of the training pipeline. This page is generated from `pipelines/settings.py`
(`python -m pipelines.configuration --write`).

A setting can be given in three ways. They have the same name, the same default and the same check:

```
fairtag run --dataset csv --data my-shop --max-quarantined 0.02 --out runs/mine
fairtag run --settings my-shop.yaml --out runs/mine
fairtag submit -p dataset=csv -p data=s3://fairtag-data/my-shop
```

A file holds any of the settings, nested as in the tables below. Options win over the file.

```yaml
seed: 1
data:
  dataset: csv
  folder: my-shop
encoder:
  preset: standard
  settings: {tuning: {method: lora}}
policy:
  limits: {max_discount: 0.2, endings: [49, 99], ending_period: 100}
evaluation:
  launch: {ess: 400}
```

`--encoder`, `--demand`, `--policy` and `--evaluation` take such an object as JSON, or the name of a file that holds it.
A wrong setting ends the command with exit code 2. The message holds the setting, the value, the rule and what the
setting is. The settings of an endpoint and of the monitors are theirs alone: see [operations.md](operations.md).
"""


def page() -> str:
    """The page as Markdown."""
    settings = list(flat(RunSettings))
    groups = list(dict.fromkeys(each.group for each in settings))
    parts = [INTRODUCTION, *(_group(kind, [each for each in settings if each.group is kind]) for kind in groups)]
    documents = [each for each in settings if each.facts["document"] and each.path[0] != "encoder"]
    return "\n".join([*parts, *(_document(each) for each in documents)])


def _group(kind: type[Settings], settings: list[Setting]) -> str:
    title = (kind.__doc__ or "").strip().removesuffix(".")
    rows = [
        (
            f"`{dotted(each.path)}`",
            f"`{each.option}`",
            _default(each),
            SCOPE[each.only],
            f"{each.field.description}{_choices(each)}{_link(each)}",
        )
        for each in settings
    ]
    return f"## {title}\n\n{_table(('in a file', 'option', 'default', 'command', 'what it is'), rows)}"


def _default(each: Setting) -> str:
    here, cluster = each.default("run"), each.default("submit")
    return _shown(here) if here == cluster else f"{_shown(here)}; with submit {_shown(cluster)}"


def _choices(each: Setting) -> str:
    return f" One of {', '.join(f'`{word}`' for word in each.choices)}." if each.choices else ""


def _link(each: Setting) -> str:
    if not each.facts["document"]:
        return ""
    return " See [encoder.md](encoder.md)." if each.path[0] == "encoder" else f" See [below](#{each.name})."


def _document(each: Setting) -> str:
    rows = [
        (f"`{name}`", _shown(default), text) for name, default, text in _fields(document_class(each.facts["document"]))
    ]
    return f"## {each.name}\n\n{each.field.description}\n\n{_table(('setting', 'default', 'what it is'), rows)}"


def _fields(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Name, default and description of each setting of a group or a dataclass; inner ones are opened."""
    defaults, said = kind(), _descriptions(kind)
    for name in said:
        value = getattr(defaults, name)
        if isinstance(value, Settings) or dataclasses.is_dataclass(value):
            yield from _fields(type(value), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _policy_default(kind, name) if value is None else value, said[name]


def _policy_default(kind: Any, name: str) -> Any:
    """What holds where a policy says nothing; None for any other group."""
    from fairtag.policy.policy_sections import Limits
    from fairtag.policy.pricing_policy import PricingPolicy
    from fairtag.policy.shop_policy import ShopPolicy

    held = {ShopPolicy: PricingPolicy(), Limits: PricingPolicy().limits}.get(kind)
    return getattr(held, name, None)


def _descriptions(kind: Any) -> dict[str, str]:
    if issubclass(kind, Settings):
        return {name: str(field.description) for name, field in kind.model_fields.items()}
    arguments = (inspect.getdoc(kind) or "").partition("Args:\n")[2].partition("\n\n")[0]
    texts = {name: " ".join(text.split()).replace("``", "`") for name, text in ARGUMENT.findall(arguments)}
    return {field.name: texts.get(field.name, "") for field in dataclasses.fields(kind)}


def _shown(value: Any) -> str:
    if value in (None, "", {}, []):
        return "none"
    text = canonical_json(value) if isinstance(value, dict | list | tuple | bool) else str(value)
    return f"`{text}`"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    if "--write" in sys.argv:
        write_text(PAGE, page())
    else:
        print(page())
