#!/usr/bin/env bash
# Records digests that only a registry or a maker tells, once, for review and commit: pin.sh images | torch.
#   images  of the images of others: the base of ours (Dockerfile), and those on a cluster (k8s/components/versions)
#   torch   of the wheels of a torch without CUDA in the folder PIP_FIND_LINKS (requirements/torch-cpu.txt)
# k8s/kind.sh pin does the same for the manifests of others. docs/how-to/supply-chain.md has each step.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSIONS=k8s/components/versions/kustomization.yaml
TORCH_CPU=requirements/torch-cpu.txt

fail() { echo "pin.sh: $*" >&2; exit 1; }

digest_of() { # image:tag; of its index, which holds every platform
    docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$1" || fail "no registry tells the digest of $1"
}

pin_images() {
    command -v docker >/dev/null || fail "missing docker: install a Docker engine with buildx"
    local base image tag digest
    base=$(sed -n 's/^ARG PYTHON_IMAGE=\([^@]*\).*/\1/p' Dockerfile)
    digest=$(digest_of "$base")
    sed -i.part "s|^ARG PYTHON_IMAGE=.*|ARG PYTHON_IMAGE=$base@$digest|" Dockerfile
    while read -r image tag; do
        digest=$(digest_of "$image:$tag")
        sed -i.part "s|^  - {name: $image, .*|  - {name: $image, newTag: \"$tag\", digest: \"$digest\"}|" "$VERSIONS"
    done < <(sed -n '/{name: fairtag/d; s/^  - {name: \([^,]*\), newTag: \([^,}]*\).*/\1 \2/p' "$VERSIONS" | tr -d '"')
    rm -f Dockerfile.part "$VERSIONS.part"
    echo "recorded in Dockerfile and $VERSIONS: review and commit them"
}

pin_torch() {
    local version wheels=()
    version=$(sed -n 's/^torch===\([^ ]*\).*/\1/p' requirements/torch.txt)+cpu
    mapfile -t wheels < <(compgen -G "${PIP_FIND_LINKS:-/nowhere}/torch-$version-*.whl")
    [ "${#wheels[@]}" -gt 0 ] || fail "no wheel torch-$version-*.whl in the folder PIP_FIND_LINKS=${PIP_FIND_LINKS:-}"
    {
        echo "# A torch without CUDA, for images and machines with processors alone. Written by k8s/pin.sh torch."
        printf 'torch==%s' "$version"
        sha256sum "${wheels[@]}" | sed 's/ .*//' | sort | while read -r hash; do printf ' \\\n    --hash=sha256:%s' "$hash"; done
        echo
    } >"$TORCH_CPU"
    echo "recorded in $TORCH_CPU: compare the hashes with those that its maker publishes, and commit it"
}

case ${1:-} in
    images) pin_images ;;
    torch) pin_torch ;;
    *) fail "usage: pin.sh [images|torch]" ;;
esac
