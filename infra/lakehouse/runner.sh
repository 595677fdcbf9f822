#!/bin/bash
# The runner's startup script, at each boot: the second disk, Docker, and the platform as the service `taxiway`.
# `taxiway.sh up` is that service: the newest image, the checkout in it, its secrets, `docker compose up`.
set -euo pipefail

# The second disk, and what is in memory alone.
srv=${TAXIWAY_SRV:-/srv} run=${TAXIWAY_RUN:-/run/taxiway}

main() {
    if [ "${1:-boot}" = up ]; then up; else boot; fi
}

boot() {
    local disk=/dev/disk/by-id/google-data
    blkid "$disk" >/dev/null || mkfs.ext4 -q -m 0 "$disk"
    mkdir -p /srv
    mountpoint -q /srv || mount -o discard "$disk" /srv
    # Before Docker is there: it starts as soon as it is installed.
    mkdir -p /etc/docker
    echo '{"data-root": "/srv/docker"}' >/etc/docker/daemon.json
    if ! docker compose version >/dev/null 2>&1; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes docker.io docker-cli docker-compose curl python3
    fi
    install -m 700 "$0" /usr/local/sbin/taxiway.sh
    cat >/etc/systemd/system/taxiway.service <<'UNIT'
[Unit]
Description=Taxiway, the containers of docker-compose.yaml
Requires=docker.service
After=docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/taxiway.sh up
TimeoutStartSec=3600
# Until an image is pushed there is none.
Restart=on-failure
RestartSec=15
# In memory: the token by which the image is pulled.
RuntimeDirectory=taxiway
RuntimeDirectoryMode=0700
Environment=DOCKER_CONFIG=/run/taxiway
[Install]
WantedBy=multi-user.target
UNIT
    systemctl daemon-reload
    systemctl restart --no-block taxiway
}

up() {
    local image id container recreate=()
    image=$(metadata instance/attributes/taxiway-image)
    field access_token < <(metadata instance/service-accounts/default/token) >"$run/token"
    docker login --username oauth2accesstoken --password-stdin "https://${image%%/*}" <"$run/token"
    docker pull --quiet "$image"
    id=$(docker image inspect --format '{{.Id}}' "$image")
    docker tag "$image" taxiway-airflow:taxiway
    if [ "$id" != "$(cat "$srv/deployed" 2>/dev/null)" ]; then
        container=$(docker create "$image")
        rm -rf "$srv/taxiway"
        docker cp --quiet "$container:/checkout" "$srv/taxiway"
        docker rm "$container" >/dev/null
        # Whatever the umask was with which the repository was cloned.
        chmod -R a+rX "$srv/taxiway"
        # What is mounted is another folder now, and Compose would not see it.
        recreate=(--force-recreate)
    fi
    metadata instance/attributes/taxiway-environment >"$run/environment"
    secret admin-password
    secret fernet-key
    rm "$run/token"
    cd "$srv/taxiway"
    mkdir -p "$srv/logs"
    docker compose --file docker-compose.yaml --file airflow/compose.runner.yaml \
        --env-file airflow/runner.env --env-file "$run/environment" \
        up --detach --wait --no-build --remove-orphans "${recreate[@]}"
    echo "$id" >"$srv/deployed"
    docker image prune --force
}

metadata() {
    curl -sSf --max-time 30 --retry 5 -H 'Metadata-Flavor: Google' "http://169.254.169.254/computeMetadata/v1/$1"
}

# A secret's value into the vault, from which `prepare` hands it out. The token is in no process list.
secret() {
    local url name file="$srv/vault/${1//-/_}"
    name=$(metadata instance/attributes/taxiway-name)--$1
    url=https://secretmanager.googleapis.com/v1/projects/$(metadata project/project-id)/secrets/$name
    install -d -m 700 "$srv/vault"
    (
        umask 077
        curl -sSf --max-time 30 --retry 5 -H @<(echo "Authorization: Bearer $(cat "$run/token")") \
            "$url/versions/latest:access" >"$run/answer"
        field payload data <"$run/answer" | base64 --decode >"$file.new"
    )
    mv "$file.new" "$file"
    rm "$run/answer"
}

# A field of the JSON on standard input, by its path.
field() {
    python3 -c 'import functools, json, sys
print(functools.reduce(lambda value, name: value[name], sys.argv[1:], json.load(sys.stdin)), end="")' "$@"
}

main "$@"
