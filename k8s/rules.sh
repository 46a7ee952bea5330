#!/usr/bin/env bash
# Writes components/prometheus/prometheusrule-checks.yaml from monitoring/runbook.yaml. A test keeps it current.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
out=${1:-k8s/components/prometheus/prometheusrule-checks.yaml}
rules=$(mktemp)
trap 'rm -f "$rules"' EXIT
"$PYTHON" -m monitoring rules --out "$rules" >/dev/null
{
    cat <<'HEAD'
# Written by k8s/rules.sh from monitoring/runbook.yaml; do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fairtag-checks
spec:
HEAD
    sed 's/^/  /' "$rules"
} >"$out"
