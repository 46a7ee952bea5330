#!/usr/bin/env bash
# The bill of materials of each role, in CycloneDX, and the licences of its packages: sbom.sh [FOLDER] (build/sbom).
# Each role is installed from its pinned files into a folder of its own, as in its image, and what is found there is
# written down: names, versions, licences, who needs whom. ROLES="serve" selects roles; TORCH=requirements/torch-cpu.txt
# describes a training image for processors.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}
OUT=${1:-build/sbom}
TORCH=${TORCH:-requirements/torch.txt}
read -r -a ROLES <<<"${ROLES:-data data-spark train serve monitor}"
declare -A FILES=(
    [data]="data.txt pipelines.txt" [data-spark]="data.txt pipelines.txt spark.txt" [train]="train.txt pipelines.txt"
    [serve]="serve.txt" [monitor]="monitor.txt pipelines.txt"
)
export UV_LINK_MODE=${UV_LINK_MODE:-hardlink} SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0) # of the commit: the same sources, the same document

mkdir -p "$OUT"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for role in "${ROLES[@]}"; do
    [ -n "${FILES[$role]:-}" ] || { echo "sbom.sh: ROLES: no role $role; there are ${!FILES[*]}" >&2; exit 1; }
    given=()
    for file in ${FILES[$role]}; do given+=(-r "requirements/$file"); done
    [ "$role" != train ] || given+=(-r "$TORCH")
    "$BIN/uv" venv --quiet --python "$BIN/python" "$folder/$role"
    "$BIN/uv" pip install --quiet --python "$folder/$role/bin/python" --require-hashes --require-build-hashes \
        --build-constraints requirements/build.txt "${given[@]}"
    "$BIN/cyclonedx-py" environment --output-reproducible --spec-version 1.6 --pyproject pyproject.toml --mc-type application \
        --output-file "$OUT/$role.cdx.json" "$folder/$role/bin/python"
    "$folder/$role/bin/python" k8s/licences.py >"$OUT/$role.licences.txt" || echo "sbom.sh: a licence to look at: $OUT/$role.licences.txt" >&2
    printf '%-12s %4d packages\n' "$role" "$("$BIN/python" -c 'import json, sys; print(len(json.load(sys.stdin)["components"]))' <"$OUT/$role.cdx.json")"
    rm -rf "${folder:?}/$role"
done
