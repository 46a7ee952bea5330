#!/bin/sh
# Takes out of an environment what no role imports: slim.sh ENVIRONMENT. Runs in the build of each image, on libraries
# alone. Packages are named one by one, because some (evidently) keep what they need in a folder called tests.
set -eu
packages=$(echo "$1"/lib/python3*/site-packages)

# test suites: never imported outside a test
for package in dask ibis matplotlib networkx nltk numba numpy pandas pyarrow scipy sklearn statsmodels sympy; do
    [ -d "$packages/$package" ] || continue
    find "$packages/$package" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
done

# headers, static libraries and test programs: for those who compile against these libraries
rm -rf "$packages/torch/include" "$packages/torch/test" "$packages/torch/share" "$packages/pyarrow/include"
[ ! -d "$packages/torch/bin" ] || find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
find "$packages" -name '*.a' -delete

# a type checker, which feast requires by way of SQLAlchemy's extra
python3 -m pip --python "$1/bin/python" uninstall --quiet --yes mypy ast-serialize librt 2>&1 | { grep -v 'not installed' || true; }

# Of AWS the object store alone is called; each service is a folder.
[ ! -d "$packages/botocore/data" ] ||
    find "$packages/botocore/data" -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name 'sso*' -exec rm -rf {} +
