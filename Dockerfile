# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches stay with the builder; the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --workspace --bin apptremind && cp target/release/apptremind /apptremind

FROM debian:bookworm-slim
# Time zones, and the certificates of mail servers and webhooks.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates tzdata && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /var/lib/apptremind --create-home apptremind
COPY --from=build /apptremind /usr/local/bin/apptremind
USER apptremind
WORKDIR /var/lib/apptremind
VOLUME /var/lib/apptremind
ENV APPTREMIND_HTTP_HOST=0.0.0.0 APPTREMIND_HTTP_PORT=8080
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=6 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$APPTREMIND_HTTP_PORT && printf 'GET /readyz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["apptremind"]
CMD ["serve"]
