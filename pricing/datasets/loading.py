"""One door to every data set by its name. Knows nothing of what is inside one."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from pricing.errors import ConfigError, MissingDataError
from pricing.market.simulation import DEFAULT, MarketSize, simulate_market
from pricing.tables import Tables

_READERS = {  # name on the command line -> module of this package with read(data) -> Tables
    "complete-journey": "complete_journey",
    "home-depot": "home_depot",
    "online-retail": "online_retail",
    "dominicks": "dominicks",
    "csv": "own_csv",
    "parquet": "own_parquet",
}
NAMES: tuple[str, ...] = ("synthetic", *_READERS)


def load(name: str, data: Path | None = None, *, seed: int = 0, size: MarketSize | None = None) -> Tables:
    """The tables of a shop.

    Args:
        name: One of :data:`NAMES`.
        data: Folder that holds the data set's own folder, or that folder itself; for ``csv`` and ``parquet`` the
            folder with one file a table. Not used by ``synthetic``.
        seed: Seed of the simulated shop.
        size: Size of the simulated shop.

    Raises:
        ConfigError: There is no data set of that name.
        MissingDataError: The folder, a file or a column is absent.
        DataError: A file cannot be read or breaks the contract of its table.
    """
    if name not in NAMES:
        raise ConfigError(f"dataset: {name!r} is refused; it must be one of {', '.join(NAMES)}")
    if name == "synthetic":
        return simulate_market(size or DEFAULT, seed=seed).tables
    if data is None:
        raise MissingDataError(f"the data set {name} is read from a folder and none was given; name it with --data")
    read = cast(Callable[[Path], Tables], import_module(f"pricing.datasets.{_READERS[name]}").read)
    return read(data)
