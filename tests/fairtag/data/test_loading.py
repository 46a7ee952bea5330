"""One door to every data set: names, refusals, and the simulated shop behind it."""

import pytest

from fairtag.base.errors import ConfigError, DataError, MissingDataError
from fairtag.data import NAMES, load
from fairtag.simulator.simulation import TINY, simulate_shop


def test_the_names_are_those_of_the_command_line():
    studies = ("complete-journey", "home-depot", "online-retail", "dominicks")
    assert ("synthetic", *studies, "csv", "parquet", "shopify", "woocommerce", "magento", "google-merchant") == NAMES


def test_the_simulated_shop_needs_no_folder_and_follows_its_seed_and_size():
    tables = load("synthetic", seed=3, size=TINY)
    assert tables.fingerprint() == simulate_shop(TINY, seed=3).tables.fingerprint()
    assert tables.metadata["observational"] is False
    assert all(text.startswith("simulated") for text in tables.metadata["provenance"].values())


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="one of synthetic, complete-journey"):
        load("walmart")


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_folder_that_was_not_given_or_is_not_there_is_named(name, tmp_path):
    with pytest.raises(MissingDataError, match="--data"):
        load(name)
    with pytest.raises(MissingDataError, match="absent"):
        load(name, tmp_path / "absent")


@pytest.mark.parametrize("name", ["complete-journey", "home-depot", "online-retail", "dominicks"])
def test_a_folder_without_the_data_set_says_what_it_holds(name, tmp_path):
    (tmp_path / "something_else").mkdir()
    with pytest.raises(MissingDataError, match="something_else"):
        load(name, tmp_path)


def test_a_file_that_is_not_what_its_name_says_is_refused(receipts):
    (receipts / "complete_journey" / "products.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"products\.parquet: cannot be read as parquet"):
        load("complete-journey", receipts)


def test_a_truncated_archive_is_refused(searches):
    file = searches / "home_depot_search" / "train.csv.gz"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        load("home-depot", searches)


def test_a_missing_file_or_column_is_named(receipts):
    folder = receipts / "complete_journey"
    (folder / "demographics.parquet").unlink()
    with pytest.raises(MissingDataError, match=r"demographics\.parquet: the file is absent"):
        load("complete-journey", receipts)


def test_the_data_set_own_folder_may_be_given_instead_of_its_parent(receipts):
    inner = load("complete-journey", receipts / "complete_journey")
    assert inner.fingerprint() == load("complete-journey", receipts).fingerprint()
