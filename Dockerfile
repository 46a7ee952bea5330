# One recipe, a stage per role: data, train, serve, monitor; data-spark where a shop asks for Spark. Build with
# k8s/images.sh (make images).
# Everything is installed from the files of requirements/ at build time, by hash; nothing is at run time, and no image holds
# pip or uv.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b

# The index or the folder of wheels is this build's alone: it comes as the secret "index" (variables of pip and uv), which
# stays in no layer and in no key of the cache. What it delivers must have the recorded hash.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore UV_LINK_MODE=copy UV_PYTHON=/opt/fairtag/bin/python \
    UV_REQUIRE_HASHES=1 UV_BUILD_CONSTRAINT=/src/requirements/build.txt INSTALL="uv pip install --quiet --require-build-hashes"
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends binutils >/dev/null
RUN python3 -m venv --without-pip /opt/fairtag
WORKDIR /src
COPY requirements/build.txt requirements/
RUN --mount=type=secret,id=index,target=/run/index --mount=type=cache,target=/root/.cache/pip \
    . /run/index && python3 -m pip install --quiet --require-hashes -r requirements/build.txt

# Our own code, laid over each role's libraries: a change of it is a layer of two megabytes.
FROM build AS code
COPY . .
RUN python3 -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /wheel . \
    && python3 -m pip --python "$UV_PYTHON" install --quiet --no-deps --no-index --prefix /code /wheel/*.whl

# Bytecode is written by importing what a role imports (warm.py), not for every file: half of it is never asked for.
# The steps of the pipeline run under kfp, which a component without installation at run time must find.
FROM build AS data-libraries
COPY requirements/data.txt requirements/pipelines.txt requirements/
RUN --mount=type=secret,id=index,target=/run/index --mount=type=cache,target=/root/.cache/uv \
    . /run/index && $INSTALL -r requirements/data.txt -r requirements/pipelines.txt
RUN --mount=type=bind,source=k8s,target=/k8s sh /k8s/slim.sh /opt/fairtag data && _KFP_RUNTIME=true /opt/fairtag/bin/python /k8s/warm.py data

# ACCELERATOR=cpu installs a torch without CUDA: the wheel that requirements/torch-cpu.txt names by hash, from the secret's
# folder; cuda installs the index's torch with its libraries.
FROM build AS train-libraries
ARG ACCELERATOR=cpu
COPY requirements/train.txt requirements/pipelines.txt requirements/torch*.txt requirements/
RUN --mount=type=secret,id=index,target=/run/index --mount=type=cache,target=/root/.cache/uv \
    if [ "$ACCELERATOR" = cuda ]; then torch=torch; else torch=torch-cpu; fi; \
    . /run/index && $INSTALL -r requirements/train.txt -r requirements/pipelines.txt -r requirements/$torch.txt \
    && /opt/fairtag/bin/python -Bc "import sys, torch; sys.exit((torch.version.cuda is not None) != ('$ACCELERATOR' == 'cuda'))"
RUN --mount=type=bind,source=k8s,target=/k8s sh /k8s/slim.sh /opt/fairtag train && /opt/fairtag/bin/python /k8s/warm.py train

FROM build AS serve-libraries
COPY requirements/serve.txt requirements/
RUN --mount=type=secret,id=index,target=/run/index --mount=type=cache,target=/root/.cache/uv \
    . /run/index && $INSTALL -r requirements/serve.txt
RUN --mount=type=bind,source=k8s,target=/k8s sh /k8s/slim.sh /opt/fairtag serve && /opt/fairtag/bin/python /k8s/warm.py serve

# kfp: the trigger starts runs.
FROM build AS monitor-libraries
COPY requirements/monitor.txt requirements/pipelines.txt requirements/
RUN --mount=type=secret,id=index,target=/run/index --mount=type=cache,target=/root/.cache/uv \
    . /run/index && $INSTALL -r requirements/monitor.txt -r requirements/pipelines.txt
RUN --mount=type=bind,source=k8s,target=/k8s sh /k8s/slim.sh /opt/fairtag monitor && /opt/fairtag/bin/python /k8s/warm.py monitor

# Only pyspark and py4j: the rest of what they need is in data, less what slim.sh took out.
FROM data-libraries AS data-spark-libraries
COPY requirements/spark.txt requirements/
RUN --mount=type=secret,id=index,target=/run/index --mount=type=cache,target=/root/.cache/uv \
    awk '/^[a-z]/ { ours = /^(pyspark|py4j)==/ } ours' requirements/spark.txt >spark.txt && . /run/index && $INSTALL --no-deps -r spark.txt \
    && /opt/fairtag/bin/python -c 'import pyspark.sql.pandas.types, pyspark.sql.classic.dataframe'

# HOME under /tmp and a name for any uid: the root file system is read-only and the uid has no entry of its own.
FROM ${PYTHON_IMAGE} AS run
ENV PATH=/opt/fairtag/bin:${PATH} HOME=/tmp LOGNAME=fairtag PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true GX_ANALYTICS_ENABLED=false \
    TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1
WORKDIR /tmp
USER 10001:10001

# Steps and jobs end by themselves: there is no health to ask about.
FROM run AS data
COPY --from=data-libraries /opt/fairtag /opt/fairtag
COPY --from=code /code /opt/fairtag
HEALTHCHECK NONE
ENV _KFP_RUNTIME=true
CMD ["python", "-c", "import feast, great_expectations, kfp.dsl.executor_main, components.adapters.feast"]

# Spark's file system asks Java for the name of the user: this image is for its own uid alone.
FROM run AS data-spark
USER root
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends openjdk-17-jre-headless >/dev/null \
    && rm -rf /var/lib/apt/lists/* && useradd --uid 10001 --no-create-home --home-dir /tmp fairtag
COPY --from=data-spark-libraries /opt/fairtag /opt/fairtag
COPY --from=code /code /opt/fairtag
HEALTHCHECK NONE
USER 10001:10001
ENV _KFP_RUNTIME=true SPARK_LOCAL_DIRS=/tmp
CMD ["python", "-c", "import feast, great_expectations, pyspark, kfp.dsl.executor_main, components.adapters.feast"]

FROM run AS train
COPY --from=train-libraries /opt/fairtag /opt/fairtag
COPY --from=code /code /opt/fairtag
HEALTHCHECK NONE
CMD ["fairtag", "--help"]

FROM run AS monitor
COPY --from=monitor-libraries /opt/fairtag /opt/fairtag
COPY --from=code /code /opt/fairtag
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "monitoring"]
CMD ["--help"]

FROM run AS serve
COPY --from=serve-libraries /opt/fairtag /opt/fairtag
COPY --from=code /code /opt/fairtag
# The features' cluster environment; its addresses come from the environment (FAIRTAG_REDIS, FAIRTAG_FEAST_REGISTRY).
COPY --from=code /src/feature_repo/feature_store.cluster.yaml /etc/fairtag/features/feature_store.yaml
EXPOSE 8080 8081
HEALTHCHECK --start-period=60s --interval=10s --timeout=3s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/v2/models/fairtag/ready', timeout=2)"]
ENTRYPOINT ["python", "-m", "serving"]
CMD ["--model-folder=/mnt/models"]
