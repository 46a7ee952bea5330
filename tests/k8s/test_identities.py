"""One identity for each role, as k8s/secrets.sh makes them: each can do its work, and nothing else.

The object store's rules run on a stand-in of SeaweedFS, those of Redis and PostgreSQL on their own servers.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from support.loading import load

from fairtag.base import schema
from fairtag.base.errors import UnavailableError
from fairtag.model.manifest import write_manifest

ROOT = Path(__file__).parents[2]
s3_server = load("k8s/s3_server.py")
BUCKETS, S3, may, serving = s3_server.BUCKETS, s3_server.S3, s3_server.may, s3_server.serving
KUBECTL = r"""#!/bin/bash
echo "$*" >>"$STORE/calls"
namespace=$2
case "$3 $4" in
"get secret")
    [ -d "$STORE/$namespace/$5" ] || exit 1
    key=$(sed -n 's/.*index .data "\(.*\)".*/\1/p' <<<"$*")
    [ -z "$key" ] || cat "$STORE/$namespace/$5/$key" 2>/dev/null || printf '<no value>';;
"patch secret")
    python3 - "$STORE/$namespace/$5" "$7" <<'END'
import json, pathlib, sys
for key, value in json.loads(pathlib.Path(sys.argv[2]).read_text())["stringData"].items():
    (pathlib.Path(sys.argv[1]) / key).write_text(value)
END
    ;;
"delete secret") rm -r "$STORE/$namespace/$5";;
"create secret")
    name=$6; mkdir -p "$STORE/$namespace/$name"; shift 6
    for each in "$@"; do [ "$each" = --from-file ] || cp -r "$each" "$STORE/$namespace/$name/"; done
    for each in "$STORE/$namespace/$name"/*; do
        [ ! -d "$each" ] || { mv "$each"/* "$STORE/$namespace/$name/"; rmdir "$each"; }
    done;;
esac
"""
OPENSSL = """#!/bin/bash
random() { head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; }
case "$1" in
rand) random "$3";;
*) while [ "$1" != -out ] && [ "$1" != -pubout ]; do shift; done; random 32 >"${@: -1}";; # a key pair
esac
"""
Secrets = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def make_secrets(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Secrets]:
    """Runs k8s/secrets.sh; returns what it made, by namespace/name."""
    folder = tmp_path_factory.mktemp("secrets")
    tools, store = folder / "tools", folder / "store"
    tools.mkdir()
    store.mkdir()
    for name, body in (("kubectl", KUBECTL), ("openssl", OPENSSL)):
        (tools / name).write_text(body)
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "STORE": str(store)}

    def run() -> Secrets:
        done = subprocess.run(
            [ROOT / "k8s" / "secrets.sh"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        run.said = done.stdout  # type: ignore[attr-defined]
        return {
            f"{secret.parent.name}/{secret.name}": {file.name: file.read_text() for file in secret.iterdir()}
            for secret in store.glob("*/*/")
        }

    run.store = store  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def secrets(make_secrets: Callable[[], Secrets]) -> Secrets:
    return make_secrets()


def test_existing_secrets_stay_and_a_lost_one_is_said(make_secrets: Any, secrets: Secrets) -> None:
    assert make_secrets() == secrets, "nothing is made anew"
    shutil.rmtree(make_secrets.store / "fairtag" / "monitors")
    before = make_secrets.said
    assert before == ""
    again = make_secrets()
    assert again["fairtag/endpoint"] == secrets["fairtag/endpoint"], "open quotes stay good"
    assert again["fairtag/redis"] != secrets["fairtag/redis"], "the stores' passwords belong together"
    assert "monitors was missing" in make_secrets.said
    assert "exec postgres-0 -- bash /docker-entrypoint-initdb.d/roles.sh" in make_secrets.said
    secrets.clear()
    secrets.update(again)


def test_secrets_of_an_earlier_version_get_what_they_lack_and_keep_the_rest(
    make_secrets: Any, secrets: Secrets
) -> None:
    before = make_secrets()
    (make_secrets.store / "fairtag" / "postgres" / "policy-fairness-password").unlink()
    (make_secrets.store / "fairtag" / "monitors" / "policy-stores").unlink()
    after = make_secrets()
    changed = {(name, key) for name in after for key in after[name] if after[name][key] != before[name].get(key)}
    assert changed == {
        *(("fairtag/postgres", f"policy-{role}-password") for role in ("monitors", "fairness")),
        *((f"fairtag/{role}", "policy-stores") for role in ("monitors", "fairness")),
    }
    for role in ("monitors", "fairness"):
        password = after["fairtag/postgres"][f"policy-{role}-password"]
        assert f"://policy_{role}:{password}@" in after[f"fairtag/{role}"]["policy-stores"]
    assert "policy_monitors policy_fairness new in PostgreSQL" in make_secrets.said
    assert "bash /docker-entrypoint-initdb.d/roles.sh" in make_secrets.said
    assert make_secrets() == after
    secrets.clear()
    secrets.update(after)


def _referenced(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(secret, key) that a pod is given; ``*`` for all keys."""
    for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
        for source in container.get("envFrom", []):
            yield source["secretRef"]["name"], "*"
        for variable in container.get("env", []):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], reference["key"]
    for volume in pod.get("volumes", []):
        if "secret" in volume:
            keys = [item["key"] for item in volume["secret"].get("items", [])] or ["*"]
            yield from ((volume["secret"]["secretName"], key) for key in keys)


def given_secrets(overlay: Any, pods: Any) -> dict[str, set[tuple[str, str]]]:
    runtimes = [
        (f"ServingRuntime/{each['metadata']['name']}", each["spec"])
        for each in overlay
        if each["kind"] == "ServingRuntime"
    ]
    return {name: set(_referenced(spec)) for name, spec in [*pods, *runtimes] if set(_referenced(spec))}


def test_half_of_the_key_pair_of_decisions_is_made_anew_as_a_whole(make_secrets: Any, secrets: Secrets) -> None:
    pair = {"fairtag/trusted-keys", "kubeflow/fairtag-steps-trust", "kubeflow/fairtag-steps-sign"}
    before = make_secrets()
    shutil.rmtree(make_secrets.store / "kubeflow" / "fairtag-steps-sign")
    after = make_secrets()
    assert {name for name in after if after[name] != before[name]} == pair
    assert after["fairtag/trusted-keys"] == after["kubeflow/fairtag-steps-trust"]
    assert "run the pipeline again" in make_secrets.said


def test_every_pod_is_given_the_secrets_of_its_role_alone(overlay: Any, pods: Any) -> None:
    found = {name: {secret for secret, _ in given} for name, given in given_secrets(overlay, pods).items()}
    monitors = {f"CronJob/monitor-{job}": {"monitors"} for job in ("drift", "performance", "stock")}
    stores = {
        "StatefulSet/redis": {"redis"},
        "StatefulSet/postgres": {"postgres"},
        "StatefulSet/object-store": {"object-store"},
    }
    inside = any(each["kind"] == "StatefulSet" for each in overlay)
    assert found == {
        **monitors,
        "CronJob/monitor-quality": {"monitors", "policy-keys"},
        "CronJob/monitor-performance": {"monitors", "policy-keys"},
        "CronJob/monitor-fairness": {"fairness", "endpoint", "policy-keys"},
        "CronJob/monitor-trigger": {"ledger"},
        "CronJob/custody-retain": {"custody"},
        "CronJob/custody-erase": {"custody", "endpoint", "erasure"},
        "Deployment/mlflow": {"mlflow"},
        "ServingRuntime/fairtag": {"endpoint", "endpoint-stores", "policy-keys", "trusted-keys"},
        **(stores if inside else {}),
    }
    (account,) = (
        each for each in overlay if each["kind"] == "ServiceAccount" and each["metadata"]["name"] == "endpoint"
    )
    assert account["secrets"] == [{"name": "model-reader"}], "what the storage initializer reads with"


def test_every_key_that_a_pod_asks_for_is_made(overlay: Any, pods: Any, secrets: Secrets) -> None:
    for name, given in given_secrets(overlay, pods).items():
        for secret, key in given:
            if secret != "erasure":  # made by whoever erases somebody
                assert key == "*" or key in secrets[f"fairtag/{secret}"], (name, secret, key)


def test_every_key_that_a_step_asks_for_is_made(secrets: Secrets) -> None:
    from pipelines.compilation import SECRET_KEYS
    from pipelines.settings import SECRET

    made = {name: tuple(values) for name, values in secrets.items() if name.startswith("kubeflow/")}
    assert {name: set(keys) for name, keys in made.items()} == {
        f"kubeflow/{SECRET}-{role}": set(keys) for role, keys in SECRET_KEYS.items()
    }


def test_a_vault_gives_the_secrets_that_the_script_makes(secrets: Secrets) -> None:
    files = (ROOT / "k8s/components/external-secrets").glob("externalsecret-*.yaml")
    named = {yaml.safe_load(file.read_text())["spec"]["target"]["name"] for file in files}
    ours = {name.partition("/")[2] for name in secrets if name.startswith("fairtag/")}
    assert named == ours - {"object-store", "postgres", "redis"}, "those of stores that a shop runs itself"


@pytest.fixture(scope="module")
def opted_console(tmp_path_factory: pytest.TempPathFactory, build_folder: Any) -> Any:
    """The overlay kind with the console, as a person would add it."""
    k8s = tmp_path_factory.mktemp("console") / "k8s"
    shutil.copytree(ROOT / "k8s", k8s)
    file = k8s / "overlays/kind/kustomization.yaml"
    last = "  - ../../components/versions"
    file.write_text(file.read_text().replace(last, f"  - ../../components/console\n{last}"))
    return build_folder(file.parent)


# --- the object store ------------------------------------------------------------------------------------------------

ALLOWED = {
    ("model-reader", "fairtag"): "Read List",
    ("endpoint", "fairtag-quotes"): "Read Write List",
    ("endpoint", "fairtag-policy"): "Read List",
    ("policy-writer", "fairtag"): "Read List",
    ("console-policy", "fairtag-policy"): "Read Write List",
    ("policy-writer", "fairtag-policy"): "Read Write List",
    ("fairness", "fairtag-policy"): "Read List",
    ("monitors", "fairtag"): "Read List",
    ("monitors", "fairtag-quotes"): "Read List",
    ("monitors", "fairtag-outcomes"): "Read List",
    ("monitors", "fairtag-tables"): "Read List",
    ("monitors", "fairtag-policy"): "Read List",
    ("fairness", "fairtag"): "Read List",
    ("fairness", "fairtag-quotes"): "Read List",
    ("fairness", "fairtag-audit"): "Read List",
    ("custody", "fairtag-quotes"): "Read Write List",
    ("custody", "fairtag-outcomes"): "Read Write List",
    ("deploy", "fairtag"): "Read Write List",
    ("publish", "fairtag-tables"): "Read Write List",
    ("publish", "fairtag-outcomes"): "Write List",
    ("publish", "fairtag-audit"): "Write List",
    ("publish", "fairtag-data"): "Read List",
    ("data", "fairtag-data"): "Read List",
}


def test_no_identity_may_more_than_its_role_needs(secrets: Secrets) -> None:
    document = json.loads(secrets["fairtag/object-store"]["s3.json"])
    names = [identity["name"] for identity in document["identities"]]
    assert sorted(names) == sorted({name for name, _ in ALLOWED})
    found = {
        (identity["name"], bucket): " ".join(held)
        for identity in document["identities"]
        for bucket in BUCKETS
        if (held := [action for action in ("Read", "Write", "List", "Admin") if may(identity, action, bucket)])
    }
    assert found == ALLOWED
    readers = {name for (name, bucket), held in found.items() if bucket == "fairtag-audit" and "Read" in held}
    assert readers == {"fairness"}


def test_the_job_makes_the_buckets_that_the_roles_use(built: Any) -> None:
    (job,) = (each for each in built["kind"] if each["kind"] == "Job")
    line = job["spec"]["template"]["spec"]["containers"][0]["args"][0]
    assert tuple(line.partition("for bucket in ")[2].partition(";")[0].split()) == BUCKETS


WEED = """#!/bin/sh
while read -r command _ name; do
    case $command in
        s3.bucket.list) while read -r bucket; do printf '  %s\\tsize:0\\n' "$bucket"; done <"$MADE" ;;
        s3.bucket.create) ! grep -qx "$name" "$MADE" || exit 1; echo "$name" >>"$MADE" ;;
    esac
done
"""


@pytest.mark.parametrize("there", [(), ("fairtag-data", "fairtag"), BUCKETS])
def test_the_job_makes_only_the_buckets_that_are_missing(built: Any, tmp_path: Path, there: tuple[str, ...]) -> None:
    """SeaweedFS 4 ends with an error where a bucket is there already, and so would the job at each installation."""
    made, weed = tmp_path / "buckets", tmp_path / "weed"
    made.write_text("".join(f"{name}\n" for name in there))
    weed.write_text(WEED)
    weed.chmod(0o755)
    (job,) = (each for each in built["kind"] if each["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MADE": str(made)}
    subprocess.run([*container["command"], *container["args"]], env=environment, check=True)
    assert sorted(made.read_text().split()) == sorted(BUCKETS)


@pytest.fixture
def s3(secrets: Secrets) -> Iterator[Any]:
    store = S3(json.loads(secrets["fairtag/object-store"]["s3.json"]))
    with serving(store) as address:
        store.address = address  # type: ignore[attr-defined]
        yield store


@pytest.fixture
def as_role(s3: Any, secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes every client of this process one of a role, by the variables that its pod gets."""
    s3fs = pytest.importorskip("s3fs")

    def become(secret: str) -> None:
        for name, value in secrets[secret].items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, s3.address if name == "AWS_ENDPOINT_URL" else value)
        s3fs.S3FileSystem.clear_instance_cache()

    return become


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "policy.json").write_text("{}")
    write_manifest(folder, {})
    return folder


def test_the_deploy_step_writes_models_and_the_initializer_reads_them(
    as_role: Callable[[str], None], s3: Any, model_folder: Path, tmp_path: Path
) -> None:
    from components.adapters.kserve import upload_pricing_model
    from fairtag.model.manifest import read_manifest, verify_files
    from monitoring.fetch import fetch

    manifest = read_manifest(model_folder)
    as_role("kubeflow/fairtag-steps-deploy")
    uri = upload_pricing_model(model_folder, manifest, "s3://fairtag/models", {"accepted": True})
    as_role("fairtag/model-reader")
    assert fetch(uri, tmp_path / "fetched") == 3
    verify_files(tmp_path / "fetched", manifest)
    assert s3.refused == []
    with pytest.raises(PermissionError):
        upload_pricing_model(model_folder, {**manifest, "version": "forged"}, "s3://fairtag/models", {})
    as_role("fairtag/endpoint-stores")
    with pytest.raises(PermissionError):
        upload_pricing_model(model_folder, {**manifest, "version": "forged"}, "s3://fairtag/models", {})
    assert not any("forged" in key for key in s3.objects["fairtag"])


def test_the_endpoint_writes_quotes_and_the_monitors_read_them(
    as_role: Callable[[str], None], s3: Any, quotes: pd.DataFrame, tmp_path: Path
) -> None:
    from monitoring.fetch import fetch
    from monitoring.first_inputs import has_files

    as_role("fairtag/monitors")
    assert not has_files("s3://fairtag-quotes")
    as_role("fairtag/endpoint-stores")
    write_log(quotes, "s3://fairtag-quotes", tmp_path)
    assert any(key.endswith(".parquet") for key in s3.objects["fairtag-quotes"])
    assert s3.refused == []
    for role in ("fairtag/monitors", "fairtag/fairness"):
        as_role(role)
        assert has_files("s3://fairtag-quotes")
        assert fetch("s3://fairtag-quotes", tmp_path / role) == 1
        with pytest.raises(PermissionError):
            write_log(quotes, "s3://fairtag-quotes", tmp_path / role / "forged")


def test_the_job_that_erases_customers_changes_quotes_and_outcomes_and_no_model(
    as_role: Callable[[str], None], s3: Any, quotes: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairtag.base.pseudonym import user_key
    from serving.custody.__main__ import main

    key, ids = tmp_path / "user_key", tmp_path / "users"
    key.write_text(bytes(range(32)).hex())
    ids.write_text("anna\n")
    monkeypatch.setenv("FAIRTAG_USER_KEY_FILE", str(key))
    monkeypatch.setenv("FAIRTAG_QUOTE_LOG", "s3://fairtag-quotes")
    pages = quotes[schema.QUOTE_ID].unique()
    theirs = quotes[schema.QUOTE_ID].isin(pages[::2])
    quotes.loc[theirs, schema.USER_KEY] = user_key("anna", bytes(range(32)))
    as_role("fairtag/endpoint-stores")
    write_log(quotes, "s3://fairtag-quotes", tmp_path)
    s3.objects["fairtag-outcomes"]["outcomes.parquet"] = quotes[[schema.QUOTE_ID]].drop_duplicates().to_parquet()
    line = ["erase", f"--users-file={ids}", "--outcomes=s3://fairtag-outcomes"]
    as_role("fairtag/monitors")
    assert main(line) != 0, "another role cannot"
    as_role("fairtag/custody")
    s3.refused.clear()
    assert main(line) == 0
    assert main(["retain"]) == 0
    assert s3.refused == []
    (kept,) = (content for name, content in s3.objects["fairtag-quotes"].items() if name.endswith(".parquet"))
    left = pd.read_parquet(io.BytesIO(kept))
    assert (len(left), left[schema.USER_KEY].isin([user_key("anna", bytes(range(32)))]).sum()) == ((~theirs).sum(), 0)
    outcomes = pd.read_parquet(io.BytesIO(s3.objects["fairtag-outcomes"]["outcomes.parquet"]))
    assert set(outcomes[schema.QUOTE_ID]) == set(left[schema.QUOTE_ID])
    import fsspec

    for url in ("s3://fairtag/models/x", "s3://fairtag-tables/latest/orders.parquet", "s3://fairtag-audit/latest/x"):
        store, path = fsspec.url_to_fs(url)
        with pytest.raises(PermissionError):
            store.pipe_file(path, b"")


def test_audit_groups_are_read_by_the_fairness_job_alone(
    as_role: Callable[[str], None], s3: Any, market: Any, tmp_path: Path
) -> None:
    from components.adapters.monitor_inputs import publish_audit_groups, publish_tables
    from fairtag.base.tables import read_tables
    from monitoring.fetch import fetch

    groups = "s3://fairtag-audit/latest/audit_groups.parquet"
    as_role("kubeflow/fairtag-steps-publish")
    assert publish_tables(market.tables, "s3://fairtag-tables/latest") > 0
    assert publish_audit_groups(market.tables, "s3://fairtag-audit/latest") == len(market.tables.audit_groups)
    assert s3.refused == []
    as_role("fairtag/monitors")
    fetch("s3://fairtag-tables/latest", tmp_path / "tables")
    held = read_tables(tmp_path / "tables")
    assert len(held.orders) == len(market.tables.orders)
    assert (held.users.empty, held.impressions.empty, held.audit_groups) == (True, True, None)
    for role in (
        "fairtag/monitors",
        "fairtag/endpoint-stores",
        "fairtag/model-reader",
        "kubeflow/fairtag-steps-deploy",
    ):
        as_role(role)
        with pytest.raises(UnavailableError, match=r"PermissionError|Access Denied"):
            fetch(groups, tmp_path / "stolen")
    as_role("fairtag/fairness")
    assert fetch(groups, tmp_path / "groups.parquet") == 1
    assert len(pd.read_parquet(tmp_path / "groups.parquet")) == len(market.tables.audit_groups)


def test_the_ingest_step_reads_the_shop_s_tables_from_the_store_and_writes_none(
    as_role: Callable[[str], None], s3: Any, tmp_path: Path
) -> None:
    from components.adapters.data_folder import data_folder
    from components.adapters.monitor_inputs import put, read_outcomes
    from fairtag.base.errors import MissingDataError
    from fairtag.data import load

    shop = s3.objects["fairtag-data"]
    shop["my-shop/items.csv"] = b"item_id,title,list_price\nA1,mug,12.5\n"
    shop["my-shop/orders.parquet/part-0.parquet"] = b"not asked for here"
    shop["my-shop/outcomes.csv"] = b"quote_id,item_id,ts,quantity,price_minor\nq1,A1,2026-02-01,1,1250\n"
    as_role("kubeflow/fairtag-steps-data")
    with data_folder("s3://fairtag-data/my-shop") as folder:
        assert folder is not None
        assert load("csv", folder).items["title"].tolist() == ["mug"]
        assert (folder / "orders.parquet" / "part-0.parquet").is_file()
    assert not folder.exists()
    with pytest.raises(MissingDataError, match="nothing is stored there"), data_folder("s3://fairtag-data/nobody"):
        pass
    assert s3.refused == []
    with pytest.raises(UnavailableError, match="cannot read it"), data_folder("s3://fairtag-audit/latest"):
        pass
    with pytest.raises(UnavailableError):
        put(tmp_path / "absent", "s3://fairtag-data/my-shop/items.csv")
    as_role("kubeflow/fairtag-steps-publish")
    with data_folder("s3://fairtag-data/my-shop", begins="outcomes") as folder:
        assert folder is not None
        assert [path.name for path in folder.iterdir()] == ["outcomes.csv"]
        assert len(read_outcomes(folder)) == 1


def test_the_policy_is_written_and_signed_by_its_writer_alone(
    as_role: Callable[[str], None], s3: Any, secrets: Secrets
) -> None:
    from fairtag.policy.live_policy import open_store
    from fairtag.policy.shop_policy import ShopPolicy

    stop, ada = ShopPolicy(at_list=True), {"who": "ada", "why": "x"}
    as_role("fairtag/policy-writer")
    assert open_store("s3://fairtag-policy").change(stop, **ada).version == 1
    assert s3.refused == []
    for role in ("fairtag/endpoint-stores", "fairtag/fairness", "fairtag/monitors"):
        as_role(role)
        assert open_store("s3://fairtag-policy").current().policy == stop
        with pytest.raises(UnavailableError):
            open_store("s3://fairtag-policy").undo(**ada)
    as_role("fairtag/custody")
    with pytest.raises(UnavailableError):
        open_store("s3://fairtag-policy").current()
    as_role("fairtag/console-policy")
    assert open_store("s3://fairtag-policy").undo(**ada).undoes == 1
    with pytest.raises(UnavailableError):
        open_store("s3://fairtag").current()
    assert set(secrets["fairtag/policy-keys"]) == {"FAIRTAG_POLICY_KEYS"}
    assert set(secrets["fairtag/policy-sign"]) == {"FAIRTAG_POLICY_SIGNING_KEY"}
    assert set(secrets["fairtag/console-sign"]) == {"signing-key"}
    assert len(set(secrets["fairtag/policy-keys"]["FAIRTAG_POLICY_KEYS"].split())) == 2, (
        "one of people, one of the console"
    )


def test_new_passwords_of_the_stores_leave_the_keys_of_the_policy_alone(make_secrets: Any, secrets: Secrets) -> None:
    keys = ("fairtag/policy-keys", "fairtag/policy-sign", "fairtag/console-sign")
    before = make_secrets()
    shutil.rmtree(make_secrets.store / "fairtag" / "monitors")
    after = make_secrets()
    assert after["fairtag/console-policy"] != before["fairtag/console-policy"]
    assert {name: after[name] for name in keys} == {name: before[name] for name in keys}
    shutil.rmtree(make_secrets.store / "fairtag" / "console-sign")
    again = make_secrets()
    assert all(again[name] != after[name] for name in keys), "they belong together"
    assert "apply the policy again" in make_secrets.said
    secrets.clear()
    secrets.update(again)


def test_the_console_is_given_the_policy_and_its_own_key_to_sign_with_and_no_other_store(
    opted_console: Any, secrets: Secrets
) -> None:
    (pod,) = (each["spec"]["template"]["spec"] for each in opted_console if each["metadata"]["name"] == "console"
              and each["kind"] == "Deployment")  # fmt: skip
    given = set(_referenced(pod))
    assert {secret for secret, _ in given} == {"console", "console-policy", "console-sign", "policy-keys"}
    for secret, key in given - {("console", "*")}:
        assert key == "*" or key in secrets[f"fairtag/{secret}"]
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    files = {
        f"{mounts[volume['name']]}/{name}"
        for volume in pod["volumes"]
        if (secret := volume.get("secret", {}).get("secretName")) in ("console-sign", "policy-keys")
        for name in secrets[f"fairtag/{secret}"]
    }
    named = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    signing, keys = (named[f"FAIRTAG_CONSOLE_POLICY_{what}_FILE"] for what in ("SIGNING_KEY", "KEYS"))
    assert files == {signing, keys}


def write_log(quotes: pd.DataFrame, url: str, folder: Path) -> None:
    """One file, as the endpoint's log writes it."""
    import fsspec

    store, path = fsspec.url_to_fs(url)
    target = f"{path}/20260209/quotes.parquet"
    store.makedirs(target.rpartition("/")[0], exist_ok=True)
    with store.open(target, "wb") as stream:
        quotes.to_parquet(stream, index=False, coerce_timestamps="us")


@pytest.fixture
def quotes() -> pd.DataFrame:
    from benchmarks.monitoring.quote_stream import QuoteStream

    return QuoteStream(items=120, users=60).draw(pd.Timestamp("2026-02-09", tz="UTC"), 1.0, 20)[0]


# --- Redis -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis_users(
    secrets: Secrets, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, Callable[[str], Any]]]:
    """A Redis with the users of the installation: its port, and a function that connects as one of them."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed; Debian has it as a package of that name")
    import socket

    from redis import Redis
    from redis.exceptions import ConnectionError as Refused

    folder = tmp_path_factory.mktemp("redis")
    (folder / "users.acl").write_text(secrets["fairtag/redis"]["users.acl"])
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    line = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen([*line, "--aclfile", str(folder / "users.acl")], stdout=subprocess.DEVNULL)
    passwords = {
        "endpoint": secrets["fairtag/endpoint-stores"]["redis-url"].split(":")[2].partition("@")[0],
        "custody": secrets["fairtag/custody"]["FAIRTAG_PRICE_LOCKS_URL"].split(":")[2].partition("@")[0],
        "features": secrets["kubeflow/fairtag-steps-features"]["FAIRTAG_REDIS"].rpartition("password=")[2],
        "probe": "none",
    }

    def connect(user: str) -> Redis:
        return Redis(port=port, username=user, password=passwords[user], decode_responses=True)

    try:
        end = time.monotonic() + 60
        while True:
            try:
                connect("probe").ping()
                break
            except Refused:
                assert time.monotonic() < end, "redis-server did not answer in time"
                time.sleep(0.05)
        yield port, connect
    finally:
        process.kill()
        process.wait(60)


def test_each_redis_user_touches_its_own_keys_and_nobody_administers(redis_users: Any) -> None:
    from redis import Redis
    from redis.exceptions import AuthenticationError, NoPermissionError

    port, connect = redis_users
    endpoint, features, probe = connect("endpoint"), connect("features"), connect("probe")
    custody = connect("custody")
    features.hset("user-3\x02fairtag", mapping={"recency": "3"})
    assert endpoint.hmget("user-3\x02fairtag", ["recency"]) == ["3"]
    with endpoint.pipeline(transaction=True) as pipe:
        pipe.hsetnx("fairtag:lock:a", "item-1", "1999.abc")
        pipe.expire("fairtag:lock:a", 60)
        pipe.hmget("fairtag:lock:a", ["item-1"])
        assert pipe.execute()[-1] == ["1999.abc"]
    endpoint.hset("fairtag:lock:b", "item-1", "1999.abc")
    features.hset("user-4\x02fairtag", "recency", "4")
    assert set(custody.scan_iter(match="fairtag:lock:*")) == {"fairtag:lock:a", "fairtag:lock:b"}
    assert (custody.delete("fairtag:lock:b"), custody.delete("user-4\x02fairtag")) == (1, 1)
    forbidden: list[Callable[[], object]] = [
        lambda: endpoint.hset("user-3\x02fairtag", "recency", "0"),
        lambda: endpoint.keys("*"),
        endpoint.scan,
        endpoint.flushall,
        lambda: endpoint.config_get("*"),
        endpoint.acl_list,
        lambda: features.hgetall("fairtag:lock:a"),
        lambda: features.hset("fairtag:lock:a", "item-1", "1"),
        features.flushall,
        lambda: custody.hgetall("fairtag:lock:a"),
        lambda: custody.hset("fairtag:lock:a", "item-1", "1"),
        lambda: custody.delete("fairtag:corridor:a"),
        custody.flushall,
        lambda: probe.get("fairtag:lock:a"),
        probe.info,
    ]
    for attempt in forbidden:
        with pytest.raises(NoPermissionError):
            attempt()
    with pytest.raises(AuthenticationError):
        Redis(port=port).ping()


@pytest.mark.slow
def test_features_are_filled_and_read_by_the_users_of_their_roles(
    redis_users: Any, secrets: Secrets, market: Any, tmp_path: Path
) -> None:
    import warnings

    from serving.stores.feast_store import open_reader

    port, _ = redis_users
    inside = "redis.fairtag.svc:6379"
    step = secrets["kubeflow/fairtag-steps-features"]["FAIRTAG_REDIS"].replace(inside, f"127.0.0.1:{port}")
    own = secrets["fairtag/endpoint-stores"]["redis"].replace(inside, f"127.0.0.1:{port}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's and ibis' own deprecations
        from datetime import UTC, datetime

        from components.adapters import feast

        feast.write_repository(tmp_path / "features", "redis", redis=step)
        feast.materialise(feast.apply(tmp_path / "features", market.tables), datetime.now(UTC))
    file = tmp_path / "features" / "feature_store.yaml"
    file.write_text(file.read_text().replace(step, own))
    user = str(market.tables.users[schema.USER_ID].iloc[0])
    assert open_reader(tmp_path / "features").user(user) is not None
