#!/usr/bin/env bash
# Runs each role's job in its image as on a cluster: a random uid, a read-only root, no capabilities, no
# network, a small /tmp. RUN names a finished run (make demo): the endpoint serves it and the monitors check its quotes.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
RUN=${RUN:-runs/demo}
READY_SECONDS=${READY_SECONDS:-60}
USER_ID=$((20000 + RANDOM))
read -r -a ROLES <<<"${ROLES:-data train serve monitor}"
LOCKED=(--read-only --cap-drop ALL --security-opt no-new-privileges --user "$USER_ID" --tmpfs /tmp:mode=1777 --network none)

fail() { echo "smoke.sh: $*" >&2; exit 1; }
name() { echo "fairtag/$1-python:$VERSION"; }
inside() { docker run --rm --interactive "${LOCKED[@]}" --entrypoint python "$(name "$1")" - <"k8s/smoke/$1.py"; }
finished() { [ -e "$RUN/live/manifest.json" ] && [ -d "$RUN/features" ]; }

data() { inside data; }
train() { inside train; }

serve() {
    if ! finished; then
        docker run --rm "${LOCKED[@]}" "$(name serve)" --help >/dev/null
        echo "serve: no finished run at $RUN (RUN=folder, make demo): only its options were read"
        return
    fi
    local container began waited features
    features=$(mktemp -d) # a copy that any uid may read
    cp -R "$RUN/features/." "$features"
    chmod -R a+rX "$features"
    began=$(date +%s%N)
    container=$(docker run --detach "${LOCKED[@]}" --env FAIRTAG_FEATURE_DEADLINE_MS=1000 \
        --volume "$(realpath "$RUN/live"):/mnt/models:ro" --volume "$features:/features:ro" \
        "$(name serve)" --model-folder=/mnt/models --feature-repo=/features --run-dir=/tmp/run --drain-seconds=0)
    # shellcheck disable=SC2064 # expand now, not at exit
    trap "docker rm --force $container >/dev/null; rm -rf $features" EXIT
    # the image's own health check, the same as Kubernetes' probe
    until docker exec "$container" python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/v2/models/fairtag/ready', timeout=2)" 2>/dev/null; do
        waited=$((($(date +%s%N) - began) / 1000000))
        if [ "$waited" -gt $((READY_SECONDS * 1000)) ] || [ "$(docker inspect --format '{{.State.Running}}' "$container")" != true ]; then
            docker logs "$container" 2>&1 | tail -20 >&2
            fail "the endpoint is not ready after $waited ms"
        fi
        sleep 0.3
    done
    echo "serve: ready after $((($(date +%s%N) - began) / 1000000)) ms"
    docker exec --interactive "$container" python - <k8s/smoke/serve.py
    docker exec "$container" sh -c 'touch /opt/fairtag/x 2>/dev/null' && fail "the root file system can be written"
    [ "$(docker exec "$container" id -u)" = "$USER_ID" ] || fail "the endpoint does not run as uid $USER_ID"
    docker stop --time 30 "$container" >/dev/null
    [ "$(docker inspect --format '{{.State.ExitCode}}' "$container")" = 0 ] || fail "the endpoint did not stop cleanly"
    docker rm "$container" >/dev/null
    rm -rf "$features"
    trap - EXIT
}

monitor() {
    docker run --rm "${LOCKED[@]}" "$(name monitor)" rules --out /tmp/rules.yaml >/dev/null
    if ! finished || [ ! -d "$RUN/serving/quotes" ]; then
        echo "monitor: no quotes at $RUN: only the alert rules were written"
        return
    fi
    local out
    out=$(mktemp -d)
    chmod 777 "$out"
    docker run --rm "${LOCKED[@]}" --volume "$(realpath "$RUN/live"):/mnt/model:ro" --volume "$out:/out" \
        --volume "$(realpath "$RUN/serving/quotes"):/mnt/quotes:ro" "$(name monitor)" \
        drift --quotes=/mnt/quotes --model-folder=/mnt/model --out=/out --window=365d >"$out/log" 2>&1 || true # 1 to 3 are results too
    if [ ! -s "$out/drift.json" ] || grep -q Traceback "$out/log"; then
        tail -5 "$out/log" >&2
        fail "the drift job wrote no report"
    fi
    echo "monitor: status of the drift job:$(sed -n 's/^ *"status"//p' "$out/drift.json" | head -1)"
    rm -rf "$out"
}

if ! docker info >/dev/null 2>&1; then
    echo "smoke.sh: skipped: no Docker daemon answers" >&2
    exit 77
fi
for role in "${ROLES[@]}"; do "$role"; done
