"""The stop as pages of their own, for browsers whose scripts are off or broken."""

from __future__ import annotations

from pathlib import Path

from console.users import add_user
from fairtag.policy.live_policy import open_store


def test_the_button_is_a_form_that_leads_to_a_page_and_back(console, tmp_path: Path):
    browser = console()
    html = browser.see("/prices?q=drill")
    assert '<form method="get" action="/stop"><input type="hidden" name="back" value="/prices?q=drill">' in html
    html = browser.see("/stop?back=/prices?q=drill")
    assert "In force now: prices as the model decides" in html
    assert '<a class="button" href="/prices?q=drill">Cancel</a>' in html
    assert html.count('id="stop-why"') == 1, "the dialog of every page would double it"
    answer = browser.post(
        "/stop", data={"csrf": browser.token, "what": "all", "why": "costs are wrong", "back": "/prices?q=drill"}
    )
    assert str(answer.url).endswith("/prices?q=drill")
    assert "Version 1" in answer.text
    assert open_store(tmp_path / "policy").current().policy.at_list


def test_undo_has_its_page_which_says_what_it_takes_back(console, tmp_path: Path):
    browser = console()
    assert "There is no change to undo" in browser.see("/undo")
    browser.submit("/stop", what="personal", why="a gap")
    html = browser.see("/undo?back=/policy")
    assert "“a gap”" in html
    assert "(version 1)" in html
    browser.submit("/undo", why="it was none", back="/policy")
    assert open_store(tmp_path / "policy").current().undoes == 1


def test_a_refusal_leads_back_to_the_page_that_somebody_came_from(console):
    browser = console()
    browser.see("/stop?back=/fairness")
    html = browser.submit("/stop", status=400, what="all", why="", back="/fairness")
    assert '<a href="/fairness">Back</a>' in html
    assert '<a class="button" href="/">Cancel</a>' in browser.see("/stop?back=//elsewhere.example")


def test_who_may_not_stop_and_a_console_that_cannot_are_told_so(console, tmp_path: Path):
    token = add_user(tmp_path / "users.json", "vi", "viewer")
    browser = console(users_file=tmp_path / "users.json")
    browser.see("/login")
    browser.submit("/login", token=token, next="/")
    assert "takes the role merchandiser" in browser.see("/stop", status=403)
    assert "does not know the live policy" in console(policy_store=None).see("/stop", status=400)
