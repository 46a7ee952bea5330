"""What the Home Depot studies share at the command line: their options, and the command that a result names.

Knows no method and no measure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks.result import Result
from fairtag.encoder.training_report import Progress

Tell = Callable[[str], None]

_OFTEN = 25  # steps between two lines of a training


def options(run: Callable[..., Result], steps: int) -> argparse.ArgumentParser:
    """The options of a study whose encoder is taught so many steps; the study adds its own."""
    parser = argparse.ArgumentParser(description=(run.__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of real data")
    parser.add_argument("--steps", type=int, default=steps, help="optimiser steps of each encoder that is tuned")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the encoders' training")
    parser.add_argument("--terms", type=int, help="search terms kept; all when absent")
    parser.add_argument("--work", type=Path, help="folder that keeps what was computed, so that a cut run goes on")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


def main(run: Callable[..., Result], parser: argparse.ArgumentParser) -> None:
    """Run a study with the options given, with progress."""
    given = vars(parser.parse_args())
    console, begun, file = Console(width=160), time.monotonic(), given.pop("json")

    def tell(line: str) -> None:
        console.print(f"{time.monotonic() - begun:6.0f} s  {line}")

    result = run(**given, tell=tell)
    result.show(console)
    if file is not None:
        result.save(file)


def command(module: str, precision: str, terms: int | None, **numbers: int) -> str:
    """The command that a result was made by; what is as it is without an option is left out."""
    words = [f"python -m {module} --data DIR"]
    words += [f"--{name.replace('_', '-')} {value}" for name, value in numbers.items()]
    words += [f"--precision {precision}"] if precision != "fp32" else []
    words += [f"--terms {terms}"] if terms else []
    return " ".join(words)


def told(name: str, tell: Tell) -> Callable[[Progress], None]:
    """A training's progress as lines: the fifth step, to see how long it will take, and every 25th."""

    def line(now: Progress) -> None:
        if now.step % _OFTEN == 0 or now.step == 5:
            tell(f"{name}: step {now.step}/{now.steps}, loss {now.losses['loss']:.4f}, {now.seconds_left:.0f} s left")

    return line
