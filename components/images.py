"""The images that components run in, by role, and the decorator that makes a component.

``fairtag compile --image`` replaces the names, by a registry's or a pinned digest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kfp import dsl

# KFP's local runner takes an image with "python" in its name as one that has Python.
IMAGES: dict[str, str] = {"data": "fairtag/data-python:0.1.0", "train": "fairtag/train-python:0.1.0"}

SPARK_IMAGE = "fairtag/data-spark-python:0.1.0"  # the data role with Spark, for the steps on tables


def component(role: str) -> Callable[[Callable[..., Any]], Any]:
    """A lightweight component on a role's image, which has all that it imports: nothing is installed at run time."""
    return partial(dsl.component, base_image=IMAGES[role], install_kfp_package=False)
