# canary in a container: hash-locked, not root, its state in /data.
#
#   docker build -t canary .
#   docker run -p 8080:8080 -p 8081:8081 -e CANARY_ADMIN_TOKEN -v "$PWD/config:/etc/canary:ro" \
#       -v canary-data:/data --read-only --cap-drop ALL --stop-timeout 640 canary

# The request path, compiled: a worker serves a request in two thirds of the time (docs/performance.md).
FROM python:3.13-slim-trixie AS wheel
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
RUN python -m venv /opt/compile
COPY requirements-compile.lock ./
RUN /opt/compile/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-compile.lock
COPY . .
RUN CANARY_COMPILE=1 /opt/compile/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

FROM python:3.13-slim-trixie AS build
WORKDIR /source
RUN python -m venv /opt/canary
COPY requirements-server.lock ./
RUN /opt/canary/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-server.lock
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    /opt/canary/bin/pip install --no-cache-dir --no-deps /wheel/*.whl

FROM python:3.13-slim-trixie
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin canary \
    && install -d -o canary -g canary -m 0700 /data
COPY --from=build /opt/canary /opt/canary
# Listening on every address is the container's business; off loopback the admin listener insists on a token.
ENV PATH=/opt/canary/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CANARY_CONFIG=/etc/canary/canary.yaml \
    CANARY_DATA=/data \
    CANARY_TRAFFIC=0.0.0.0:8080 \
    CANARY_ADMIN=0.0.0.0:8081
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-P", "-m", "canary.programs.health"]
ENTRYPOINT ["canary"]
CMD ["serve"]
