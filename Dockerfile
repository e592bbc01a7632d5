# canary in a container: hash-locked, not root, its state in /data.
#
#   docker build --tag canary .
#   docker run --name canary --init --publish 127.0.0.1:8080:8080 --publish 127.0.0.1:8081:8081 \
#       --env CANARY_ADMIN_TOKEN --volume "$PWD/config:/etc/canary:ro" --volume canary-data:/data \
#       --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --pids-limit 4096 \
#       --stop-timeout 640 canary

FROM python:3.13-slim-trixie AS tools
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
RUN python -m venv /opt/compile && python -m venv --without-pip /opt/canary
COPY requirements-compile.lock ./
RUN /opt/compile/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-compile.lock

# The packages without what only their developers need (tests, headers, debug symbols), Arrow's RPC, second and third
# copies of a library, and the clouds' APIs except for signing in. They have bytecode for what canary imports.
FROM tools AS packages
COPY requirements-server.lock ./
RUN /opt/compile/bin/pip --python /opt/canary/bin/python install --no-cache-dir --no-compile --require-hashes \
        --only-binary :all: -r requirements-server.lock
WORKDIR /opt/canary/lib/python3.13/site-packages
RUN find . -type d -name tests -prune -exec rm -r {} + \
    && find . -type f -regex '.*\.\(h\|pxd\|pxi\|pyi\|pyx\)' -delete \
    && find botocore/data -mindepth 1 -maxdepth 1 -type d -not -regex '.*/\(signin\|sso.*\|sts\)' -exec rm -r {} + \
    && rm -rf pyarrow/*flight* pyarrow/libarrow_python*.so pyarrow/libarrow_python*.so.*.* \
    && find . -type f -name '*.so*' -exec strip --strip-unneeded {} + \
    && /opt/canary/bin/python -c "import \
        aiohappyeyeballs, alembic.command, authlib.integrations.httpx_client, authlib.oidc.core, \
        azure.identity, backports.zstd, botocore.session, genai_prices.data_snapshot, \
        google.auth.transport.requests, httpx2, jinja2.sandbox, joserfc.jws, jsonschema_rs, msgspec, openai, \
        opentelemetry.exporter.otlp.proto.http._log_exporter, \
        opentelemetry.exporter.otlp.proto.http.metric_exporter, \
        opentelemetry.exporter.otlp.proto.http.trace_exporter, opentelemetry.trace.propagation.tracecontext, \
        prometheus_client.core, psycopg, pyarrow.compute, pyarrow.fs, pyarrow.parquet, pydantic, \
        redis.asyncio, rich.live, rich.progress_bar, rich.rule, rich.table, scipy.stats, \
        sqlalchemy.dialects.postgresql, sqlalchemy.dialects.sqlite, starlette.applications, structlog, \
        typer, uvicorn.protocols.http.httptools_impl, uvicorn.protocols.http.auto, uvloop, yaml"

# canary, its request path compiled: a worker serves a request in two thirds of the time (docs/performance.md).
FROM tools AS program
COPY . .
RUN CANARY_COMPILE=1 /opt/compile/bin/hatchling build --target wheel --directory /wheel \
    && /opt/compile/bin/pip --python /opt/canary/bin/python install --no-cache-dir --no-deps --root /program /wheel/*.whl \
    && find /program -type f -name '*.so' -exec strip --strip-unneeded {} +

FROM python:3.13-slim-trixie
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin canary \
    && install -d -o canary -g canary -m 0700 /data
# Two layers: a change of canary's code ships only the second.
COPY --from=packages /opt/canary /opt/canary
COPY --from=program /program /
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
