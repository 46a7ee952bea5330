"""Price locks of one process and of its run folder: bounded, durable, and agreed between processes."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fairtag.base.errors import UnavailableError
from serving.stores.lock_file import NAME, LockFile
from serving.stores.price_locks import Claim, LocalPriceLockStore, PriceLocks, Trust
from serving.stores.seal import FORGED, UNREADABLE, Seal

SECRET = bytes(range(32))
TOMORROW = int(time.time()) + 86_400
CUSTOMER, GUEST, INVENTED = (Claim(TOMORROW, trust) for trust in (Trust.CUSTOMER, Trust.SESSION, Trust.INVENTED))


def kept(folder: Path, ignored: Callable[[str], None] = lambda _why: None) -> LocalPriceLockStore:
    return LocalPriceLockStore(LockFile(folder, Seal([SECRET]), ignored))


def items(count: int, price: int = 1) -> PriceLocks:
    return PriceLocks({f"item-{number}": price for number in range(count)})


async def test_locks_stand_across_a_restart(tmp_path: Path) -> None:
    first = kept(tmp_path)
    await first.lock("anna", PriceLocks({"a": 10}, {"b": 9}, {"c": 8}), CUSTOMER)
    await first.close()
    second = kept(tmp_path)
    assert await second.read(["anna"], CUSTOMER) == PriceLocks({"a": 10}, {"b": 9}, {"c": 8})
    assert await second.lock("anna", PriceLocks({"a": 12}), CUSTOMER) == PriceLocks({"a": 10})
    await second.close()


KILLED = """
    import asyncio, os, signal, sys, time
    from pathlib import Path
    from serving.stores.lock_file import LockFile
    from serving.stores.price_locks import Claim, LocalPriceLockStore, PriceLocks
    from serving.stores.seal import Seal

    async def main():
        store = LocalPriceLockStore(LockFile(Path(sys.argv[1]), Seal([bytes(range(32))]), print))
        for number in range(200):
            await store.lock(f"customer-{number}", PriceLocks({"a": 100 + number}), Claim(int(time.time()) + 900))
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(main())
"""


async def test_locks_of_a_killed_process_stand(tmp_path: Path) -> None:
    program = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)]
    assert subprocess.run(program, timeout=60, check=False).returncode == -9
    store = kept(tmp_path)
    for number in (0, 77, 199):
        assert (await store.read([f"customer-{number}"], CUSTOMER)).public == {"a": 100 + number}
    assert not store.shared, "what a dead process left is no process"
    await store.close()


async def test_two_processes_of_one_run_folder_agree_on_who_was_first(
    tmp_path: Path, until: Callable[..., None]
) -> None:
    one, other = kept(tmp_path), kept(tmp_path)
    assert other.shared
    until(lambda: one.shared)
    assert not await one.lock("anna", PriceLocks({"a": 10}), CUSTOMER)
    assert (await other.read(["anna"], CUSTOMER)).public == {"a": 10}
    assert await other.lock("anna", PriceLocks({"a": 12, "b": 5}), CUSTOMER) == PriceLocks({"a": 10})
    assert (await one.read(["anna"], CUSTOMER)).public == {"a": 10, "b": 5}
    prices = await asyncio.gather(
        *(store.lock("bert", PriceLocks({"a": price}), CUSTOMER) for price, store in enumerate((one, other) * 8, 1))
    )
    shown = {price if not stands else stands.public["a"] for price, stands in enumerate(prices, 1)}
    assert len(shown) == 1, "everybody was told of the same price"
    await one.close()
    await other.close()


async def test_what_one_process_knew_alone_is_not_lost_when_another_comes(
    tmp_path: Path, until: Callable[..., None]
) -> None:
    one = kept(tmp_path)
    await one.lock("anna", PriceLocks({"a": 10}), CUSTOMER)
    until(lambda: one._file is not None and len(one._file.claims) == 0)
    other = kept(tmp_path)
    assert (await other.read(["anna"], CUSTOMER)).public == {"a": 10}
    await other.close()
    await one.close()


async def test_a_row_that_somebody_changed_is_ignored_and_counted(tmp_path: Path) -> None:
    store = kept(tmp_path)
    await store.lock("anna", PriceLocks({"a": 3_899}), CUSTOMER)
    await store.lock("bert", PriceLocks({"a": 3_899}), CUSTOMER)
    await store.close()
    database = sqlite3.connect(tmp_path / NAME)
    database.execute("UPDATE claims SET fields = replace(fields, '3899', '1') WHERE key = 'anna'")
    database.execute(
        "INSERT INTO claims (key, trust, expires, fields) SELECT 'carl', trust, expires, fields FROM claims"
    )
    database.execute("INSERT INTO claims (key, trust, expires, fields) VALUES ('dora', 9, ?, X'00ff')", (TOMORROW,))
    database.commit()
    database.close()
    counted: list[str] = []
    again = kept(tmp_path, counted.append)
    assert not await again.read(["anna"], CUSTOMER)
    assert not await again.read(["carl"], CUSTOMER), "another customer's lock"
    assert (await again.read(["bert"], CUSTOMER)).public == {"a": 3_899}
    assert counted == [FORGED] * 4
    await again.close()


async def test_a_file_that_is_no_database_is_put_aside_and_locks_begin_anew(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database at all" * 100)
    counted: list[str] = []
    store = kept(tmp_path, counted.append)
    assert not await store.lock("anna", PriceLocks({"a": 1}), CUSTOMER)
    await store.close()
    assert counted == [UNREADABLE]
    assert list(tmp_path.glob("*.broken-*"))
    again = kept(tmp_path)
    assert (await again.read(["anna"], CUSTOMER)).public == {"a": 1}
    await again.close()


@pytest.mark.parametrize("change", ["trust = 'x'", "trust = 1.5", "trust = 9", "expires = 'x'", "expires = x'00'"])
async def test_a_row_whose_numbers_are_none_is_ignored_and_counted_and_the_others_stand(
    tmp_path: Path, change: str
) -> None:
    first = kept(tmp_path)
    await first.lock("anna", PriceLocks({"a": 10}), CUSTOMER)
    await first.lock("berta", PriceLocks({"b": 20}), CUSTOMER)
    await first.close()
    with closing(sqlite3.connect(tmp_path / NAME)) as database:
        database.execute(f"UPDATE claims SET {change} WHERE key = 'anna'")
        database.commit()
    ignored: list[str] = []
    second = kept(tmp_path, ignored.append)
    assert (await second.read(["anna"], CUSTOMER), await second.read(["berta"], CUSTOMER)) == (
        PriceLocks(),
        PriceLocks({"b": 20}),
    )
    assert ignored == [UNREADABLE]
    await second.close()


async def test_what_stands_before_the_damage_of_a_file_stands_and_goes_on_in_a_new_one(tmp_path: Path) -> None:
    first = kept(tmp_path)
    for number in range(3_000):
        await first.lock(f"customer-{number:04d}", PriceLocks({"a": 10}), CUSTOMER)
    await first.close()
    file = tmp_path / NAME
    content = bytearray(file.read_bytes())
    half = len(content) // 2 // 4_096 * 4_096
    content[half : half + 8 * 4_096] = b"\xff" * 8 * 4_096
    file.write_bytes(content)
    ignored: list[str] = []
    second = kept(tmp_path, ignored.append)
    assert await second.read(["customer-0000"], CUSTOMER) == PriceLocks({"a": 10})
    assert (ignored, len(list(tmp_path.glob("*.broken-*")))) == ([UNREADABLE], 1)
    await second.lock("late", PriceLocks({"a": 12}), CUSTOMER)
    await second.close()
    third = kept(tmp_path)
    names = ["customer-0000", "late"]
    assert [(await third.read([name], CUSTOMER)).public for name in names] == [{"a": 10}, {"a": 12}]
    await third.close()


async def test_a_database_with_other_columns_is_put_aside(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / NAME)) as database:
        database.execute("CREATE TABLE claims (number INTEGER PRIMARY KEY, key TEXT)")
    store = kept(tmp_path)
    assert await store.lock("anna", PriceLocks({"a": 10}), CUSTOMER) == PriceLocks()
    await store.close()
    assert list(tmp_path.glob("*.broken-*"))


async def test_a_file_that_another_process_holds_is_never_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept(tmp_path).close()
    monkeypatch.setattr("serving.stores.lock_file.BUSY_MS", 10)
    with closing(sqlite3.connect(tmp_path / NAME)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError, match="locked by another process"):
            kept(tmp_path)
    assert not list(tmp_path.glob("*.broken-*"))


async def test_a_price_day_that_has_passed_is_forgotten_in_the_file_and_in_memory(tmp_path: Path) -> None:
    now = [float(TOMORROW - 86_400)]
    store = LocalPriceLockStore(clock=lambda: now[0])
    await store.lock("old", PriceLocks({"a": 1}), Claim(int(now[0]) + 10))
    now[0] += 120
    await store.lock("new", PriceLocks({"a": 1}), Claim(int(now[0]) + 10))
    assert store.kept == 1
    first = kept(tmp_path)
    await first.lock("old", PriceLocks({"a": 1}), Claim(int(time.time()) - 1))
    await first.lock("new", PriceLocks({"a": 1}), CUSTOMER)
    await first.close()
    second = kept(tmp_path)
    assert second.kept == 1
    await second.close()


async def test_what_has_expired_leaves_the_file_while_the_process_runs(
    tmp_path: Path, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that is never restarted keeps nobody's locks beyond their day, not even in the file's free pages."""
    monkeypatch.setattr("serving.stores.lock_file.PURGE_SECONDS", 0.1)
    store = kept(tmp_path)
    await store.lock("customer-of-yesterday", PriceLocks({"a": 1}), Claim(int(time.time()) + 1))
    await store.lock("customer-of-today", PriceLocks({"a": 1}), CUSTOMER)

    def names() -> set[str]:
        with closing(sqlite3.connect(tmp_path / NAME)) as database:
            return {key for (key,) in database.execute("SELECT key FROM claims")}

    until(lambda: names() == {"customer-of-yesterday", "customer-of-today"})
    until(lambda: names() == {"customer-of-today"})
    await store.close()
    assert b"customer-of-yesterday" not in (tmp_path / NAME).read_bytes()


async def test_invented_ids_push_out_each_other_and_no_customer(tmp_path: Path) -> None:
    store = LocalPriceLockStore(LockFile(tmp_path, Seal([SECRET]), print), megabytes=0.1)
    await store.lock("victim", items(24), CUSTOMER)
    await store.lock("guest", items(24), GUEST)
    for number in range(1_000):
        await store.lock(f"made up {number}", items(24), INVENTED)
    assert store.evicted > 900
    assert (await store.read(["victim"], CUSTOMER)) == items(24)
    assert (await store.read(["guest"], GUEST)) == items(24)
    for number in range(1_000):
        await store.lock(f"session {number}", items(24), GUEST)
    assert (await store.read(["victim"], CUSTOMER)) == items(24)
    assert not await store.read(["guest"], GUEST), "guests make room for guests, the oldest first"
    await store.close()
    with sqlite3.connect(tmp_path / NAME) as database:
        (rows,) = database.execute("SELECT count(*) FROM claims").fetchone()
    assert rows < 100, "the file is bounded as the memory is"


async def test_a_store_full_of_customers_locks_nothing_for_an_invented_id_and_says_so() -> None:
    store = LocalPriceLockStore(megabytes=0.02)
    for number in range(20):
        await store.lock(f"customer {number}", items(24), CUSTOMER)
    before, refused = store.kept, store.refused
    await store.lock("made up", items(24), INVENTED)
    assert store.kept - before < 24
    assert store.refused > refused
    await store.fix_corridors("day", {"a": (1, 2)}, Claim(TOMORROW, Trust.SHOP))
    assert store.known_here("day") == {"a": (1, 2)}, "a corridor always has room"


async def test_one_customer_has_so_many_locks_and_no_more() -> None:
    store = LocalPriceLockStore(most=10)
    await store.lock("crawler", items(8), INVENTED)
    await store.lock("crawler", PriceLocks({f"more {number}": 1 for number in range(8)}), INVENTED)
    assert (store.kept, store.refused) == (10, 6)


async def test_whoever_turns_out_to_be_a_customer_is_trusted_from_then_on() -> None:
    store = LocalPriceLockStore(megabytes=0.02)
    await store.lock("anna", items(5), INVENTED)
    await store.lock("anna", PriceLocks({"another": 1}), CUSTOMER)
    for number in range(100):
        await store.lock(f"made up {number}", items(24), INVENTED)
    assert len((await store.read(["anna"], INVENTED)).public) == 6


async def test_memory_is_what_the_setting_says() -> None:
    import tracemalloc

    store = LocalPriceLockStore(megabytes=4)
    tracemalloc.start()
    for number in range(4_000):
        await store.lock(f"fairtag:lock:EUR:20786:{number:032x}", items(1 + number % 24, 1_000 + number), INVENTED)
    used = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    assert store.evicted > 0
    assert 1.5 < used < 6.0, used


async def test_a_folder_that_becomes_read_only_loses_no_lock_of_this_process_and_says_what_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, until: Callable[..., None]
) -> None:
    def refused(*_: object) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    store = kept(tmp_path)
    monkeypatch.setattr(LockFile, "_columns", refused)
    await store.lock("anna", PriceLocks({"a": 10}), CUSTOMER)
    until(lambda: {name: value for name, _, value in store.figures()}["write_failures"] > 0)
    assert (await store.read(["anna"], CUSTOMER)).public == {"a": 10}
    await store.close()
    assert "1 claims of price locks could not be written" in caplog.text
