"""``python -m benchmarks NAME``: run one study or benchmark, or all of them; ``--list`` shows what there is.

Numerical libraries get one thread unless OMP_NUM_THREADS says otherwise: when other programs had the cores, two
threads that waited for each other made a fit of six seconds take a hundred.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by BLAS when numpy loads, hence before the other imports

import sys

from typer.exceptions import TyperException

from benchmarks.command import app
from fairtag.base.errors import FairtagError


def main(arguments: list[str] | None = None) -> int:
    """Exit code of a command line: 1 when something could not run, 2 when the command line cannot be read."""
    try:
        code = app(arguments, standalone_mode=False, prog_name="python -m benchmarks")
    except TyperException as error:
        print(f"error: {error.format_message()}; --help shows what there is", file=sys.stderr)
        return error.exit_code
    except FairtagError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
