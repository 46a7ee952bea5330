#!/usr/bin/env bash
# Builds the API server, the controller manager and KServe's controller from their pinned Go modules, and prints the
# folder that holds them and KServe's released manifests. Built once for each go.mod: minutes then, nothing afterwards.
# `build.sh node` builds what a node runs too (node.sh): scheduler, kubelet, proxy, DNS, and a firewall.
# FAIRTAG_CLUSTER_CACHE names another folder than the user's cache. Exit code 69: this machine cannot build them.
set -euo pipefail
cd "$(dirname "$0")"
say() { echo "build.sh: $*" >&2; }
lacks() { say "$*"; exit 69; }

command -v go >/dev/null || lacks "no Go: install one that is at least $(sed -n 's/^go //p' kserve/go.mod)"
needed=$(sed -n 's/^go //p' kserve/go.mod) # the newer of the two
found=$(GOTOOLCHAIN=local go env GOVERSION)
[ "$(printf '%s\n' "$needed" "${found#go}" | sort -V | head -1)" = "$needed" ] || lacks "Go ${found#go} is older than $needed"

key=$(cat build.sh ./*/*.go ./*/go.* | sha256sum | cut -c1-12)
folder=${FAIRTAG_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fairtag/cluster}/$key
mkdir -p "$folder"
exec 9>"$folder/lock" # one build at a time; a second waits for it and uses it
if command -v flock >/dev/null; then flock 9; fi
program() { # module package linker-flags
    (cd "$1" && go build -mod=readonly -trimpath -ldflags "-s -w ${3:-}" -o "$folder/$(basename "$2")" "$2") || lacks "$2 could not be built"
}
kubernetes() { # names; a release tells its programs their version by the linker, and so do we, from the module's own
    local version minor name
    version=$(cd kubernetes && go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes) || lacks "the module of Kubernetes could not be fetched"
    minor=${version#v1.} minor=${minor%%.*}
    for name; do
        program kubernetes "k8s.io/kubernetes/cmd/$name" "-X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor"
    done
}
if [ ! -e "$folder/complete" ]; then
    say "building into $folder; this takes minutes, once"
    kubernetes kube-apiserver kube-controller-manager
    program kserve github.com/kserve/kserve/cmd/manager
    mv "$folder/manager" "$folder/kserve-manager"
    module() { (cd kserve && go mod download "$1" && go list -mod=readonly -m -f '{{.Dir}}' "$1"); }
    kserve=$(module github.com/kserve/kserve)
    rm -rf "$folder/manifests"
    mkdir -p "$folder/manifests/definitions"
    cp "$kserve/install/${kserve##*@}/kserve.yaml" "$folder/manifests/"
    cp "$(module sigs.k8s.io/gateway-api)"/config/crd/standard/gateway.networking.k8s.io_*.yaml "$folder/manifests/definitions/"
    cp "$(module github.com/kedacore/keda/v2)"/config/crd/bases/keda.sh_{scaledobjects,triggerauthentications}.yaml "$folder/manifests/definitions/"
    chmod -R u+w "$folder/manifests"
    touch "$folder/complete"
fi
if [ "${1:-}" = node ] && [ ! -e "$folder/complete-node" ]; then
    say "building a node's programs into $folder; this takes minutes, once"
    kubernetes kube-scheduler kubelet kube-proxy
    program coredns fairtag.io/tests/coredns
    program kube-router github.com/cloudnativelabs/kube-router/v2/cmd/kube-router
    CGO_ENABLED=0 program pause fairtag.io/tests/pause # alone in its image
    touch "$folder/complete-node"
fi
echo "$folder"
