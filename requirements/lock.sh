#!/usr/bin/env bash
# Pins what pyproject.toml asks for, by version and by the hashes of every file of that version: lock.sh write | check.
#   write  resolves once, for every platform and Python 3.11 to 3.13, and cuts the files of this folder out of that one
#          resolution. A package that is pinned already keeps its version: only what pyproject.toml asks anew moves.
#          UPGRADE=NAME moves one package and what it needs; UPGRADE=all moves everything.
#   check  says whether the files were made from the requirements that pyproject.toml holds now; needs no network.
# torch.txt is apart, because a processor's torch may take its place (docs/how-to/supply-chain.md).
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}

fail() { echo "lock.sh: $*" >&2; exit 1; }

roles() { "$BIN/python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"])'; }
read -r -a ROLES < <(roles)
FILES=(build dev torch "${ROLES[@]}")

asked() { # a digest of all that pyproject.toml requires, whatever its layout
    "$BIN/python" - <<'PYTHON'
import hashlib, json, pathlib, tomllib

given = tomllib.loads(pathlib.Path("pyproject.toml").read_text(encoding="utf-8"))
project = given["project"]
needs = [project["requires-python"], project["dependencies"], project["optional-dependencies"]]
needs += [given["dependency-groups"], given["build-system"]["requires"]]
print(hashlib.sha256(json.dumps(needs, sort_keys=True).encode()).hexdigest()[:16])
PYTHON
}

# No index, no folder of wheels: what they hold decides nothing here, and no address of theirs is written down.
compile() { env -u UV_FIND_LINKS "$BIN/uv" pip compile --quiet --universal --python-version 3.11 --no-annotate "$@"; }

write() {
    local all=build/lock.txt upgrade=() header
    header="make lock (of the requirements $(asked) in pyproject.toml)"
    case ${UPGRADE:-} in "") ;; all) upgrade=(--upgrade) ;; *) upgrade=(--upgrade-package "$UPGRADE") ;; esac
    mkdir -p build
    for name in "${FILES[@]}"; do # the pins so far
        sed -n 's/^\([a-z0-9].*==[^\\]*[^\\ ]\).*/\1/p' "requirements/$name.txt" 2>/dev/null || true
    done | sed 's/===/==/' | sort -u >"$all"
    compile pyproject.toml --all-extras --group dev --group build "${upgrade[@]}" -o "$all"

    export UV_CUSTOM_COMPILE_COMMAND=$header
    cut() { compile --generate-hashes -c "$all" "$@"; }
    local torch apart=()
    torch=$(grep -oE '^(torch|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==' "$all" | tr -d =)
    for name in $torch; do apart+=(--no-emit-package "$name"); done
    cut --group build -o requirements/build.txt
    grep '^torch==' "$all" | cut - -o requirements/torch.txt
    # exactly this one: == would also take the same version's build for processors, where a folder of wheels holds one
    sed -i.part 's/^torch==/torch===/' requirements/torch.txt
    rm requirements/torch.txt.part
    # pyspark is 450 MB: resolved with the rest, installed with spark.txt alone
    cut pyproject.toml --all-extras --group dev "${apart[@]}" --no-emit-package pyspark --no-emit-package py4j -o requirements/dev.txt
    for name in "${ROLES[@]}"; do
        cut pyproject.toml --extra "$name" "${apart[@]}" -o "requirements/$name.txt"
    done
}

check() {
    local wanted stale=()
    wanted=$(asked)
    for name in "${FILES[@]}"; do
        head -2 "requirements/$name.txt" 2>/dev/null | grep -q "requirements $wanted in pyproject.toml" || stale+=("requirements/$name.txt")
    done
    [ "${#stale[@]}" = 0 ] || fail "not made from the requirements in pyproject.toml: ${stale[*]}; run make lock and commit them"
}

case ${1:-} in
    write) write ;;
    check) check ;;
    *) fail "usage: lock.sh [write|check]" ;;
esac
