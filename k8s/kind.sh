#!/usr/bin/env bash
# A cluster on this machine, from nothing to a priced page: kind.sh up | down | pin. Safe to run again.
# CLUSTER=minikube uses minikube. `pin` downloads the manifests of others once and records their checksums in
# k8s/checksums.txt, which is reviewed and committed; `up` installs none that is not exactly what the file says.
set -euo pipefail
cd "$(dirname "$0")/.."
CLUSTER=${CLUSTER:-kind}
NAME=${NAME:-fairtag}
CACHE=${CACHE:-build/manifests}
FAIRTAG=${FAIRTAG:-.venv/bin/fairtag}
PYTHON=${PYTHON:-.venv/bin/python}
SUMS=k8s/checksums.txt
export KUBECONFIG=${KUBECONFIG:-$PWD/build/kubeconfig}

say() { printf '\n== %s\n' "$*"; }
fail() { echo "kind.sh: $*" >&2; exit 1; }
pinned() { sed -n "s/^ *- $1=//p" k8s/components/versions/kustomization.yaml; }
kube() { kubectl --namespace fairtag "$@"; }

sources() {
    local github=https://github.com
    echo "cert-manager.yaml $github/cert-manager/cert-manager/releases/download/$(pinned cert-manager)/cert-manager.yaml"
    echo "gateway-api.yaml $github/kubernetes-sigs/gateway-api/releases/download/$(pinned gateway-api)/standard-install.yaml"
    echo "kserve.yaml $github/kserve/kserve/releases/download/$(pinned kserve)/kserve.yaml"
    echo "kserve-resources.yaml $github/kserve/kserve/releases/download/$(pinned kserve)/kserve-cluster-resources.yaml"
    echo "pipelines.tar.gz $github/kubeflow/pipelines/archive/refs/tags/$(pinned pipelines).tar.gz"
}

download() {
    mkdir -p "$CACHE"
    local file address
    while read -r file address; do
        [ -s "$CACHE/$file" ] && continue
        # under another name until it is complete, so that a broken download is never used
        curl --fail --silent --show-error --location --retry 3 -o "$CACHE/$file.part" "$address" ||
            fail "$address could not be downloaded"
        mv "$CACHE/$file.part" "$CACHE/$file"
    done < <(sources)
}

pin() {
    rm -rf "$CACHE" # of an earlier version, perhaps
    download
    (cd "$CACHE" && sha256sum ./*.yaml ./*.tar.gz) >"$SUMS"
    echo "recorded in $SUMS: review and commit it; then make kind"
}

unpinned() {
    fail "$1; nothing of others is installed unchecked. Run this once, with a network: k8s/kind.sh pin"
}

running() {
    if [ "$CLUSTER" = minikube ]; then minikube status --profile "$NAME" >/dev/null 2>&1; else kind get clusters 2>/dev/null | grep -qx "$NAME"; fi
}

prerequisites() {
    say "prerequisites"
    local tool
    for tool in docker kubectl curl openssl sha256sum "$CLUSTER"; do
        command -v "$tool" >/dev/null || fail "missing $tool: install it and try again"
    done
    docker info >/dev/null 2>&1 || fail "no Docker daemon answers: start it"
    command -v "$FAIRTAG" >/dev/null || fail "no $FAIRTAG: make install makes it (make kind does so first)"
    # on a running cluster, doctor would report its own ports and disk use
    running || "$FAIRTAG" doctor --cluster "$CLUSTER" || fail "this machine lacks something: see above"
    [ -s "$SUMS" ] || unpinned "$SUMS, which holds the manifests' checksums, is not there"
    local file
    while read -r file _; do
        grep -q "  \./$file\$" "$SUMS" || unpinned "no checksum of $file in $SUMS"
    done < <(sources)
    download
    (cd "$CACHE" && sha256sum --check --quiet --strict -) <"$SUMS" || fail "a manifest is not what $SUMS says: see build/manifests, and do not install it"
}

cluster() {
    say "cluster"
    mkdir -p "$(dirname "$KUBECONFIG")"
    if [ "$CLUSTER" = minikube ]; then
        minikube start --profile "$NAME" --kubernetes-version "$(pinned kubernetes)" --cpus 6 --memory 14g
    elif ! running; then
        kind create cluster --name "$NAME" --image "kindest/node:$(pinned kubernetes)" --wait 5m
    else
        kind export kubeconfig --name "$NAME"
    fi
}

load() {
    say "images"
    k8s/images.sh build
    local version role
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
    for role in data train serve monitor; do
        if [ "$CLUSTER" = minikube ]; then
            minikube image load --profile "$NAME" "fairtag/$role-python:$version"
        else
            kind load docker-image --name "$NAME" "fairtag/$role-python:$version"
        fi
    done
}

apply() { kubectl apply --server-side --force-conflicts --field-manager fairtag-install "$@"; }

platform() {
    say "cert-manager, KServe, Kubeflow Pipelines"
    apply -f "$CACHE/cert-manager.yaml"
    kubectl --namespace cert-manager wait deployment --all --for condition=Available --timeout 5m
    apply -f "$CACHE/gateway-api.yaml"
    apply -f "$CACHE/kserve.yaml"
    kubectl --namespace kserve wait deployment --all --for condition=Available --timeout 5m
    apply -f "$CACHE/kserve-resources.yaml"
    # Standard mode; kind has no gateway, so KServe must not wait for one
    kubectl --namespace kserve get configmap inferenceservice-config -o json | "$PYTHON" -c '
import json, sys
config = json.load(sys.stdin)
for name, change in (("deploy", {"defaultDeploymentMode": "Standard"}), ("ingress", {"disableIngressCreation": True})):
    config["data"][name] = json.dumps(json.loads(config["data"][name]) | change)
config["metadata"] = {key: config["metadata"][key] for key in ("name", "namespace")}
json.dump(config, sys.stdout)' | apply -f -
    kubectl --namespace kserve rollout restart deployment
    kubectl --namespace kserve wait deployment --all --for condition=Available --timeout 5m
    local folder
    folder=$CACHE/pipelines-$(pinned pipelines)/manifests/kustomize
    tar -xzf "$CACHE/pipelines.tar.gz" -C "$CACHE"
    apply -k "$folder/cluster-scoped-resources"
    kubectl wait crd/applications.app.k8s.io --for condition=Established --timeout 2m
    apply -k "$folder/env/platform-agnostic"
    kubectl --namespace kubeflow wait deployment/ml-pipeline --for condition=Available --timeout 15m
}

ours() {
    say "fairtag"
    apply -f k8s/base/common/namespace.yaml
    k8s/secrets.sh
    apply -k k8s/overlays/kind # it names no model, so that a live one stays
    kube rollout status statefulset/postgres statefulset/redis statefulset/object-store --timeout 10m
    kube wait job/object-store-bucket --for condition=Complete --timeout 10m || true # gone ten minutes after it ended
    kube rollout status deployment/mlflow --timeout 10m
}

forward() { # namespace target ports; stops with the script
    kubectl --namespace "$1" port-forward "$2" "$3" >/dev/null 2>&1 &
    forwards+=($!)
    sleep 3
}

train_and_ask() {
    say "train, deploy, ask"
    forwards=()
    trap 'kill "${forwards[@]}" 2>/dev/null || true' EXIT
    forward kubeflow service/ml-pipeline 8888:8888
    local parameters=()
    # shellcheck disable=SC2016 # a Go template, not the shell's
    while IFS= read -r pair; do parameters+=(--parameter "$pair"); done < <(
        kube get configmap pipeline-parameters -o 'go-template={{range $k, $v := .data}}{{$k}}={{$v}}{{"\n"}}{{end}}' | sed '/^$/d')
    "$FAIRTAG" submit --host http://127.0.0.1:8888 "${parameters[@]}" --parameter preset=demo --wait 7200
    kube wait inferenceservice/fairtag --for condition=Ready --timeout 15m
    forward fairtag service/fairtag-predictor 8080:80
    local key
    key=$(kube get secret endpoint -o 'go-template={{index .data "api_keys" | base64decode}}')
    curl --fail --silent --show-error -H "Authorization: Bearer $key" -H 'Content-Type: application/json' \
        -d '{"instances": [{"task": "search", "query": "wireless drill", "page_size": 3}]}' \
        http://127.0.0.1:8080/v1/models/fairtag:predict
    cat <<END

The cluster is up. KUBECONFIG=$KUBECONFIG, then
  Kubeflow   kubectl -n kubeflow port-forward service/ml-pipeline-ui 8081:80   http://127.0.0.1:8081
  MLflow     kubectl -n fairtag port-forward service/mlflow 5000:5000          http://127.0.0.1:5000
  Evidently  kubectl -n fairtag port-forward service/evidently 8000:8000       http://127.0.0.1:8000
  Endpoint   kubectl -n fairtag port-forward service/fairtag-predictor 8080:80 http://127.0.0.1:8080
END
}

down() {
    if [ "$CLUSTER" = minikube ]; then minikube delete --profile "$NAME"; else kind delete cluster --name "$NAME"; fi
}

case ${1:-up} in
    up) prerequisites; cluster; load; platform; ours; train_and_ask ;; # one by one: && would switch errexit off
    down) down ;;
    pin) pin ;;
    *) fail "usage: kind.sh [up|down|pin]" ;;
esac
