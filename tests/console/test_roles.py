"""Each role walks through every page: nobody is shown a form that they may not send, and each sees the forms it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from console.pages import HIDDEN, PAGES
from console.users import Role, User, add_user
from fairtag.policy.live_policy import open_store
from fairtag.policy.shop_policy import ShopPolicy

ROLES = {f"{page.path.rstrip('/')}/{action.name}": action.role for page in (*PAGES, *HIDDEN) for action in page.actions}
FREE = {"/logout": Role.VIEWER}
SEEN = ["/?q=drill", "/compare?q=drill", "/why?item=i1", *(page.path for page in PAGES)]


def addresses(html: str) -> set[str]:
    """Where the posted forms of a page lead, those of single buttons among them."""
    forms = re.findall(r'<form method="post" action="([^"?]+)', html)
    return {*forms, *re.findall(r'formaction="([^"?]+)', html)}


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.word)
def test_nobody_is_shown_a_form_that_they_may_not_send(console, tmp_path: Path, role: Role):
    open_store(tmp_path / "policy").change(
        ShopPolicy().changed(at_list=True), who="root", why="so that there is an undo"
    )
    token = add_user(tmp_path / "users.json", "somebody", role.word)
    browser = console(users_file=tmp_path / "users.json")
    browser.see("/login")
    browser.submit("/login", token=token, next="/")
    browser.see("/?q=drill")
    browser.submit("/add", item="i1", page="q1", back="/?q=drill")
    shown = set().union(*(addresses(browser.see(path)) for path in SEEN))
    reader = User("somebody", role)
    assert {address for address in shown if not reader.may({**ROLES, **FREE}[address])} == set()
    assert ("/stop" in shown, "/undo" in shown, "/buy" in shown) == (reader.may(Role.MERCHANDISER),) * 3
    assert {"/look/theme", "/look/shopper", "/logout"} <= shown


@pytest.mark.slow
@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.word)
def test_nor_where_there_is_a_model(console, model_folder: Path, tmp_path: Path, role: Role):
    token = add_user(tmp_path / "users.json", "somebody", role.word)
    browser = console(users_file=tmp_path / "users.json", model_folder=model_folder)
    browser.see("/login")
    browser.submit("/login", token=token, next="/policy")
    item = re.search(r"/prices/item\?item=([^\"&]+)", browser.see("/prices"))
    assert item is not None
    shown = set().union(*(addresses(browser.see(path)) for path in ("/policy", f"/prices/item?item={item.group(1)}")))
    reader = User("somebody", role)
    assert {address for address in shown if not reader.may({**ROLES, **FREE}[address])} == set()
    assert ({"/policy/propose", "/prices/pin"} <= shown) == reader.may(Role.MERCHANDISER)
    assert "/policy/preview" in shown
