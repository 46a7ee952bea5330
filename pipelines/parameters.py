"""Parameters of the training pipeline from ``name=value`` texts, held to their types."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from fairtag.base.errors import ConfigError


def pipeline_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """Values by name, each of the type the pipeline declares.

    Raises:
        ConfigError: A text is no pair, the name is unknown, or the value is not of the parameter's type.
    """
    from pipelines.training import training

    declared = {name: given.annotation for name, given in inspect.signature(training.pipeline_func).parameters.items()}
    return dict(_parameter(text, declared) for text in texts)


def _parameter(text: str, declared: dict[str, Callable[[str], Any]]) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or name not in declared:
        raise ConfigError(f"--parameter {text!r} is refused; write name=value with a name of {', '.join(declared)}")
    try:
        return name, declared[name](value)
    except ValueError as error:
        kind = getattr(declared[name], "__name__", str(declared[name]))
        raise ConfigError(f"--parameter {text!r} is refused; {name} is of type {kind}") from error
