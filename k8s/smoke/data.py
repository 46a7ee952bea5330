"""The data role's job on a tiny simulated shop, inside its image: tables, rules, features online. Leaves nothing."""

import tempfile
from pathlib import Path

from components.adapters import feast
from components.adapters.great_expectations import validate_tables
from fairtag.base import schema
from fairtag.data import load
from fairtag.simulator.simulation import ShopSize

shop = load("synthetic", None, seed=0, size=ShopSize(items=120, users=150, impressions=4_800))
with tempfile.TemporaryDirectory() as scratch:
    folder = Path(scratch)
    accepted, report = validate_tables(shop.frames(), folder / "validation")
    report.require_accepted()
    feast.write_repository(folder / "features")
    store = feast.apply(folder / "features", shop)
    joined = feast.training_set(store, shop)
    written = feast.materialise(store, shop.users[schema.UPDATED_AT].max().to_pydatetime())
assert len(joined) == len(shop.impressions), len(joined)
assert written, "nothing is online"
assert all(written.values()), written
print(f"data: {len(accepted)} tables accepted, {len(joined)} rows joined, {written} online")
