#!/usr/bin/env bash
# A cluster of one node that really runs pods, in namespaces of its own and in the foreground: node.sh [IMAGE...].
# Docker's images of these names are loaded, without digests; no registry is asked. It prints how to reach the cluster; Ctrl-C ends it and
# all that runs in it. Exit code 69: this machine cannot run it; the reason is printed.
set -euo pipefail
cd "$(dirname "$0")/../.."
lacks() { echo "node.sh: $*" >&2; exit 69; }

[ "$(id -u)" = 0 ] || lacks "a node makes networks, mounts and cgroups: run it as root"
for tool in docker etcd kubectl openssl containerd ctr runc iptables ipset ip; do
    command -v "$tool" >/dev/null || lacks "no $tool: install it (in Debian: etcd-server, containerd, runc, iptables, ipset, iproute2, docker.io)"
done
[ -x /usr/lib/cni/bridge ] || lacks "no network plugins in /usr/lib/cni: install Debian's containernetworking-plugins"
[ -d /proc/sys/net/bridge ] || lacks "the kernel does not filter bridged packets: modprobe br_netfilter"
[ -z "$(find /sys/fs/cgroup -maxdepth 2 -name 'kubepods*' -print -quit)" ] || lacks "a kubelet runs on this machine already"
programs=$(tests/cluster/build.sh node)

folder=$(mktemp -d /var/tmp/fairtag.XXXX) # short: sockets lie in it
node=
finish() {
    if [ -n "$node" ]; then
        ps --ppid "$node" -o pid= | xargs --no-run-if-empty kill || true # unshare itself ignores the signal
        wait "$node" || true
    fi
    find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null || true
    rm -rf --one-file-system "$folder"
}
trap finish EXIT
trap 'exit 0' INT TERM

mkdir "$folder/images"
tar -C "$programs" -c pause | docker import --change 'ENTRYPOINT ["/pause"]' - fairtag.io/pause:1 >/dev/null || lacks "no Docker daemon answers"
for image in fairtag.io/pause:1 "$@"; do
    docker save --output "$folder/images/$(tr -c 'A-Za-z0-9.\n' - <<<"$image").tar" "$image" || lacks "Docker has no image $image"
done
# With the first process of a process namespace everything in it ends, and its mounts go with the mount namespace.
# That process is a shell, which takes leave of containers whose parents went before them.
# shellcheck disable=SC2016 # the inner shell's
unshare --net --mount --pid --fork --kill-child --mount-proc -- bash -c \
    '"$@" & trap "kill $!" TERM; wait $! || wait $!' bash "${PYTHON:-.venv/bin/python}" tests/cluster/node.py "$programs" "$folder" &
node=$!
until [ -e "$folder/ready" ]; do
    kill -0 "$node" 2>/dev/null || { tail -n 5 "$folder"/*.log >&2; lacks "the cluster did not start"; }
    sleep 1
done
cat <<END
The node is ready. A command inside its network:
  KUBECONFIG=$folder/kubeconfig nsenter --target $node --net --mount kubectl get pods --all-namespaces
END
wait "$node"
