#!/bin/sh
# Makes .env and secrets/ with random values. Existing files stay unchanged.
set -eu
cd "$(dirname "$0")"
umask 077

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

if [ ! -e .env ]; then
    sed -e "s/^POSTGRES_PASSWORD=$/POSTGRES_PASSWORD=$(random)/" -e "s/^REDIS_PASSWORD=$/REDIS_PASSWORD=$(random)/" \
        env.example > .env.new
    mv .env.new .env
fi

# Containers read the files as different users, so the mounted files are readable by all; their parent folder is not.
mkdir -p secrets/canary secrets/metrics
chmod 755 secrets/canary secrets/metrics
# Move the files of an earlier setup.sh. A new secret would reassign all users.
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
