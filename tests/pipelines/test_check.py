"""`fairtag check` shows every problem of every table at once and says what the tables are enough for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fairtag.base.errors import MissingDataError
from pipelines.check import check_shop
from pipelines.cli import main

SAMPLES = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    (folder / "items.csv").write_text(
        "item_id,title,list_price,unit_cost,colour\nA1,mug,12.5,5,blue\nA2,,13,-1,red\nA3,bowl,abc,2,red\nA3,jug,9,2,red\n"
    )
    (folder / "orders.csv").write_text(
        "order_id,item_id,ts,quantity,price\nO1,A1,01/02/2026,1,12\nO2,ZZ,2026-02-01,1,9\n"
    )
    (folder / "judgements.csv").write_text('query,item_id,title,relevance\nmug,A1,"mug,1\n')
    return check_shop("", folder)


def found(report, table):
    return {(problem.column, problem.rule): problem for problem in report.problems if problem.table == table}


def test_all_problems_of_all_tables_are_found_at_once(broken):
    assert broken.refused
    items, orders = found(broken, "items"), found(broken, "orders")
    assert {
        ("colour", "column of the contract"),
        ("title", "not null"),
        ("unit_cost", ">= 0"),
        ("list_price", "readable as money"),
        ("item_id", "unique key"),
    } <= set(items)
    assert {("user_id", "required column"), ("ts", "readable as time"), ("item_id", "exists in items")} <= set(orders)
    (unread,) = [problem for problem in broken.problems if problem.table == "judgements"]
    assert unread.severity == "refused"
    assert "line 2" in unread.remedy


def test_a_problem_names_row_value_rule_and_remedy(broken):
    problem = found(broken, "orders")[("ts", "readable as time")]
    assert problem.rows == (1,)
    assert problem.examples[0]["ts"] == "01/02/2026"
    assert '{"times": {"orders.ts": {"format": "%d/%m/%Y"}}}' in problem.remedy
    assert all(problem.remedy for problem in broken.problems)


def test_a_table_with_too_many_broken_rows_is_refused_beside_its_wrong_column(broken):
    assert found(broken, "items")[("", "few broken rows")].remedy.startswith("3 of 4 rows")


def test_a_check_says_what_units_and_weights_hold(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title,list_price\nA1,mug,12.5\n")
    lines = ["page_id,item_id,ts,user_id,query,rank,price,list_price,clicked,purchased,quantity,weight"]
    for page in range(40):
        bought = page % 4 == 0
        shown = f"P{page},A1,2026-02-01T{page // 2:02d}:00:00Z,U{page},mug,1,12,12.5,{bought},{bought}"
        lines.append(f"{shown},{3 * bought},{1 if bought else 20}")
    (tmp_path / "impressions.csv").write_text("\n".join(lines))
    report = check_shop("", tmp_path)
    assert not report.refused, report.problems
    quantity, weight = [line for line in report.notes if line.startswith("demand uses")]
    assert quantity == "demand uses quantity: 3.00 units a purchase"
    assert weight.startswith("demand uses weight: 40 pages stand for 610 visits")


@pytest.mark.parametrize("name", ["shopify", "woocommerce", "magento", "google-merchant"])
def test_exports_of_shop_systems_reach_the_rungs_that_they_can(name):
    report = check_shop(name, SAMPLES / name)
    assert not report.refused
    rungs = {rung.name: rung for rung in report.rungs}
    assert rungs["search"].reached
    assert rungs["costs"].reached
    assert rungs["customers"].reached is (name != "google-merchant")
    assert "every item that was shown" in rungs["logged pages"].needs
    assert any("no impressions" in note for note in report.notes)


def test_items_alone_are_enough_for_search_and_say_what_is_missing(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title,list_price\nA1,mug,12.5\n")
    report = check_shop("", tmp_path)
    assert [rung.name for rung in report.rungs if rung.reached] == ["search"]
    assert report.problems == ()
    assert any("no unit cost" in note for note in report.notes)


def test_titles_that_hardly_tell_items_apart_are_one_warning_with_the_first_of_them(tmp_path):
    rows = ["A1,Blue stoneware mug,9.9", "A2,Tea pot 1 l,20", "A3,Mug - blue stoneware,9.5", "A4,Tea pot 2 l,25"]
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title,list_price", *rows]) + "\n")
    report = check_shop("", tmp_path)
    (problem,) = report.problems
    assert (problem.rule, problem.severity, problem.count, problem.rows) == (
        "titles that tell items apart",
        "warning",
        2,
        (1,),
    )
    assert problem.examples[0]["item_id"] == ["A1", "A3"]
    assert "listed twice" in problem.remedy
    assert not report.refused
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title,list_price", *rows[:2], "A3,Blue stonware mug,9"]))
    assert len(check_shop("", tmp_path).problems) == 1
    assert check_shop("", tmp_path, near_titles=1.0).problems == ()


def test_a_folder_that_holds_no_tables_is_refused(tmp_path):
    with pytest.raises(MissingDataError, match=r"no items\.csv.*--dataset"):
        check_shop("", tmp_path)


def test_the_command_prints_json_and_ends_with_the_code_of_a_refusal(tmp_path, capsys):
    (tmp_path / "items.csv").write_text("item_id,title\nA1,mug\n")
    assert main(["check", str(tmp_path), "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["refused"]
    assert report["problems"][0]["column"] == "list_price"
    (tmp_path / "items.csv").write_text("item_id,title,list_price\nA1,mug,12.5\n")
    assert main(["check", str(tmp_path)]) == 0
    assert "every rule of the contract holds" in capsys.readouterr().out


@pytest.mark.slow
def test_a_check_imports_no_torch(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title,list_price\nA1,mug,12.5\n")
    code = "import sys; from pipelines.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    line = [sys.executable, "-c", code, "check", str(tmp_path)]
    done = subprocess.run(line, check=False, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_exports_become_tables_that_a_run_reads(tmp_path, capsys):
    out = tmp_path / "tables"
    line = ["intake", "--map", "shopify", "--data", str(SAMPLES / "shopify"), "--out", str(out)]
    assert main(line) == 0
    shown = capsys.readouterr().out
    assert "left out: 1 lines of cancelled orders" in shown
    assert "no impressions" in shown
    report = check_shop("parquet", out)
    assert not report.refused
    assert report.rows == {"items": 5, "orders": 4}
    assert main(["intake", "--map", "magento", "--show-map"]) == 0
    assert capsys.readouterr().out.startswith("# Magento")


def test_what_an_intake_cannot_do_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for line, words in (
        (
            ["intake", "--map", str(tmp_path / "no.yaml"), "--show-map"],
            "no such mapping; name a file, or one of shopify",
        ),
        (["intake", "--data", str(SAMPLES / "shopify"), "--out", str(tmp_path / "file")], "it is a file"),
        (["check"], "write `fairtag check TABLES`"),
        (["check", str(tmp_path), "--dataset", "cvs"], "did you mean csv"),
    ):
        assert main(line) in (2, 3)
        shown = capsys.readouterr().err
        assert words in shown
        assert "unexpected" not in shown


def test_pages_that_a_reader_derived_do_not_count_as_logged(tmp_path):
    from fairtag.data.ladder import ladder
    from fairtag.simulator.shop_design import TINY
    from fairtag.simulator.simulation import simulate_shop

    shop = simulate_shop(TINY).tables
    assert {rung.name: rung.reached for rung in ladder(shop)}["logged pages"]
    shop.metadata["provenance"] = {"impressions": "derived: pages of receipts"}
    assert not {rung.name: rung.reached for rung in ladder(shop)}["logged pages"]


def test_an_intake_does_not_write_over_other_files(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    line = ["intake", "--data", str(SAMPLES / "shopify"), "--out", str(tmp_path)]
    assert main(line) == 2
    assert "holds other files" in capsys.readouterr().err
