"""Load any data set by its name.

>>> from fairtag.simulator.shop_design import TINY
>>> tables = load("synthetic", size=TINY)
>>> len(tables.latest_items()), tables.metadata["currency"]
(128, 'USD')
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from fairtag.base.errors import ConfigError, MissingDataError
from fairtag.base.tables import Tables
from fairtag.data import complete_journey, dominicks, feed_map, feeds, home_depot, online_retail, own_tables
from fairtag.simulator.simulation import DEFAULT, ShopSize, simulate_shop

_READERS: dict[str, Callable[[Path], Tables]] = {  # by their names on the command line
    "complete-journey": complete_journey.read,
    "home-depot": home_depot.read,
    "online-retail": online_retail.read,
    "dominicks": dominicks.read,
    "csv": own_tables.read_csv,
    "parquet": own_tables.read_parquet,
    **{name: partial(feeds.read_named, name=name) for name in feed_map.PACKAGED},
}
NAMES: tuple[str, ...] = ("synthetic", *_READERS)


def require_known(name: str) -> None:
    """Refuse the name of no data set.

    Raises:
        ConfigError: With the names there are, and the one that may be meant.
    """
    if name not in NAMES:
        near = get_close_matches(name, NAMES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{name!r} is no data set; it must be one of {', '.join(NAMES)}{hint}")


def load(name: str, data: Path | None = None, *, seed: int = 0, size: ShopSize | None = None) -> Tables:
    """The tables of a shop.

    Args:
        name: One of :data:`NAMES`.
        data: Folder that contains the data set's folder, or that folder itself; for ``csv`` and ``parquet`` the folder
            with one file for each table, for the exports of a shop system the folder that holds them. Not used by
            ``synthetic``.
        seed: Seed of the simulated shop.
        size: Size of the simulated shop.

    Raises:
        ConfigError: There is no data set of that name.
        MissingDataError: The folder, a file or a column is absent.
        DataError: A file cannot be read or breaks the contract of its table.
    """
    require_known(name)
    if name == "synthetic":
        return simulate_shop(size or DEFAULT, seed=seed).tables
    if data is None:
        raise MissingDataError(f"the data set {name} is read from a folder, and none was given; name it with --data")
    return _READERS[name](data)
