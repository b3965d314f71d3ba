# docker build -t twingrad . && mkdir -p runs &&
#   docker run --rm --user "$(id -u)" -v "$PWD/runs:/home/twingrad/runs" twingrad
FROM debian:trixie-slim AS build
WORKDIR /source
COPY script/bootstrap script/lib.sh script/
RUN script/bootstrap
COPY . .
RUN cmake --preset release -DTWINGRAD_BUILD_TESTS=OFF \
 && cmake --build build/release \
 && cmake --install build/release --prefix /usr/local --strip

FROM debian:trixie-slim
LABEL org.opencontainers.image.title="twingrad" \
      org.opencontainers.image.description="One MLP twice on LibTorch: by autograd and by hand" \
      org.opencontainers.image.licenses="MIT"
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      libtorch2.6 libopenblas0-pthread libfmt10 libpng16-16t64 libssl3t64 zlib1g dataset-fashion-mnist \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/twingrad /usr/local/bin/
COPY --from=build /usr/local/share/twingrad /usr/local/share/twingrad

# Runs are written to ./runs, a volume, which is writable even with --read-only. Every user may write to it,
# so --user can be the owner of a directory mounted there.
RUN useradd --uid 10001 --create-home --key HOME_MODE=0755 twingrad \
 && install -d -m 1777 -o twingrad -g twingrad /home/twingrad/runs
WORKDIR /home/twingrad
VOLUME /home/twingrad/runs
USER twingrad
ENTRYPOINT ["twingrad"]
CMD ["train"]
