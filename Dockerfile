# syntax=docker/dockerfile:1
# Targets: `api` (default; the API, the pages and the journey runner; no torch) and `train` (everything).
#   docker build -t opportune .                docker build --target train -t opportune-train .
#   docker run --init -p 8000:8000 -v opportune:/data opportune
#   docker run --init --no-healthcheck -v opportune:/data opportune worker
# All state is under /data (OPPORTUNE_HOME), the same for all. A folder of the host mounted there must belong to the user
# 10001. Settings are variables (-e OPPORTUNE_…), or files: -v "$PWD/shop:/etc/opportune:ro"
# -e OPPORTUNE_CONFIG=/etc/opportune/opportune.toml. `--init` lets `docker stop` end every command at once.

ARG PYTHON=3.11-slim-bookworm

# Dependencies first, from the declarations alone: a change of our code reuses these layers.
FROM python:${PYTHON} AS needs
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /venv
COPY pyproject.toml constraints.txt ./
RUN python - <<'PY'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
for name, wanted in {"api": project["dependencies"], "train": project["optional-dependencies"]["train"]}.items():
    open(f"/tmp/{name}.txt", "w").write("\n".join(wanted))
PY
RUN /venv/bin/pip install -r /tmp/api.txt -c constraints.txt

FROM needs AS needs-train
ARG TORCH_INDEX=
RUN if [ -n "$TORCH_INDEX" ]; then /venv/bin/pip install torch==2.13.0 --index-url "$TORCH_INDEX"; fi
RUN /venv/bin/pip install -r /tmp/train.txt -c constraints.txt

FROM needs AS wheel
# For the C files that setup.py names; where it cannot be had the image is made without, and scores the same, more slowly.
RUN (apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev) >/dev/null 2>&1 \
    || echo "no compiler: scores come from numpy"
COPY README.md LICENSE opportune.py setup.py ./
COPY features features
COPY models models
COPY training training
COPY service service
RUN /venv/bin/pip wheel --no-deps -w /wheel .

FROM needs AS build
RUN --mount=from=wheel,source=/wheel,target=/wheel /venv/bin/pip install --no-deps /wheel/*.whl

FROM needs-train AS build-train
RUN --mount=from=wheel,source=/wheel,target=/wheel /venv/bin/pip install --no-deps /wheel/*.whl

FROM python:${PYTHON} AS base
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    OPPORTUNE_HOME=/data OPPORTUNE_HOST=0.0.0.0 \
    MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true FEAST_USAGE=False HF_HUB_DISABLE_TELEMETRY=1
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin opportune \
    && mkdir /data && chown opportune /data
WORKDIR /home/opportune
VOLUME /data
STOPSIGNAL SIGTERM
ENTRYPOINT ["opportune"]

FROM base AS train
# LightGBM's OpenMP, where the build of torch does not bring it under this name.
RUN (apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*) >/dev/null 2>&1 \
    || echo "no libgomp1: that of torch has to do"
COPY --from=build-train /venv /venv
COPY --chown=opportune mlflow /home/opportune/mlflow
# By its number: Kubernetes' runAsNonRoot knows no names.
USER 10001
CMD ["train", "all"]

FROM base AS api
COPY --from=build /venv /venv
USER 10001
EXPOSE 8000
# Of `serve` alone: nothing else answers over HTTP. The start may have to bring the database up to date.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ.get(\"OPPORTUNE_PORT\", 8000)}/health/live', timeout=2)"]
CMD ["serve"]
