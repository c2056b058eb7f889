# syntax=docker/dockerfile:1
# Targets: `api` (default; the API, the pages and the journey runner; no torch) and `train` (everything).
#   docker build -t opportune .                docker build --target train -t opportune-train .
#   docker run -p 8000:8000 -v opportune:/data opportune
# The image keeps all state under /data (OPPORTUNE_HOME); run `opportune worker` from the same image beside it.

ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /venv
# For the C files that setup.py names; where it cannot be had the image is made without, and scores the same, more slowly.
RUN (apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev) >/dev/null 2>&1 \
    || echo "no compiler: scores come from numpy"
# Dependencies first, from the declarations alone: a change of our code reuses this layer.
COPY pyproject.toml constraints.txt ./
RUN python - <<'PY' > /tmp/requirements.txt
import tomllib
print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))
PY
RUN /venv/bin/pip install -r /tmp/requirements.txt -c constraints.txt
COPY README.md opportune.py setup.py ./
COPY features features
COPY models models
COPY training training
COPY service service
RUN /venv/bin/pip install --no-deps .

FROM build AS build-train
ARG TORCH_INDEX=
RUN /venv/bin/pip install torch==2.13.0 ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
RUN /venv/bin/pip install ".[train]" -c constraints.txt

FROM python:${PYTHON} AS base
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    OPPORTUNE_HOME=/data OPPORTUNE_HOST=0.0.0.0 \
    MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=1
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin opportune \
    && mkdir /data && chown opportune /data
USER opportune
WORKDIR /home/opportune
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/live', timeout=2)"]
ENTRYPOINT ["opportune"]
CMD ["serve"]

FROM base AS train
COPY --from=build-train /venv /venv
COPY --chown=opportune mlflow /home/opportune/mlflow
CMD ["train", "all"]

FROM base AS api
COPY --from=build /venv /venv
