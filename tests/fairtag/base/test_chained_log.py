"""A chained log shows what was altered, taken out or put in, and goes on after a crash."""

import pytest

from fairtag.base.chained_log import START, ChainedLog
from fairtag.base.errors import DataError


@pytest.fixture
def log(tmp_path):
    found = ChainedLog(tmp_path / "log.jsonl", "test/1")
    for number in range(3):
        found.append({"number": number})
    return found


def test_each_line_carries_the_digest_of_the_line_before(log):
    documents = log.documents()
    assert [each["previous"] for each in documents] == [START, *(each["digest"] for each in documents[:-1])]
    assert log.entries() == ({"number": 0}, {"number": 1}, {"number": 2})


@pytest.mark.parametrize("places", [(0, 2), (1, 2), (0, 0, 1, 2), (0, 2, 1)])
def test_a_line_that_is_gone_doubled_or_moved_is_found(log, tmp_path, places):
    file = tmp_path / "log.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("".join(f"{lines[at]}\n" for at in places))
    for read in (log.entries, log.documents, lambda: log.append({"number": 3})):
        with pytest.raises(DataError, match="altered"):
            read()


def test_what_a_crash_cut_off_is_no_entry_and_the_next_one_takes_its_place(log, tmp_path):
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"number": 3, "prev')
    assert len(log.entries()) == 3
    log.append({"number": 4})
    assert [entry["number"] for entry in log.entries()] == [0, 1, 2, 4]


def test_only_the_first_entries_are_kept(log):
    log.keep(1)
    assert log.entries() == ({"number": 0},)
    log.keep(5)
    assert log.entries() == ({"number": 0},)
