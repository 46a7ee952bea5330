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


def test_while_the_object_store_is_down_a_stop_says_so_and_once_it_is_back_it_counts(console, object_store):
    browser = console(policy_store=object_store.policy)
    browser.see("/")
    assert "Version 1" in browser.submit("/stop", what="personal", why="a gap")
    object_store.kill()
    html = browser.see("/")
    assert "The live policy cannot be read here" in html
    assert "does not answer" in browser.submit("/stop", status=503, what="all", why="costs are wrong")
    object_store.start()
    assert "personal prices off" in browser.see("/"), "what was stopped before is still stopped"
    assert "Version 2" in browser.submit("/stop", what="all", why="costs are wrong")
    assert "Version 3" in browser.submit("/undo", why="costs are right", version="2")
    assert open_store(object_store.policy).current().undoes == 2


def test_a_folder_beside_a_dead_object_store_carries_the_stop_and_fills_it_later(console, object_store, tmp_path: Path):
    both = f"{object_store.policy},{tmp_path / 'policy'}"
    browser = console(policy_store=both)
    browser.see("/")
    browser.submit("/stop", what="personal", why="a gap")
    object_store.kill()
    assert "Version 2" in browser.submit("/stop", what="all", why="costs are wrong")
    assert open_store(tmp_path / "policy").current().policy.at_list
    object_store.start()
    assert open_store(both).catch_up() == 1
    assert open_store(object_store.policy).current().policy.at_list
