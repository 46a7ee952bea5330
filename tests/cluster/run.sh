#!/usr/bin/env bash
# Builds the control plane if need be and runs the tests against it, in a network namespace of their own where this user
# may have one: run.sh [arguments of pytest]. Exit code 69: this machine cannot run them; the reason is printed.
set -euo pipefail
cd "$(dirname "$0")/../.."
lacks() { echo "run.sh: $*" >&2; exit 69; }

for tool in etcd kubectl openssl; do
    command -v "$tool" >/dev/null || lacks "no $tool: install it (etcd is in Debian's etcd-server)"
done
FAIRTAG_CLUSTER_BIN=$(tests/cluster/build.sh)
export FAIRTAG_CLUSTER_BIN OMP_NUM_THREADS=1
inside='ip link set lo up && exec "$@"'
pytest=("${PYTHON:-.venv/bin/python}" -m pytest -q -m cluster "${@:-tests/cluster}")
if unshare --net sh -c "$inside" sh true 2>/dev/null; then
    exec unshare --net sh -c "$inside" sh "${pytest[@]}"
elif unshare --user --map-root-user --net sh -c "$inside" sh true 2>/dev/null; then
    exec unshare --user --map-root-user --net sh -c "$inside" sh "${pytest[@]}"
fi
echo "run.sh: no network namespace for this user: on free ports of the loopback instead" >&2
exec "${pytest[@]}"
