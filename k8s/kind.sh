#!/usr/bin/env bash
# A cluster on this machine, from nothing to a priced page: kind.sh up | down | pin. Safe to run again.
# CLUSTER=minikube uses minikube. `pin` builds the manifests of others to one file each and records their checksums in
# k8s/checksums.txt, which is reviewed and committed; `up` builds those that are missing the same way, stops if one is not
# exactly what the file says, and applies these files and ours: applying fetches nothing.
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

# The manifests of others, each built to one file that holds all it needs: what `up` applies and checks.
MANIFESTS=(cert-manager.yaml gateway-api.yaml kserve.yaml pipelines.yaml)

download() { # file address
    # under another name until it is complete, so that a broken download is never used
    curl --fail --silent --show-error --location --retry 3 -o "$1.part" "$2" || fail "$2 could not be downloaded"
    mv "$1.part" "$1"
}

build() { # file
    local github=https://github.com folder
    case $1 in
        cert-manager.yaml) download "$CACHE/$1" "$github/cert-manager/cert-manager/releases/download/$(pinned cert-manager)/cert-manager.yaml" ;;
        gateway-api.yaml) download "$CACHE/$1" "$github/kubernetes-sigs/gateway-api/releases/download/$(pinned gateway-api)/standard-install.yaml" ;;
        kserve.yaml) # in Standard mode
            folder=$(mktemp -d)
            cp k8s/platform/kserve/*.yaml "$folder"
            download "$folder/release.yaml" "$github/kserve/kserve/releases/download/$(pinned kserve)/kserve.yaml"
            kubectl kustomize "$folder" >"$folder/built" || fail "KServe's manifest could not be built"
            mv "$folder/built" "$CACHE/$1"
            rm -rf "$folder"
            ;;
        pipelines.yaml) # its kustomizations fetch those of others, Argo's among them
            folder=$(mktemp -d)
            download "$folder/pipelines.tar.gz" "$github/kubeflow/pipelines/archive/refs/tags/$(pinned pipelines).tar.gz"
            tar -xzf "$folder/pipelines.tar.gz" -C "$folder"
            : >"$folder/built"
            local part
            for part in cluster-scoped-resources env/platform-agnostic; do
                kubectl kustomize "$folder/pipelines-$(pinned pipelines)/manifests/kustomize/$part" >>"$folder/built" ||
                    fail "Kubeflow's $part could not be built"
                echo --- >>"$folder/built"
            done
            mv "$folder/built" "$CACHE/$1"
            rm -rf "$folder"
            ;;
    esac
}

build_missing() {
    mkdir -p "$CACHE"
    local file
    for file in "${MANIFESTS[@]}"; do
        [ -s "$CACHE/$file" ] || build "$file"
    done
}

pin() {
    rm -rf "$CACHE" # of an earlier version, perhaps
    [ -s requirements/torch-cpu.txt ] || fail "requirements/torch-cpu.txt, the hash of the torch in our training image, is not there; once: PIP_FIND_LINKS=FOLDER k8s/pin.sh torch"
    build_missing
    (cd "$CACHE" && sha256sum "${MANIFESTS[@]}") >"$SUMS"
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
    for file in "${MANIFESTS[@]}"; do
        grep -q "  $file\$" "$SUMS" || unpinned "no checksum of $file in $SUMS"
    done
    [ -s requirements/torch-cpu.txt ] || fail "requirements/torch-cpu.txt, the hash of the torch in our training image, is not there; once: PIP_FIND_LINKS=FOLDER k8s/pin.sh torch"
    build_missing
    (cd "$CACHE" && sha256sum --check --quiet --strict -) <"$SUMS" || fail "a manifest is not what $SUMS says: see build/manifests, and do not install it"
}

cluster() {
    say "cluster"
    mkdir -p "$(dirname "$KUBECONFIG")"
    if [ "$CLUSTER" = minikube ]; then
        minikube start --profile "$NAME" --kubernetes-version "$(pinned kubernetes)" --cpus 6 --memory 14g
    elif ! running; then
        kind create cluster --name "$NAME" --image "kindest/node:$(pinned kindest-node)" --wait 5m
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

apply() { kubectl apply --server-side --force-conflicts --field-manager fairtag-platform "$@"; }

# The definitions and namespaces first: an object can follow only when the API server knows its kind.
apply_manifest() { # file
    awk 'BEGIN { RS = "\n---\n"; ORS = "\n---\n" } /(^|\n)kind: (CustomResourceDefinition|Namespace)(\n|$)/' "$CACHE/$1" | apply -f -
    local try
    for try in 1 2 3 4 5; do # it stops at a definition that is so new that it has no condition yet
        kubectl wait crd --all --for condition=Established --timeout 2m && break
        [ "$try" -lt 5 ] || fail "the API server does not take the definitions of $1"
        sleep 2
    done
    apply -f "$CACHE/$1"
}

platform() {
    say "cert-manager, KServe, Kubeflow Pipelines"
    apply_manifest cert-manager.yaml
    kubectl --namespace cert-manager wait deployment --all --for condition=Available --timeout 5m
    apply_manifest gateway-api.yaml
    apply_manifest kserve.yaml
    kubectl --namespace kserve wait deployment --all --for condition=Available --timeout 5m
    apply_manifest pipelines.yaml
    kubectl --namespace kubeflow wait deployment/ml-pipeline --for condition=Available --timeout 15m
}

ours() {
    say "fairtag"
    k8s/install.sh kind
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
