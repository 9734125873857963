#!/usr/bin/env bash
# Builds Kafka, Redis, OPA, Python, NGINX and Prometheus images of our own, for machines whose Docker engine can pull
# none. Needs root, debootstrap, Maven, Go and an engine on Debian; packages come from where apt, Maven and Go are set up
# to look. Prints SLEEP_TEST_KAFKA_IMAGE=…, and the same for the others (nothing else), on standard output;
# images that exist under the hash of what goes into them are not built again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# shellcheck disable=SC1091
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:?no release name in /etc/os-release}")
hash=$({ echo "$suite" && find . ../services/kafka ../services/opa_program.py -type f -print0 | sort -z | xargs -0 cat; } | sha256sum | cut -c1-12)
base=somabrain-sleep/test-base:$hash
kafka=somabrain-sleep/test-kafka:$hash
redis=somabrain-sleep/test-redis:$hash
opa=somabrain-sleep/test-opa:$hash
python=somabrain-sleep/test-python:$hash
nginx=somabrain-sleep/test-nginx:$hash
prometheus=somabrain-sleep/test-prometheus:$hash

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

exists() { docker image inspect "$@" >/dev/null 2>&1; }

# Where apt finds the main archive of this release, whatever style its sources are written in.
mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' "Created-By: Packages" |
        awk -v suite="$suite" '$2 == suite && $3 == "main" && !found { print $1; found = 1 }'
}

# A minimal Debian that asks the same mirrors in the same way as this machine: sources, keys, proxies, authorities.
build_base() {
    local root=$work/root from
    from=$(mirror)
    debootstrap --variant=minbase "$suite" "$root" "${from:?apt has no archive of $suite}"
    rm -f "$root/etc/apt/sources.list"
    cp -a /etc/apt/. "$root/etc/apt/"
    cp -a /usr/share/keyrings/. "$root/usr/share/keyrings/"
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}/*
    tar -C "$root" --create . | docker import - "$base"
    rm -rf "$root"
}

# build_plain NAME TAG: an image that needs no file.
build_plain() {
    mkdir "$work/$1"
    docker build --network host --build-arg "BASE=$base" --tag "$2" --file "Dockerfile.$1" "$work/$1"
}

build_redis() { build_plain redis "$redis"; }
build_nginx() { build_plain nginx "$nginx"; }
build_prometheus() { build_plain prometheus "$prometheus"; }

build_python() {
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$work/python/ca-certificates.crt"
    docker build --network host --build-arg "BASE=$base" --tag "$python" --file Dockerfile.python "$work/python"
}

stage_kafka() {
    mkdir "$work/kafka"
    cp -r kafka "$work/kafka/"
    cp -r "$(python3 ../services/jars.py)" "$work/kafka/libs"
}

build_kafka() {
    docker build --network host --build-arg "BASE=$base" --tag "$kafka" --file Dockerfile.kafka "$work/kafka"
}

build_opa() {
    local program find='import jars, opa_program; print(opa_program.built_opa(jars.cache_folder()))'
    program=$(cd ../services && python3 -c "$find")
    mkdir "$work/opa"
    cp "$program" "$work/opa/opa"
    docker build --tag "$opa" --file Dockerfile.opa "$work/opa"
}

# Runs the named functions at the same time; where one fails, shows what it said and fails.
together() {
    local name failed=
    local -A children=()
    for name in "$@"; do
        (set -e; "$name") >"$work/$name.log" 2>&1 &
        children[$name]=$!
    done
    for name in "$@"; do
        if ! wait "${children[$name]}"; then
            { echo "images: $name failed:" && tail -n 40 "$work/$name.log"; } >&2
            failed=yes
        fi
    done
    [[ -z $failed ]]
}

if ! exists "$kafka" "$redis" "$opa" "$python" "$nginx" "$prometheus"; then
    if exists "$base"; then
        together stage_kafka build_opa
    else
        together build_base stage_kafka build_opa
    fi
    together build_redis build_kafka build_python build_nginx build_prometheus
fi
echo "SLEEP_TEST_KAFKA_IMAGE=$kafka"
echo "SLEEP_TEST_REDIS_IMAGE=$redis"
echo "SLEEP_TEST_OPA_IMAGE=$opa"
echo "SLEEP_TEST_PYTHON_IMAGE=$python"
echo "SLEEP_TEST_NGINX_IMAGE=$nginx"
echo "SLEEP_TEST_PROMETHEUS_IMAGE=$prometheus"
