# The tag is as exact as it can be here; who needs the same bytes each time adds the digest.
FROM python:3.13-slim-bookworm AS build

ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_NO_DEV=1 \
    UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==0.13.9

WORKDIR /app
COPY pyproject.toml uv.lock .python-version ./
RUN uv sync --locked --extra postgresql --extra telemetry --extra sso --extra mcp
COPY . /code
# Containers can't write into /app. Sources that are mounted over these count, because of the hash.
RUN python -m compileall -q -j 0 --invalidation-mode checked-hash -s /code -p /app /code


FROM python:3.13-slim-bookworm

LABEL org.opencontainers.image.title="AgenticFleet" \
      org.opencontainers.image.description="A self-hosted multi-agent chat whose streams always end" \
      org.opencontainers.image.licenses="MIT"
# For the built-in model. Any user may write into the state folder, as into /tmp: each closes what
# it stores there.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir --mode=1777 /state

WORKDIR /app
COPY --from=build /app/.venv /app/.venv
COPY --from=build /code /app

# Some users have no entry in /etc/passwd, and so no home; some roots can't be written.
ENV FLEET_STATE_DIR=/state \
    FLEET_AUTH=required \
    HOME=/state \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/state
USER 1000:0
VOLUME /state
EXPOSE 8000
# After SIGTERM, answers that stream have FLEET_SHUTDOWN_GRACE seconds to finish.
STOPSIGNAL SIGTERM
# Not /readyz: a fleet that ends its answers, or whose database is away, must not be restarted.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["/app/.venv/bin/python", "-ISc", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); assert c.getresponse().status == 200"]
CMD ["/app/.venv/bin/python", "manage.py", "fleet", "--host", "0.0.0.0"]
