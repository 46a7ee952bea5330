from __future__ import annotations

import json
import logging
import logging.config

import pytest

from serving.logs import configuration, where


def test_lines_are_json_and_foreign_errors_are_reduced_to_their_kind(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        logging.config.dictConfig(configuration("INFO"))
        logging.getLogger("serving.test").info("page %s", "q1")
        try:
            int("anna bought a drill")
        except ValueError:
            logging.getLogger("kserve").error("Exception: anna", exc_info=True)
        logging.getLogger("kserve.trace").info("anna again")
    finally:
        logging.getLogger().handlers[:], level = before
        logging.getLogger().setLevel(level)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["page q1", "ValueError in kserve"]
    assert lines[0]["level"] == "INFO"
    assert not any("anna" in json.dumps(line) for line in lines)


def test_a_place_is_named_without_the_errors_text() -> None:
    try:
        int("anna")
    except ValueError as error:
        place = where(error)
    assert place.startswith("test_logs.py:")
    assert "anna" not in place
