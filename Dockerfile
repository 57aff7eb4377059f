FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_DEV=1 \
    FLEET_STATE_DIR=/state \
    FLEET_AUTH=required

RUN pip install --no-cache-dir uv \
    && useradd --create-home --uid 1000 fleet \
    && mkdir /state && chown fleet /state

WORKDIR /app
COPY pyproject.toml uv.lock .python-version ./
RUN uv sync --locked --extra postgresql --extra telemetry
COPY . .

USER fleet
VOLUME /state
EXPOSE 8000
# After SIGTERM, answers that stream have FLEET_SHUTDOWN_GRACE seconds to finish.
CMD ["uv", "run", "--no-sync", "manage.py", "fleet", "--host", "0.0.0.0"]
