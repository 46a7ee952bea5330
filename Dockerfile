# One recipe, a stage per role: data, train, serve, monitor. Build with k8s/images.sh.
# Everything is installed from the pinned requirements at build time; nothing is at run time.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG PIP_FIND_LINKS=
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_FIND_LINKS=${PIP_FIND_LINKS} PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL}
RUN python3 -m venv /opt/fairtag
ENV PATH=/opt/fairtag/bin:${PATH}
WORKDIR /src
COPY requirements requirements

FROM build AS wheel
COPY . .
RUN pip wheel --no-deps --wheel-dir /wheel .

# The steps of the pipeline run under kfp, which a component without installation at run time must find.
FROM build AS build-data
RUN pip install --no-deps -r requirements/data.txt -r requirements/pipelines.txt
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-deps /wheel/*.whl

# ACCELERATOR=cpu takes a torch without CUDA, which PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL must offer; cuda lets torch
# bring its libraries. psycopg and s3fs: the registry's server and the deploy step.
FROM build AS build-train
ARG ACCELERATOR=cpu
RUN if [ "$ACCELERATOR" = cuda ]; then deps=; else deps=--no-deps; fi; \
    pip install $deps -r requirements/train.txt -r requirements/pipelines.txt \
    && pip install -c requirements/dev.txt 'psycopg[binary]' s3fs \
    && python -c "import sys, torch; sys.exit((torch.version.cuda is not None) != ('$ACCELERATOR' == 'cuda'))"
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-deps /wheel/*.whl

FROM build AS build-serve
RUN pip install --no-deps -r requirements/serve.txt
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-deps /wheel/*.whl

# kfp: the trigger starts runs.
FROM build AS build-monitor
RUN pip install --no-deps -r requirements/monitor.txt -r requirements/pipelines.txt
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-deps /wheel/*.whl

FROM ${PYTHON_IMAGE} AS run
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title=fairtag \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${REVISION}
# HOME under /tmp: the root file system is read-only and the uid may be any.
ENV PATH=/opt/fairtag/bin:${PATH} HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 DO_NOT_TRACK=true MLFLOW_DISABLE_TELEMETRY=true GX_ANALYTICS_ENABLED=false \
    TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1
WORKDIR /tmp
USER 10001:10001

# Steps and jobs end by themselves: there is no health to ask about.
FROM run AS data
COPY --from=build-data /opt/fairtag /opt/fairtag
HEALTHCHECK NONE
CMD ["python", "-c", "import feast, great_expectations, kfp, components.validate"]

FROM run AS train
COPY --from=build-train /opt/fairtag /opt/fairtag
HEALTHCHECK NONE
CMD ["fairtag", "--help"]

FROM run AS monitor
COPY --from=build-monitor /opt/fairtag /opt/fairtag
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "monitoring"]
CMD ["--help"]

FROM run AS serve
COPY --from=build-serve /opt/fairtag /opt/fairtag
# The features' cluster environment; its addresses come from the environment (FAIRTAG_REDIS, FAIRTAG_FEAST_REGISTRY).
COPY feature_repo/feature_store.cluster.yaml /etc/fairtag/features/feature_store.yaml
EXPOSE 8080 8081
HEALTHCHECK --start-period=60s --interval=10s --timeout=3s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/v2/models/fairtag/ready', timeout=2)"]
ENTRYPOINT ["python", "-m", "serving"]
CMD ["--bundle=/mnt/models"]
