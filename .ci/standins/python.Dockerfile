# Stands in for python:3.13-slim where no registry answers: Debian's Python under the official image's paths.
FROM taxiway-standin-debian
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/* /usr/lib/python3*/EXTERNALLY-MANAGED \
    && ln -s /usr/bin/python3 /usr/local/bin/python3 \
    && ln -s /usr/bin/python3 /usr/local/bin/python \
    && ln -s /usr/bin/pip3 /usr/local/bin/pip
# The machine's own certificates: what intercepts its TLS intercepts a container's as well.
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
# The package index that the machine is configured for, where that is not the usual one.
ARG INDEX=
RUN if [ -n "$INDEX" ]; then \
        mkdir -p /etc/uv \
        && printf '[global]\nindex-url = %s\n' "$INDEX" >/etc/pip.conf \
        && printf '[[index]]\nurl = "%s"\ndefault = true\n' "$INDEX" >/etc/uv/uv.toml; \
    fi
ENV LANG=C.UTF-8
CMD ["python3"]
