# docker build -t twingrad . && mkdir -p runs &&
#   docker run --rm --user "$(id -u)" -v "$PWD/runs:/home/twingrad/runs" twingrad
#
# Build arguments: DEBIAN=bookworm for LibTorch 1.13 instead of 2.6; SOURCE, the address of the repository.
ARG DEBIAN=trixie
FROM debian:${DEBIAN}-slim AS build
WORKDIR /source
COPY script/bootstrap script/lib.sh script/
RUN script/bootstrap
COPY . .
RUN cmake --preset release -DTWINGRAD_BUILD_TESTS=OFF \
 && cmake --build build/release \
 && cmake --install build/release --prefix /usr/local --strip
RUN script/image-files /image

# The program, the libraries that it loads, and data. There is no shell.
FROM scratch
ARG VERSION=0.1.0
ARG SOURCE=
LABEL org.opencontainers.image.title="twingrad" \
      org.opencontainers.image.description="One MLP twice on LibTorch: by autograd and by hand" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=build /image /
# Runs are written to ./runs, a volume, which is writable even with --read-only. Every user may write to it,
# so --user can be the owner of a directory mounted there. The program warns if none is mounted at
# TWINGRAD_VOLUME. Data sets are found in /data/<name>.
ENV PATH=/usr/local/bin TWINGRAD_VOLUME=/home/twingrad/runs TWINGRAD_DATA=/data
WORKDIR /home/twingrad
VOLUME /home/twingrad/runs
USER 10001
ENTRYPOINT ["twingrad"]
CMD ["train"]
