#!/usr/bin/env bash
# As much of the official image's interface as this project uses, with the official image's behaviour:
# POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD_FILE, POSTGRES_INITDB_ARGS; any uid that has a name.
set -euo pipefail
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    user=${POSTGRES_USER:-postgres}
    password=$(<"${POSTGRES_PASSWORD_FILE:?is not set}")
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA" || true
    # shellcheck disable=SC2086 # arguments, split as the official image splits them
    initdb --username="$user" --pwfile=<(printf '%s\n' "$password") ${POSTGRES_INITDB_ARGS:-}
    printf '\nhost all all all %s\n' "$(postgres -C password_encryption)" >>"$PGDATA/pg_hba.conf"
    export PGPASSWORD=$password
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    if [ "${POSTGRES_DB:-$user}" != postgres ]; then
        psql -v ON_ERROR_STOP=1 -U "$user" -d postgres --set db="${POSTGRES_DB:-$user}" <<<'CREATE DATABASE :"db";'
    fi
    pg_ctl -D "$PGDATA" -m fast -w stop
    unset PGPASSWORD
fi
exec "$@"
