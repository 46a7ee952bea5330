#!/usr/bin/env bash
# Installs or upgrades Fairtag on the cluster that kubectl talks to: k8s/install.sh kind|staging|production|FOLDER.
# Safe to run again, before and after a deploy: no object of an overlay says which model is live, so none is moved.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "install.sh: $*" >&2; exit 1; }
apply() { kubectl apply --server-side --field-manager fairtag-install "$@"; }

[ $# = 1 ] || fail "usage: install.sh kind|staging|production|FOLDER"
overlay=k8s/overlays/$1
[ -d "$overlay" ] || overlay=$1
objects=$(kubectl kustomize "$overlay")
# before anything is applied: the API server would refuse these objects and take the others
left=$(grep -o 'ADDRESSES-OF-YOUR-[A-Z-]*' <<<"$objects" | sort -u | paste -sd ' ' || true)
[ -z "$left" ] || fail "$overlay still holds $left: write your stores' addresses there (fairtag doctor --overlay $overlay)"
# a tag may name another image tomorrow; kind alone runs what was built and loaded on this machine
tags=$(sed -n 's/^ *\(- \)\{0,1\}image: //p' <<<"$objects" | grep -v '@sha256:' | sort -u | paste -sd ' ' || true)
[ "$1" = kind ] || [ -z "$tags" ] || [ "${IMAGES_BY_TAG:-}" = allowed ] ||
    fail "$overlay names images by tag: $tags; k8s/images.sh push and k8s/pin.sh images name them by digest (a trial: IMAGES_BY_TAG=allowed)"

kubectl get clusterstoragecontainer default >/dev/null ||
    fail "KServe's ClusterStorageContainer 'default' is not there: install KServe first (docs/cluster.md), or look at the message above"
apply -f k8s/platform/clusterstoragecontainer.yaml
# an overlay without a vault gets secrets at random; those that exist stay
if ! grep -qx 'kind: ExternalSecret' <<<"$objects"; then
    apply -f k8s/base/common/namespace.yaml
    k8s/secrets.sh
fi
# a Job cannot be changed, only made again; ours may run twice
jobs=$(awk 'BEGIN { RS = "\n---\n"; ORS = "\n---\n" } /(^|\n)kind: Job(\n|$)/' <<<"$objects")
[ -z "$jobs" ] || kubectl delete --ignore-not-found -f - <<<"$jobs"
apply -f - <<<"$objects"
