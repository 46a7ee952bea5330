#!/usr/bin/env bash
# Creates the secrets of an installation at random; existing ones stay. Prints none of them.
# Production reads them from a vault instead: components/external-secrets names the same secrets and keys.
set -euo pipefail
NAMESPACE=${NAMESPACE:-fairtag}
STEPS_NAMESPACE=${STEPS_NAMESPACE:-kubeflow} # where Kubeflow runs the pipeline's steps
kube() { kubectl --namespace "$NAMESPACE" "$@"; }
has() { kube get secret "$1" >/dev/null 2>&1; }
random() { openssl rand -hex "$1"; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
umask 077

if ! has endpoint; then
    printf '{"active": "k1", "keys": {"k1": "%s"}}\n' "$(random 32)" >"$folder/quote_keys.json"
    random 32 >"$folder/user_key"
    random 24 >"$folder/api_keys"
    kube create secret generic endpoint --from-file "$folder/quote_keys.json" --from-file "$folder/user_key" --from-file "$folder/api_keys"
fi

if ! has stores || ! has object-store; then
    redis=$(random 24) postgres=$(random 24) id=$(random 10) key=$(random 24)
    host=$NAMESPACE.svc
    printf '{"identities": [{"name": "fairtag", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ["Admin"]}]}\n' \
        "$id" "$key" >"$folder/s3.json"
    cat >"$folder/stores" <<END
redis-password=$redis
redis=redis.$host:6379,password=$redis
redis-url=redis://:$redis@redis.$host:6379/0
postgres-password=$postgres
mlflow-database=postgresql+psycopg://fairtag:$postgres@postgres.$host:5432/mlflow
feast-registry=postgresql+psycopg://fairtag:$postgres@postgres.$host:5432/feast
END
    cat >"$folder/object-store" <<END
AWS_ACCESS_KEY_ID=$id
AWS_SECRET_ACCESS_KEY=$key
AWS_ENDPOINT_URL=http://object-store.$host:8333
AWS_DEFAULT_REGION=us-east-1
END
    sed -n 's/^redis=/FAIRTAG_REDIS=/p; s/^feast-registry=/FAIRTAG_FEAST_REGISTRY=/p' "$folder/stores" >"$folder/steps"
    cat "$folder/object-store" >>"$folder/steps"
    literals() { while IFS= read -r line; do printf -- '--from-literal=%s\0' "$line"; done <"$1"; }
    literals "$folder/stores" | xargs -0 kubectl --namespace "$NAMESPACE" create secret generic stores --from-file "$folder/s3.json"
    literals "$folder/object-store" | xargs -0 kubectl --namespace "$NAMESPACE" create secret generic object-store
    literals "$folder/steps" | xargs -0 kubectl --namespace "$STEPS_NAMESPACE" create secret generic fairtag-steps
    # KServe's storage initializer reads the store's address from annotations of the secret
    kube annotate secret object-store "serving.kserve.io/s3-endpoint=object-store.$host:8333" \
        serving.kserve.io/s3-usehttps=0 serving.kserve.io/s3-region=us-east-1
fi
