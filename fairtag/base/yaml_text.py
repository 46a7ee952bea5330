"""YAML as people write settings in it: each key once, and no aliases, which can make a page of text a billion values.

>>> read_yaml("limits: {max_discount: 0.2}")
{'limits': {'max_discount': 0.2}}
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml


class _Plain(yaml.SafeLoader):
    """The safe loader, without aliases and without a key that stands twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML has no types
            raise yaml.composer.ComposerError(None, None, "an alias is refused; write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if isinstance(name, Hashable) and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands more than once", key.start_mark)
            if isinstance(name, Hashable):
                seen.add(name)
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """The document of a text.

    Raises:
        ValueError: It is no YAML, says a key twice, holds an alias, or is nested deeper than anyone writes.
    """
    try:
        return yaml.load(text, Loader=_Plain)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
