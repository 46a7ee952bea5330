"""The role images that components run in, and the one way a component is made.

A compile prefixes or pins the names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kfp import dsl

# The word "python" tells KFP's local runner that the image holds one.
IMAGES: dict[str, str] = {"data": "fairtag/data-python:0.1.0", "train": "fairtag/train-python:0.1.0"}

SPARK_IMAGE = "fairtag/data-spark-python:0.1.0"  # the data role with Spark, for the steps on tables


def component(role: str) -> Callable[[Callable[..., Any]], Any]:
    """A lightweight component on a role's image, which holds all it imports: nothing is installed at run time."""
    return partial(dsl.component, base_image=IMAGES[role], install_kfp_package=False)
