#!/usr/bin/env bash
# The image of each role: images.sh build | smoke | licences.
#   build     builds the images, prints their sizes beside the goals, and fails if one has grown
#   smoke     runs each image's job as a random uid, on a read-only root, without capabilities (k8s/smoke.sh)
#   licences  lists the licences of the packages in each image, and fails on one that is not allowed
# ROLES="data serve" selects images, ROLES=data-spark the one with Spark (docs/cluster.md). ACCELERATOR=cuda builds the
# training image for GPUs. pip's variables
# (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, PIP_CONFIG_FILE) reach the build as a secret that no layer keeps.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
REVISION=${REVISION:-$(git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)}
CREATED=${CREATED:-$(git log -1 --format=%cI 2>/dev/null || echo unknown)} # of the commit: the same sources, the same label
ACCELERATOR=${ACCELERATOR:-cpu}
read -r -a ROLES <<<"${ROLES:-data train serve monitor}"
declare -A GOAL=([data]=700 [train]=1600 [serve]=900 [monitor]=700 [data-spark]=1500) # megabytes, what is wanted
declare -A LIMIT=([data]=700 [train]=1600 [serve]=900 [monitor]=900 [data-spark]=1500) # what was reached, with room

fail() { echo "images.sh: $*" >&2; exit 1; }
name() { echo "fairtag/$1-python:$VERSION"; }
command -v docker >/dev/null || fail "missing docker: install a Docker engine"
docker info >/dev/null 2>&1 || fail "no Docker daemon answers: start it"

# A build sees only its own folder of the host, so a folder of wheels is served on the loopback during the build.
serve_folder() {
    local ready=$scratch/port
    python3 - "$1" "$ready" <<'PYTHON' &
import functools, http.server, pathlib, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
handler.log_message = handler.func.log_message = lambda *_: None
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
pathlib.Path(sys.argv[2]).write_text(str(server.server_address[1]))
server.serve_forever()
PYTHON
    server=$!
    until [ -s "$ready" ]; do sleep 0.1; done
    links=http://127.0.0.1:$(cat "$ready")/
    BUILD_NETWORK=host
}

pip_secret() { # writes $scratch/pip.conf
    if [ -n "${PIP_CONFIG_FILE:-}" ] && [ -f "$PIP_CONFIG_FILE" ]; then
        cp "$PIP_CONFIG_FILE" "$scratch/pip.conf"
        return
    fi
    local links=${PIP_FIND_LINKS:-}
    [ ! -d "$links" ] || serve_folder "$links"
    {
        echo '[global]'
        [ -z "${PIP_INDEX_URL:-}" ] || echo "index-url = $PIP_INDEX_URL"
        [ -z "${PIP_EXTRA_INDEX_URL:-}" ] || echo "extra-index-url = $PIP_EXTRA_INDEX_URL"
        [ -z "$links" ] || echo "find-links = $links"
    } >"$scratch/pip.conf"
}

build() {
    umask 077
    scratch=$(mktemp -d) server=
    trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$scratch"' EXIT
    pip_secret
    local arguments=(
        --build-arg "ACCELERATOR=$ACCELERATOR" --secret "id=pip,src=$scratch/pip.conf"
        --label org.opencontainers.image.title=fairtag --label "org.opencontainers.image.version=$VERSION"
        --label "org.opencontainers.image.revision=$REVISION" --label "org.opencontainers.image.created=$CREATED"
    )
    [ -z "${PYTHON_IMAGE:-}" ] || arguments+=(--build-arg "PYTHON_IMAGE=$PYTHON_IMAGE")
    [ -z "${BUILD_NETWORK:-}" ] || arguments+=(--network "$BUILD_NETWORK")
    local role megabytes over=0
    for role in "${ROLES[@]}"; do
        [ -n "${GOAL[$role]:-}" ] || fail "ROLES: no role $role; there are ${!GOAL[*]}"
        DOCKER_BUILDKIT=1 docker build --progress plain "${arguments[@]}" --target "$role" -t "$(name "$role")" . >"$scratch/log" 2>&1 ||
            { tail -40 "$scratch/log" >&2; fail "$role could not be built"; }
        megabytes=$(($(docker image inspect --format '{{.Size}}' "$(name "$role")") / 1000000))
        printf '%-34s %5d MB (goal %d)\n' "$(name "$role")" "$megabytes" "${GOAL[$role]}"
        if [ "$megabytes" -gt "${LIMIT[$role]}" ] && [ "$ACCELERATOR" = cpu ]; then over=1; fi
    done
    [ "$over" = 0 ] || fail "an image has grown: see what came in, or raise LIMIT"
}

case ${1:-build} in
    build) build ;;
    smoke) exec k8s/smoke.sh ;;
    licences)
        for role in "${ROLES[@]}"; do
            echo "== $(name "$role")"
            docker run --rm --network none --interactive --entrypoint python "$(name "$role")" - <k8s/licences.py
        done
        ;;
    *) fail "usage: images.sh [build|smoke|licences]" ;;
esac
