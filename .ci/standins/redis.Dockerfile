# Stands in for redis:7.2-bookworm where no registry answers: Debian's Redis with the official image's paths.
FROM taxiway-standin-debian
RUN groupadd -r -g 999 redis && useradd -r -g redis -u 999 redis \
    && apt-get update -q \
    && apt-get install -y -q --no-install-recommends redis-server redis-tools \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/bin/redis-server /usr/bin/redis-cli /usr/local/bin/ \
    && mkdir -p /data && chown redis:redis /data
VOLUME /data
WORKDIR /data
EXPOSE 6379
CMD ["redis-server"]
