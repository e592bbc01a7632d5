#!/bin/sh
# Makes .env and secrets/ with fresh random values, once: what is there already stays as it is.
set -eu
cd "$(dirname "$0")"
umask 077

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

if [ ! -e .env ]; then
    sed -e "s/^POSTGRES_PASSWORD=$/POSTGRES_PASSWORD=$(random)/" -e "s/^REDIS_PASSWORD=$/REDIS_PASSWORD=$(random)/" \
        env.example > .env.new
    mv .env.new .env
fi

# Containers read these as users of their own, so what they mount is readable; the folder around it is not.
mkdir -p secrets/canary secrets/metrics
chmod 755 secrets/canary secrets/metrics
# An earlier setup.sh laid them flat. Another secret would assign every user anew.
for moved in canary_secret:canary/secret canary_admin_token:canary/admin_token canary_metrics_token:metrics/token; do
    if [ -e "secrets/${moved%%:*}" ] && [ ! -e "secrets/${moved##*:}" ]; then
        mv "secrets/${moved%%:*}" "secrets/${moved##*:}"
    fi
done
for name in canary/secret canary/admin_token metrics/token grafana_admin_password; do
    if [ ! -e "secrets/$name" ]; then
        random > "secrets/$name.new"
        chmod 444 "secrets/$name.new"
        mv "secrets/$name.new" "secrets/$name"
    fi
done
echo "The admin token is in deploy/compose/secrets/canary/admin_token,"
echo "Grafana's password in deploy/compose/secrets/grafana_admin_password."
