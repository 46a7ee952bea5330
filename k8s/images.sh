#!/usr/bin/env bash
# Builds the image of each role and holds its size against the goal; `images.sh smoke` runs each as a random uid with a
# read-only root and no capabilities. ACCELERATOR=cuda builds the training image for GPUs.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
REVISION=${REVISION:-$(git rev-parse --short HEAD)}
ACCELERATOR=${ACCELERATOR:-cpu}
read -r -a ROLES <<<"${ROLES:-data train serve monitor}"
declare -A GOAL=([data]=700 [train]=1600 [serve]=900 [monitor]=700) # megabytes

command -v docker >/dev/null || { echo "missing docker: install a Docker engine" >&2; exit 1; }
name() { echo "fairtag/$1-python:$VERSION"; }

build() {
    local arguments=(--build-arg "VERSION=$VERSION" --build-arg "REVISION=$REVISION" --build-arg "ACCELERATOR=$ACCELERATOR")
    local variable
    for variable in PYTHON_IMAGE PIP_FIND_LINKS PIP_EXTRA_INDEX_URL; do
        [ -z "${!variable:-}" ] || arguments+=(--build-arg "$variable=${!variable}")
    done
    [ -z "${BUILD_NETWORK:-}" ] || arguments+=(--network "$BUILD_NETWORK")
    local role megabytes over=0
    for role in "${ROLES[@]}"; do
        DOCKER_BUILDKIT=1 docker build --quiet "${arguments[@]}" --target "$role" -t "$(name "$role")" . >/dev/null
        megabytes=$(($(docker image inspect --format '{{.Size}}' "$(name "$role")") / 1000000))
        printf '%-34s %5d MB (goal %d)\n' "$(name "$role")" "$megabytes" "${GOAL[$role]}"
        if [ "$megabytes" -gt "${GOAL[$role]}" ] && [ "$ACCELERATOR" = cpu ]; then over=1; fi
    done
    [ "$over" = 0 ] || { echo "an image is larger than its goal" >&2; exit 1; }
}

smoke() {
    local locked=(--rm --read-only --cap-drop ALL --security-opt no-new-privileges --user "$((20000 + RANDOM))" --tmpfs /tmp --network none)
    docker run "${locked[@]}" "$(name data)"
    docker run "${locked[@]}" "$(name train)" >/dev/null
    docker run "${locked[@]}" --entrypoint python "$(name train)" -c 'import torch, mlflow, psycopg, s3fs, components.train'
    docker run "${locked[@]}" "$(name monitor)" --help >/dev/null
    docker run "${locked[@]}" "$(name serve)" --help >/dev/null
    docker run "${locked[@]}" --entrypoint python "$(name serve)" -c 'import serving.server, feast, onnxruntime'
    echo "every role starts as a random uid on a read-only root"
}

case ${1:-build} in
    build) build ;;
    smoke) smoke ;;
    *) echo "usage: images.sh [build|smoke]" >&2; exit 2 ;;
esac
