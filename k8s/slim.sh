#!/bin/sh
# Removes what a role never imports from its environment: slim.sh ENVIRONMENT ROLE. Runs in the build of each image, on
# libraries only. Each path is named, because some libraries (evidently) keep code that they need in a folder tests;
# warm.py then imports everything that the role needs, so that one removal too many fails the build.
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

# Headers, sources, stubs, static libraries and test programs, needed only to compile against these libraries.
rm -rf "$packages/torch/include" "$packages/torch/test" "$packages/torch/share" "$packages/pyarrow/include"
[ ! -d "$packages/torch/bin" ] || find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
find "$packages" \( -name '*.a' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.pyi' -o -name '*.c' -o -name '*.h' \
    -o -name '*.cc' -o -name '*.cpp' -o -name '*.hpp' \) -type f -delete
# Arrow's network and cloud clients: fsspec reads our object store.
rm -f "$packages"/pyarrow/_pyarrow_cpp_tests* "$packages"/pyarrow/*flight* "$packages"/pyarrow/libarrow_python.so \
    "$packages"/pyarrow/libarrow_python.so.*.*
# Libraries for C programs; the Python module contains them again.
rm -f "$packages"/onnxruntime/capi/libonnxruntime.so*

# Debugger symbols. Not in wheels whose libraries were relinked into a folder beside them, which strip
# breaks, and not in NVIDIA's.
for folder in "$packages"/*/; do
    case $(basename "$folder") in
        *.libs | *.dist-info | numpy | scipy | sklearn | PIL | faiss | psycopg_binary | google_crc32c | nvidia | triton) ;;
        *) find "$folder" -name '*.so*' -type f -exec strip --strip-unneeded {} + ;;
    esac
done

# A type checker that feast requires through SQLAlchemy's extra, and downloads from a model hub, which is offline here.
drop mypy ast-serialize librt hf-xet
# kfp's clients, since a step needs only its executor; and learners, since the steps on tables fit nothing.
[ "$role" != data ] || drop kubernetes kfp-server-api kfp-kubernetes docker google-cloud-storage google-cloud-core \
    google-api-core google-auth google-crc32c google-resumable-media googleapis-common-protos proto-plus requests-oauthlib \
    oauthlib scikit-learn joblib threadpoolctl

# Of AWS, only the object store is called; each service is a folder.
[ ! -d "$packages/botocore/data" ] ||
    find "$packages/botocore/data" -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name 'sso*' -exec rm -rf {} +
