#!/usr/bin/env bash
# The image of each role: images.sh build | smoke | licences | push.
#   build     builds the images, prints their sizes beside the goals, and fails if one has grown
#   smoke     runs each image's job as a random uid, on a read-only root, without capabilities (k8s/smoke.sh)
#   licences  lists the licences of the packages in each image, and fails on one that is not allowed
#   push      pushes them to REGISTRY (registry.example.com/fairtag), and names them by digest in k8s/components/release
# ROLES="data serve" selects images, ROLES=data-spark the one with Spark (docs/cluster.md). ACCELERATOR=cuda builds the
# training image for GPUs. pip's variables (PIP_INDEX_URL, PIP_FIND_LINKS) reach the build as a secret that no layer keeps.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
REVISION=${REVISION:-$(git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)}
CREATED=${CREATED:-$(git log -1 --format=%cI 2>/dev/null || echo unknown)} # of the commit: the same sources, the same label
ACCELERATOR=${ACCELERATOR:-cpu}
PYTHON_IMAGE=${PYTHON_IMAGE:-$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)}
TORCH_CPU=requirements/torch-cpu.txt
RELEASE=k8s/components/release/kustomization.yaml
read -r -a ROLES <<<"${ROLES:-data train serve monitor}"
declare -A GOAL=([data]=700 [train]=1600 [serve]=900 [monitor]=700 [data-spark]=1500) # megabytes, what is wanted
declare -A LIMIT=([data]=700 [train]=1600 [serve]=900 [monitor]=920 [data-spark]=1500) # what was reached, with room

fail() { echo "images.sh: $*" >&2; exit 1; }
name() { echo "fairtag/$1-python:$VERSION"; }
engine() {
    command -v docker >/dev/null || fail "missing docker: install a Docker engine"
    docker info >/dev/null 2>&1 || fail "no Docker daemon answers: start it"
}

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

index_secret() { # writes $scratch/index, which pip and uv read in the build
    [ -z "${PIP_EXTRA_INDEX_URL:-}" ] || fail "PIP_EXTRA_INDEX_URL is refused: of two indexes, the one with the higher version wins; use one PIP_INDEX_URL"
    local links=${PIP_FIND_LINKS:-}
    [ ! -d "$links" ] || serve_folder "$links"
    {
        echo "# variables of pip and uv" # an empty secret is none, and the build would not find its file
        [ -z "${PIP_INDEX_URL:-}" ] || printf 'export PIP_INDEX_URL=%q UV_DEFAULT_INDEX=%q\n' "$PIP_INDEX_URL" "$PIP_INDEX_URL"
        [ -z "$links" ] || printf 'export PIP_FIND_LINKS=%q UV_FIND_LINKS=%q\n' "$links" "$links"
    } >"$scratch/index"
}

build() {
    umask 077
    scratch=$(mktemp -d) server=
    trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$scratch"' EXIT
    index_secret
    case "${ROLES[*]}" in *train*)
        [ "$ACCELERATOR" != cpu ] || [ -s "$TORCH_CPU" ] ||
            fail "$TORCH_CPU, which holds the hash of a torch without CUDA, is not there; once: PIP_FIND_LINKS=FOLDER k8s/pin.sh torch" ;;
    esac
    local arguments=(
        --build-arg "ACCELERATOR=$ACCELERATOR" --secret "id=index,src=$scratch/index"
        --label org.opencontainers.image.title=fairtag --label "org.opencontainers.image.version=$VERSION"
        --label "org.opencontainers.image.revision=$REVISION" --label "org.opencontainers.image.created=$CREATED"
        --label "org.opencontainers.image.base.name=$PYTHON_IMAGE" --build-arg "PYTHON_IMAGE=$PYTHON_IMAGE"
    )
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

# Only what a commit and digests describe is released: the labels of an image say what it was made of.
releasable() { # role
    local revision base
    revision=$(label "$1" revision) || fail "push: there is no image of $1: k8s/images.sh build"
    base=$(label "$1" base.name)
    [ "$revision" = "$REVISION" ] || fail "push: the image of $1 was built from $revision, this is $REVISION: k8s/images.sh build"
    [[ $base =~ @sha256:[0-9a-f]{64}$ ]] || fail "push: the image of $1 stands on $base, which is not named by digest"
}

label() { docker image inspect --format "{{index .Config.Labels \"org.opencontainers.image.$2\"}}" "$(name "$1")"; }

push() {
    [ -n "${REGISTRY:-}" ] || fail "push: REGISTRY is not set; say where images go, such as registry.example.com/fairtag"
    case $REVISION in unknown | *-dirty) fail "push: no commit holds this work tree ($REVISION): commit, build, push again" ;; esac
    local role there digest entries
    for role in "${ROLES[@]}"; do releasable "$role"; done
    for role in "${ROLES[@]}"; do
        there=$REGISTRY/$role-python
        docker tag "$(name "$role")" "$there:$VERSION"
        docker push --quiet "$there:$VERSION" >/dev/null
        digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$there:$VERSION" | sed -n "s|^$there@||p" | head -1)
        [ -n "$digest" ] || fail "push: Docker tells no digest of $there:$VERSION"
        entries=$(grep '^  - {' "$RELEASE" | grep -v "fairtag/$role-python," || true)
        { sed '/^images:/,$d' "$RELEASE"; echo images:; [ -z "$entries" ] || echo "$entries"
            echo "  - {name: fairtag/$role-python, newName: $there, digest: \"$digest\"}"; } >"$RELEASE.part"
        mv "$RELEASE.part" "$RELEASE"
        echo "$there@$digest"
    done
    echo "recorded in $RELEASE: review and commit it; staging and production take it" >&2
}

case ${1:-build} in
    build) engine; build ;;
    smoke) engine; ROLES="${ROLES[*]}" exec k8s/smoke.sh ;;
    licences)
        engine
        for role in "${ROLES[@]}"; do
            echo "== $(name "$role")"
            docker run --rm --network none --interactive --entrypoint python "$(name "$role")" - <k8s/licences.py
        done
        ;;
    push) engine; push ;;
    *) fail "usage: images.sh [build|smoke|licences|push]" ;;
esac
