# Two stages: the first builds an environment from pinned and hashed packages, the second is that environment alone.
# The server listens on all addresses here and so refuses to start without keys:
#
#   docker run --rm -v nextbest:/data nextbest keys add --scope decide
#   docker run -p 8000:8000 -v nextbest:/data nextbest

FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/nextbest \
 && /opt/nextbest/bin/python -m pip install --require-hashes -r requirements.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/python -m pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY policy policy
COPY models models
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/nextbest/bin/python -m pip install --no-deps /wheels/*.whl \
 && /opt/nextbest/bin/python -m pip uninstall --yes pip \
 && /opt/nextbest/bin/python -m compileall -q /opt/nextbest/lib

FROM python:3.13-slim
RUN python -m pip uninstall --yes --root-user-action ignore pip \
 && useradd --system --uid 10001 --home-dir /data nextbest \
 && install --directory --owner nextbest --mode 700 /data
COPY --from=build /opt/nextbest /opt/nextbest
ENV PATH=/opt/nextbest/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NEXTBEST_HOST=0.0.0.0 \
    NEXTBEST_PORT=8000 \
    NEXTBEST_DATA=/data \
    NEXTBEST_KEYS_FILE=/data/keys.jsonl
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# Alive, not ready: a node without its store should get no traffic, and restarting it would not help.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live', timeout=2)"]
ENTRYPOINT ["nextbest"]
CMD ["serve"]
