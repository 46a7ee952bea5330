"""An item's corridor belongs to the price day: a model swapped in during it prices inside the first one's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairtag.base.errors import UnavailableError
from serving.protocol.client import RestClient
from serving.stores.corridor_store import CorridorStore
from serving.stores.lock_file import LockFile
from serving.stores.price_locks import Claim, Ends, LocalPriceLockStore
from serving.stores.seal import Seal

ROWS = np.array([3, 7])
ASK = {"task": "price", "item_ids": ["item-003", "item-007"], "jurisdiction": "DE"}


def prices(running: Any, **request: Any) -> list[int]:
    with RestClient(running.http) as client:
        return [item["price_minor"] for item in client.pages([{**ASK, **request}])[0]["items"]]


class SharedStore(LocalPriceLockStore):
    """Stands for a store that several processes ask."""

    shared = property(lambda _self: True)


async def test_the_first_model_of_an_epoch_fixes_the_corridor_for_all(handmade: Any) -> None:
    store = SharedStore()
    old, new = handmade.HandMadeCore(lowest=0.5), handmade.HandMadeCore(lowest=0.3, version="handmade00002")
    one, canary = CorridorStore(store), CorridorStore(store)
    first = await one.fix(old, ROWS, 7, None)
    later = await canary.fix(new, ROWS, 7, None)
    assert first.low.tolist() == later.low.tolist() == [6.5, 8.5]
    assert first.high.tolist() == later.high.tolist() == [13.0, 17.0]
    known = canary.known(new, ROWS, 7, None)
    assert known is not None
    assert known.high.tolist() == later.high.tolist()
    fresh = await canary.fix(new, ROWS, 8, None)
    assert fresh.low.tolist() == [3.9, 5.1], "the next epoch begins anew"


async def test_what_is_known_is_not_asked_for_again_and_old_epochs_are_let_go(handmade: Any) -> None:
    core, asked = handmade.HandMadeCore(lowest=0.5), []

    class Counting(SharedStore):
        async def fix_corridors(self, key: str, corridors: Mapping[str, Ends], claim: Claim) -> dict[str, Ends]:
            asked.append(key)
            return await super().fix_corridors(key, corridors, claim)

    corridors = CorridorStore(Counting())
    assert corridors.known(core, ROWS, 1, None) is None
    await corridors.fix(core, ROWS, 1, None)
    assert corridors.known(core, ROWS, 1, None) is not None
    assert corridors.known(core, np.array([3, 8]), 1, None) is None, "one of them was never priced"
    await corridors.fix(core, ROWS, 2, None)
    await corridors.fix(core, ROWS, 3, None)
    assert [corridors.known(core, ROWS, epoch, None) is not None for epoch in (1, 2, 3)] == [False, True, True]
    assert len(asked) == 3


async def test_an_item_without_a_corridor_is_kept_as_such_and_no_page_is_empty_handed(handmade: Any) -> None:
    core = handmade.HandMadeCore()
    corridors = CorridorStore(SharedStore())
    assert np.isnan((await corridors.fix(core, ROWS, 1, None)).low).all()
    known = corridors.known(core, ROWS, 1, None)
    assert known is not None
    assert np.isnan(known.high).all()
    assert (await corridors.fix(core, ROWS[:0], 1, None)).low.shape == (0,)


def test_a_process_of_its_own_fixes_corridors_without_asking_anybody(handmade: Any) -> None:
    old, new = handmade.HandMadeCore(lowest=0.5), handmade.HandMadeCore(lowest=0.3, version="handmade00002")
    corridors = CorridorStore(LocalPriceLockStore())
    first, later = corridors.known(old, ROWS, 7, None), corridors.known(new, np.array([3, 8]), 7, None)
    assert first is not None
    assert later is not None
    assert first.low.tolist() == [6.5, 8.5]
    assert later.low.tolist() == [6.5, 5.4], "the first model's where it came first, the second's elsewhere"


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
def test_a_model_swapped_within_an_epoch_keeps_the_corridor_of_item_and_epoch(
    serve: Callable[..., Any], handmade: Any, order: tuple[str, str]
) -> None:
    cores = {
        "old": handmade.HandMadeCore(version="old", lowest=0.5),  # 0.9 of list, inside [0.5, 1.0]
        "new": handmade.HandMadeCore(version="new", share=0.35, lowest=0.3),  # 0.35 of list, inside [0.3, 0.6]
    }
    with serve(core=cores[order[0]]) as running:
        before = prices(running, user_id="somebody")
        running.assembly._load_core = lambda _settings: cores[order[1]]
        assert running.assembly.reload()
        after = prices(running, user_id="somebody else")
        guest = prices(running)
    for shown in zip(before, after, guest, strict=True):
        assert max(shown) <= 2.0 * min(shown), "each model alone keeps 2; 0.9 and 0.35 of list would not"
    assert after != before


def test_where_the_store_is_down_unknown_corridors_mean_list_and_known_ones_stand(
    serve: Callable[..., Any], handmade: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(core=handmade.HandMadeCore(lowest=0.5)) as running, RestClient(running.http) as client:
        monkeypatch.setattr(type(running.assembly.locks), "shared", property(lambda _self: True))
        whole = client.pages([ASK])[0]

        async def down(*_: Any) -> dict[str, Ends]:
            raise UnavailableError("down")

        monkeypatch.setattr(running.assembly.locks, "fix_corridors", down)
        again, other = client.pages([ASK])[0], client.pages([{**ASK, "item_ids": ["item-020"]}])[0]
    assert whole["degraded"] is again["degraded"] is None
    assert [item["price_minor"] for item in again["items"]] == [item["price_minor"] for item in whole["items"]]
    assert other["degraded"] == "price_locks_down"
    assert other["items"][0]["price_minor"] == other["items"][0]["list_price_minor"]


async def test_corridors_stand_across_a_restart_with_another_model(handmade: Any, tmp_path: Path) -> None:
    old, new = handmade.HandMadeCore(lowest=0.5), handmade.HandMadeCore(lowest=0.3, version="handmade00002")
    today = int(time.time()) // 86_400
    first = LocalPriceLockStore(LockFile(tmp_path, Seal([bytes(32)]), lambda _why: None))
    assert CorridorStore(first).known(old, ROWS, today, None) is not None
    await first.close()
    second = LocalPriceLockStore(LockFile(tmp_path, Seal([bytes(32)]), lambda _why: None))
    known = CorridorStore(second).known(new, ROWS, today, None)
    await second.close()
    assert known is not None
    assert known.low.tolist() == [6.5, 8.5]
