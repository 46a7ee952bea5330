#!/usr/bin/env bash
# Creates the secrets of an installation at random, one for each role; existing ones stay. Prints none of them.
# Production reads them from a vault instead: components/external-secrets names the same secrets and keys.
# Every password of a store is written twice, for the store and for its one client, so that all are made together.
set -euo pipefail
NAMESPACE=${NAMESPACE:-fairtag}
STEPS_NAMESPACE=${STEPS_NAMESPACE:-kubeflow} # where Kubeflow runs the pipeline's steps
ROLES=(object-store postgres redis mlflow endpoint-stores model-reader monitors fairness custody policy-writer console-policy)
STEPS=(data features registry deploy publish)
host=$NAMESPACE.svc
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
umask 077

has() { kubectl --namespace "$1" get secret "$2" >/dev/null 2>&1; }
random() { openssl rand -hex "$1"; }
make() { # namespace name [files...] < lines of KEY=VALUE; from files, so that no process list shows a value
    local namespace=$1 name=$2 keys=$folder/secrets/$1.$2 key value
    shift 2
    mkdir -p "$keys"
    [ $# = 0 ] || cp "$@" "$keys"
    while IFS='=' read -r key value; do printf %s "$value" >"$keys/$key"; done
    kubectl --namespace "$namespace" create secret generic "$name" --from-file "$keys"
}

if ! has "$NAMESPACE" endpoint; then
    printf '{"active": "k1", "keys": {"k1": "%s"}}\n' "$(random 32)" >"$folder/quote_keys.json"
    random 32 >"$folder/user_key"
    random 24 >"$folder/api_keys"
    kubectl --namespace "$NAMESPACE" create secret generic endpoint \
        --from-file "$folder/quote_keys.json" --from-file "$folder/user_key" --from-file "$folder/api_keys"
fi

# The key that signs the head of the trigger's ledger; the trigger alone has it.
if ! has "$NAMESPACE" ledger; then
    openssl genpkey -algorithm ed25519 -out "$folder/ledger_key"
    kubectl --namespace "$NAMESPACE" create secret generic ledger --from-file "$folder/ledger_key"
fi

held=()
whole() { # namespace/name...: whether all of some secrets that belong together are there; else what is left of them goes
    local each
    held=()
    for each in "$@"; do
        if has "${each%%/*}" "${each#*/}"; then held+=("$each"); fi
    done
    [ ${#held[@]} != $# ] || return 0
    for each in ${held[@]+"${held[@]}"}; do kubectl --namespace "${each%%/*}" delete secret "${each#*/}"; done
    return 1
}

# The key pair of decisions: evaluation signs; what registers, deploys and serves asks for the signature.
if ! whole "$NAMESPACE/trusted-keys" "$STEPS_NAMESPACE/fairtag-steps-trust" "$STEPS_NAMESPACE/fairtag-steps-sign"; then
    openssl genpkey -algorithm ed25519 -out "$folder/FAIRTAG_SIGNING_KEY"
    openssl pkey -in "$folder/FAIRTAG_SIGNING_KEY" -pubout -out "$folder/FAIRTAG_TRUSTED_KEYS"
    make "$NAMESPACE" trusted-keys "$folder/FAIRTAG_TRUSTED_KEYS" </dev/null
    make "$STEPS_NAMESPACE" fairtag-steps-trust "$folder/FAIRTAG_TRUSTED_KEYS" </dev/null
    make "$STEPS_NAMESPACE" fairtag-steps-sign "$folder/FAIRTAG_SIGNING_KEY" </dev/null
    [ ${#held[@]} = 0 ] || echo "secrets.sh: the key pair of decisions is new: run the pipeline again before the endpoint restarts"
fi

# The key pairs of the live policy: people sign with one, the console with the other, and endpoints follow nothing else. New
# passwords of the stores leave them alone, since every version that was ever signed is checked again.
if ! whole "$NAMESPACE/policy-keys" "$NAMESPACE/policy-sign" "$NAMESPACE/console-sign"; then
    for each in FAIRTAG_POLICY_SIGNING_KEY signing-key; do
        openssl genpkey -algorithm ed25519 -out "$folder/$each"
        openssl pkey -in "$folder/$each" -pubout -out "$folder/$each.public"
    done
    cat "$folder/FAIRTAG_POLICY_SIGNING_KEY.public" "$folder/signing-key.public" >"$folder/FAIRTAG_POLICY_KEYS"
    make "$NAMESPACE" policy-keys "$folder/FAIRTAG_POLICY_KEYS" </dev/null
    make "$NAMESPACE" policy-sign "$folder/FAIRTAG_POLICY_SIGNING_KEY" </dev/null
    make "$NAMESPACE" console-sign "$folder/signing-key" </dev/null
    [ ${#held[@]} = 0 ] || echo "secrets.sh: the keys of the live policy are new: move its versions away (bucket fairtag-policy)," \
        "restart the endpoint, and apply the policy again; until then everything is at list"
fi

# Roles of the live policy in PostgreSQL (components/policy-postgres), each with the secret of its one client. Secrets of a
# version that knew fewer of them get what they lack, and keep the rest.
added=
policy_roles() {
    policy_role writer policy-writer
    policy_role console console-policy
    policy_role reader endpoint-stores
    policy_role monitors monitors
    policy_role fairness fairness
}
policy_role() { # role, without policy_; secret of its client
    if ! holds postgres "policy-$1-password" || ! holds "$2" policy-stores; then
        local password
        password=$(random 24)
        put postgres "policy-$1-password" "$password"
        put "$2" policy-stores "s3://fairtag-policy,$(database "policy_$1" "$password" policy)"
        added="$added policy_$1"
    fi
}
database() { echo "postgresql+psycopg://$1:$2@postgres.$host:5432/$3"; }
holds() { # secret key
    local found
    found=$(kubectl --namespace "$NAMESPACE" get secret "$1" --output "go-template={{index .data \"$2\"}}")
    [ "$found" != "<no value>" ]
}
put() { # secret key value
    printf '{"stringData": {"%s": "%s"}}\n' "$2" "$3" >"$folder/patch.json"
    kubectl --namespace "$NAMESPACE" patch secret "$1" --patch-file "$folder/patch.json"
}

present=() missing=()
look() { if has "$1" "$2"; then present+=("$1 $2"); else missing+=("$2"); fi; }
for name in "${ROLES[@]}"; do look "$NAMESPACE" "$name"; done
for name in "${STEPS[@]}"; do look "$STEPS_NAMESPACE" "fairtag-steps-$name"; done
if [ ${#missing[@]} = 0 ]; then
    policy_roles
    [ -z "$added" ] || echo "secrets.sh: $added new in PostgreSQL; when postgres-0 has restarted: kubectl -n $NAMESPACE exec postgres-0 --" \
        "bash /docker-entrypoint-initdb.d/roles.sh"
    exit 0
fi
for each in ${present[@]+"${present[@]}"}; do
    read -r namespace name <<<"$each"
    kubectl --namespace "$namespace" delete secret "$name"
done

# Object store: an identity for each role. SeaweedFS' actions; a bucket after the colon limits one to it.
identities=()
identity() { # name actions...: an identity, and the variables of its client in $folder/NAME
    local name=$1 id key actions
    shift
    id=$(random 10) key=$(random 24)
    actions=$(printf '"%s", ' "$@")
    identities+=("{\"name\": \"$name\", \"credentials\": [{\"accessKey\": \"$id\", \"secretKey\": \"$key\"}], \"actions\": [${actions%, }]}")
    cat >"$folder/$name" <<END
AWS_ACCESS_KEY_ID=$id
AWS_SECRET_ACCESS_KEY=$key
AWS_ENDPOINT_URL=http://object-store.$host:8333
AWS_DEFAULT_REGION=us-east-1
END
}
identity model-reader Read:fairtag List:fairtag
identity endpoint Read:fairtag-quotes Write:fairtag-quotes List:fairtag-quotes Read:fairtag-policy List:fairtag-policy
identity policy-writer Read:fairtag List:fairtag Read:fairtag-policy Write:fairtag-policy List:fairtag-policy
identity console-policy Read:fairtag-policy Write:fairtag-policy List:fairtag-policy
identity monitors Read:fairtag List:fairtag Read:fairtag-quotes List:fairtag-quotes Read:fairtag-outcomes List:fairtag-outcomes \
    Read:fairtag-tables List:fairtag-tables Read:fairtag-policy List:fairtag-policy
identity fairness Read:fairtag List:fairtag Read:fairtag-quotes List:fairtag-quotes Read:fairtag-audit List:fairtag-audit \
    Read:fairtag-policy List:fairtag-policy
identity custody Read:fairtag-quotes Write:fairtag-quotes List:fairtag-quotes \
    Read:fairtag-outcomes Write:fairtag-outcomes List:fairtag-outcomes
identity deploy Read:fairtag Write:fairtag List:fairtag
identity publish Read:fairtag-tables Write:fairtag-tables List:fairtag-tables Write:fairtag-outcomes List:fairtag-outcomes \
    Write:fairtag-audit List:fairtag-audit Read:fairtag-data List:fairtag-data
identity data Read:fairtag-data List:fairtag-data
joined=$(printf '%s, ' "${identities[@]}")
printf '{"identities": [%s]}\n' "${joined%, }" >"$folder/s3.json"
make "$NAMESPACE" object-store "$folder/s3.json" </dev/null

# PostgreSQL: MLflow and Feast own one database each; the endpoint may read Feast's. policy_roles adds those of the live policy.
mlflow=$(random 24) feast=$(random 24) reader=$(random 24)
make "$NAMESPACE" postgres <<END
superuser-password=$(random 24)
mlflow-password=$mlflow
feast-password=$feast
feast-reader-password=$reader
END

# Redis: the endpoint reads features and keeps price locks; the materialise step writes features; custody finds and deletes both.
locks=$(random 24) features=$(random 24) custody=$(random 24)
cat >"$folder/users.acl" <<END
user default off resetkeys resetchannels -@all
user probe on nopass resetkeys resetchannels -@all +ping
user endpoint on >$locks resetchannels ~fairtag:lock:* ~fairtag:corridor:* %R~*fairtag -@all +@read +@write +@transaction +@connection -@dangerous -scan -randomkey -dbsize
user custody on >$custody resetchannels ~fairtag:lock:* ~*fairtag -@all +@connection +scan +exists +del -@dangerous
user features on >$features resetchannels ~*fairtag -@all +@read +@write +@transaction +@connection -@dangerous -randomkey
END
make "$NAMESPACE" redis "$folder/users.acl" </dev/null

# MLflow: people log in as admin, or as users that admin makes; the pipeline's steps have a user of their own.
pipeline=$(random 24)
cat >"$folder/basic_auth.ini" <<END
[mlflow]
default_permission = READ
database_uri = $(database mlflow "$mlflow" mlflow)
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
END
make "$NAMESPACE" mlflow "$folder/basic_auth.ini" <<END
database=$(database mlflow "$mlflow" mlflow)
admin-password=$(random 24)
pipeline-password=$pipeline
session-key=$(random 32)
END

{
    cat "$folder/endpoint"
    echo "redis=redis.$host:6379,username=endpoint,password=$locks"
    echo "redis-url=redis://endpoint:$locks@redis.$host:6379/0"
    echo "feast-registry=$(database feast_reader "$reader" feast)"
} | make "$NAMESPACE" endpoint-stores
make "$NAMESPACE" model-reader <"$folder/model-reader"
# KServe's storage initializer reads the store's address from annotations of the secret
kubectl --namespace "$NAMESPACE" annotate secret model-reader "serving.kserve.io/s3-endpoint=object-store.$host:8333" \
    serving.kserve.io/s3-usehttps=0 serving.kserve.io/s3-region=us-east-1
make "$NAMESPACE" monitors <"$folder/monitors"
make "$NAMESPACE" fairness <"$folder/fairness"
make "$NAMESPACE" policy-writer <"$folder/policy-writer"
make "$NAMESPACE" console-policy <"$folder/console-policy"
{
    cat "$folder/custody"
    echo "FAIRTAG_REDIS=redis.$host:6379,username=custody,password=$custody"
    echo "FAIRTAG_PRICE_LOCKS_URL=redis://custody:$custody@redis.$host:6379/0"
    echo "FAIRTAG_FEAST_REGISTRY=$(database feast_reader "$reader" feast)"
} | make "$NAMESPACE" custody

make "$STEPS_NAMESPACE" fairtag-steps-features <<END
FAIRTAG_REDIS=redis.$host:6379,username=features,password=$features
FAIRTAG_FEAST_REGISTRY=$(database feast "$feast" feast)
END
make "$STEPS_NAMESPACE" fairtag-steps-registry <<END
MLFLOW_TRACKING_USERNAME=pipeline
MLFLOW_TRACKING_PASSWORD=$pipeline
END
make "$STEPS_NAMESPACE" fairtag-steps-data <"$folder/data"
make "$STEPS_NAMESPACE" fairtag-steps-deploy <"$folder/deploy"
make "$STEPS_NAMESPACE" fairtag-steps-publish <"$folder/publish"
policy_roles

if [ ${#present[@]} != 0 ]; then
    cat <<END
secrets.sh: ${missing[*]} was missing, so that all passwords of the stores are new. Stores that run take them up by
  kubectl -n $NAMESPACE rollout restart statefulset deployment
  kubectl -n $NAMESPACE rollout status statefulset/postgres
  kubectl -n $NAMESPACE exec postgres-0 -- bash /docker-entrypoint-initdb.d/roles.sh
END
fi
