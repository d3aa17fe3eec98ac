# The environment of every node of a cluster (docs/cluster.md). Build it from a clone:
#
#   docker build --build-arg DEVICE=cuda -t shared-ris:0.2.0 .
#   docker build --build-arg DEVICE=cpu --build-arg TORCH_WHEELS=PAGE -t shared-ris:0.2.0-cpu .
#
# DEVICE=cuda takes torch from the package index; that wheel brings the CUDA libraries, the node brings the driver.
# DEVICE=cpu takes torch from TORCH_WHEELS: a page or folder with CPU wheels, as pip's --find-links reads it.
FROM python:3.11-slim-bookworm

# git: records name the commit. g++: --compile. wget: KubeRay's probes call it.
# Debian's mirrors keep only the newest patch of a release, so a pinned version stops building.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git wget \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /opt/shared-ris \
    && useradd --create-home --uid 1000 ray

WORKDIR /opt/shared-ris
ARG DEVICE=cuda
ARG TORCH_WHEELS=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# Dependencies first: a change of the code alone then rebuilds only the last layers.
COPY pyproject.toml constraints.txt LICENSE ./
RUN case "$DEVICE" in \
        cuda) ;; \
        cpu) test -n "$TORCH_WHEELS" || { echo "DEVICE=cpu needs TORCH_WHEELS: a page or folder of CPU wheels" >&2; exit 2; }; \
            pip install -c constraints.txt --no-deps --no-index --find-links "$TORCH_WHEELS" torch ;; \
        *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 2 ;; \
    esac
RUN touch README.md \
    && pip install -c constraints.txt '.[train,cluster]' \
    && python -c "import sys, torch; built = 'cuda' if torch.version.cuda else 'cpu'; sys.exit(built != sys.argv[1] and f'torch is built for {built}')" "$DEVICE"

# With .git, so that records name the commit; .dockerignore leaves out only what git ignores.
COPY . .
RUN pip install --no-deps -e .

USER 1000
ENV RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true PYTHONUNBUFFERED=1
CMD ["sharedris", "--help"]
