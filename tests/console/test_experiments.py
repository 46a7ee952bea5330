"""The page Experiments: what running tests found, the stop with its role and audit, and the plan of a new one."""

import json
import re

import pytest
import yaml
from support.experiment_log import write_experiment

from console.users import add_user
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.shop_policy import ShopPolicy, from_document

TEST = {
    "name": "learned-1",
    "effect": 0.4,
    "holdout": 0.1,
    "arms": [{"name": "list", "share": 0.5, "prices": "list"}, {"name": "learned", "share": 0.5}],
}


@pytest.fixture
def store(tmp_path):
    found = LivePolicyStore(tmp_path / "policy")
    found.change(ShopPolicy().changed(experiments=[TEST]), who="ada", why="does it earn more?")
    return found


@pytest.fixture
def logs(tmp_path, store):
    (experiment,) = store.current().policy.experiments
    write_experiment(experiment, tmp_path, lambda k: f"k{k}", guest=10)
    return {"quotes": str(tmp_path / "quotes"), "outcomes": str(tmp_path / "outcomes")}


def test_a_running_test_says_what_it_found(console, logs):
    html = console(**logs).see("/experiments")
    assert "learned: profit surely rose and every guardrail holds" in html
    assert '<span class="badge good">decided</span>' in html
    assert "200 pages of guests do not count" in html
    assert "of the counted are guests (profit each: list " in html
    assert "as planned" in html
    assert "Stop learned-1" in html
    assert re.search(r"holdout.*?as without a test", html)


def test_a_stop_is_a_version_with_its_author_and_in_the_audit_log(console, logs, store, tmp_path):
    browser = console(**logs)
    browser.see("/experiments")
    assert "a reason, in words, is needed" in browser.submit("/experiments/stop", status=400, name="learned-1")
    assert "there is none to stop" in browser.submit("/experiments/stop", status=400, name="nobody", why="x")
    html = browser.submit("/experiments/stop", name="learned-1", why="it is decided")
    assert "Version 2: learned-1 is stopped" in html
    assert '<span class="badge">stopped</span>' in html
    assert "Stop learned-1" not in html
    assert store.current().why == "it is decided"
    assert store.current().policy.experiments[0].stopped
    entries = [json.loads(line) for line in (tmp_path / "state" / "audit.jsonl").read_text().splitlines()]
    last = entries[-1]
    assert (last["action"], last["outcome"]) == ("experiments/stop", "done")
    browser.submit("/undo", why="on with it")
    assert not store.current().policy.experiments[0].stopped


def test_a_viewer_sees_a_test_and_may_not_stop_it(console, logs, store, tmp_path):
    file = tmp_path / "users.json"
    token = add_user(file, "vera", "viewer")
    browser = console(users_file=file, **logs)
    browser.see("/login")
    browser.submit("/login", token=token)
    html = browser.see("/experiments")
    assert "profit surely rose" in html
    assert "Stop learned-1" not in html
    assert "403" in str(
        browser.post("/experiments/stop", data={"csrf": browser.token, "name": "learned-1", "why": "x"})
    )
    assert store.newest() == 1


def test_a_test_that_was_taken_out_of_the_policy_is_still_shown(console, logs, store):
    store.change(ShopPolicy(), who="ada", why="over")
    html = console(**logs).see("/experiments")
    assert '<span class="badge">stopped</span>' in html
    assert "profit surely rose" in html


def test_a_console_without_a_log_or_a_policy_says_so(console, store):
    assert "does not know the quote log" in console().see("/experiments")
    assert "does not know the live policy" in console(policy_store=None).see("/experiments")


def test_a_plan_says_how_many_customers_and_what_to_declare(console):
    html = console().see("/experiments?mean=8&deviation=20&effect=10&share=30&a_day=500&name=cheaper")
    assert "customers in both arms: about" in html
    assert "must be a number of at least 0" in console().see("/experiments?mean=none", status=400)
    assert "can be a thousand or a fraction" in console().see("/experiments?a_day=1,234", status=400)
    text = html[html.index("<pre") : html.index("</pre>")].partition(">")[2]
    (declared,) = from_document(yaml.safe_load(text)).experiments
    assert (declared.name, declared.effect) == ("cheaper", 0.8)
    assert {arm.name: arm.share for arm in declared.arms} == {"list": 0.7, "learned": 0.3}
    even = console().see("/experiments?mean=8&deviation=20&effect=10&share=50&a_day=0")
    assert "a single look at the end would take 19,623" in even
    assert "38,027 customers in both arms." in even
