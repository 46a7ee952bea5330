#!/bin/sh
# Takes out of a role's environment what it never imports: slim.sh ENVIRONMENT ROLE. Runs in the build of each image, on
# libraries alone. Everything is named one by one, because some (evidently) keep what they need in a folder called tests;
# warm.py then imports all that the role does need, so that a cut too many ends the build.
set -eu
packages=$(echo "$1"/lib/python3*/site-packages)
environment=$1 role=$2
drop() { python3 -m pip --python "$environment/bin/python" uninstall --quiet --yes "$@" 2>&1 | { grep -v 'not installed' || true; }; }

# Test suites and a web page's sources: never imported, never served.
for package in dask ibis matplotlib networkx nltk numpy pandas pyarrow scipy sklearn statsmodels sympy; do
    [ -d "$packages/$package" ] || continue
    find "$packages/$package" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
done
rm -rf "$packages/onnx/backend/test" "$packages/feast/ui" "$packages/jupyterlab_plotly" "$environment/share/jupyter" "$packages/matplotlib/mpl-data/sample_data"

# Headers, sources, stubs, static libraries and test programs: for those who compile against these libraries.
rm -rf "$packages/torch/include" "$packages/torch/test" "$packages/torch/share" "$packages/pyarrow/include"
[ ! -d "$packages/torch/bin" ] || find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
find "$packages" \( -name '*.a' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.pyi' -o -name '*.c' -o -name '*.h' \
    -o -name '*.cc' -o -name '*.cpp' -o -name '*.hpp' \) -type f -delete
# Arrow over the network, and the object stores of clouds by its own means: fsspec speaks to ours.
rm -f "$packages"/pyarrow/_pyarrow_cpp_tests* "$packages"/pyarrow/*flight* "$packages"/pyarrow/libarrow_python.so \
    "$packages"/pyarrow/libarrow_python.so.*.*
# What programs in C link to; the module of Python holds all of it a second time.
rm -f "$packages"/onnxruntime/capi/libonnxruntime.so*

# Symbols that only a debugger reads. Not of wheels whose libraries were relinked into a folder beside them, which strip
# breaks, and not of NVIDIA's.
for folder in "$packages"/*/; do
    case $(basename "$folder") in
        *.libs | *.dist-info | numpy | scipy | sklearn | PIL | faiss | psycopg_binary | google_crc32c | nvidia | triton) ;;
        *) find "$folder" -name '*.so*' -type f -exec strip --strip-unneeded {} + ;;
    esac
done

# A type checker, which feast requires by way of SQLAlchemy's extra; downloads from a model hub, which is offline here.
drop mypy ast-serialize librt hf-xet
# kfp's clients: a step needs its executor alone. Learners: the steps on tables fit nothing.
[ "$role" != data ] || drop kubernetes kfp-server-api kfp-kubernetes docker google-cloud-storage google-cloud-core \
    google-api-core google-auth google-crc32c google-resumable-media googleapis-common-protos proto-plus requests-oauthlib \
    oauthlib scikit-learn joblib threadpoolctl

# Of AWS the object store alone is called; each service is a folder.
[ ! -d "$packages/botocore/data" ] ||
    find "$packages/botocore/data" -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name 'sso*' -exec rm -rf {} +
