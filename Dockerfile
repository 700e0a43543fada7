# The hub: one image for web, tick and workers; compose.yaml says which is which.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/hub
COPY requirements/hub.txt .
# What the lock file names and nothing else, each file by its hash.
RUN /opt/hub/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r hub.txt

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 hub && useradd --uid 10001 --gid hub --no-create-home --home-dir /tmp --shell /usr/sbin/nologin hub \
    && install --directory --owner hub --group hub --mode 0700 /srv/hospintel /srv/hospintel-keys
COPY --from=build /opt/hub /opt/hub
WORKDIR /opt/hospintel
COPY LICENSE NOTICE manage.py ./
COPY hospintel_core hospintel_core
COPY client_agent client_agent
COPY hospintel_site hospintel_site
COPY apps apps
COPY templates templates
COPY static static
# Beforehand: the file system is for reading alone when it runs.
RUN /opt/hub/bin/python -m compileall -q hospintel_core client_agent hospintel_site apps
ENV PATH=/opt/hub/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    KERAS_HOME=/tmp/keras \
    HOSPINTEL_VAR=/srv/hospintel \
    HOSPINTEL_KEYS=/srv/hospintel-keys \
    HOSPINTEL_BIND=0.0.0.0 \
    HOSPINTEL_LOG_FORMAT=json
USER hub
VOLUME ["/srv/hospintel", "/srv/hospintel-keys"]
CMD ["python", "-m", "hospintel_site.server"]
