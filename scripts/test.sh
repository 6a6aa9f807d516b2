#!/usr/bin/env bash
# Sets up what the tests need and runs lint, types, import rules and all tests, with each stage's
# time. Arguments go to pytest. Fresh Debian 12, as root or with sudo; starts no service.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

missing=()

# need PACKAGE COMMAND...: notes the package as missing if the command fails.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has_headers() {
    "$python" -c 'import pathlib, sysconfig as s; open(pathlib.Path(s.get_path("include"), "Python.h"))'
}

has_php() { php -r "exit(extension_loaded('$1') ? 0 : 1);"; }

set_up() {
    need_python
    need gcc command -v gcc
    need libc6-dev test -e /usr/include/stdio.h
    need pkg-config command -v pkg-config
    need libmariadb-dev pkg-config --exists libmariadb
    need "$python-dev" has_headers
    need mariadb-server command -v mariadbd
    need postgresql compgen -G "/usr/lib/postgresql/*/bin/postgres"
    need prometheus command -v promtool
    need systemd command -v systemd-analyze
    need adduser command -v adduser
    need libfaketime compgen -G "/usr/lib/*/faketime/libfaketime.so.1"
    need php-cli command -v php
    need php-mysql has_php mysqli
    need php-xml has_php dom
    need php-mbstring has_php mbstring
    need phpunit command -v phpunit
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
    has_headers 2>/dev/null || die "the C headers of $(command -v "$python") are missing"
    need_venv dev
    need_node
}

# stage NAME COMMAND...
stage() {
    local name=$1 start=$SECONDS
    shift
    say "$name"
    "$@" || die "$name failed after $((SECONDS - start)) s"
    say "$name: $((SECONDS - start)) s"
}

stage set-up set_up
stage 'ruff check' "$venv/bin/ruff" check
stage 'ruff format --check' "$venv/bin/ruff" format --check
stage mypy "$venv/bin/mypy"
stage lint-imports "$venv/bin/lint-imports"
stage 'Worker on workerd (node --test)' node --test "$worker"/test/*.test.js
unset PYTHONDONTWRITEBYTECODE # hundreds of daemons start: each would compile the package anew
say pytest # the last: its own summary, with its time, ends the output
# Many tests wait for timers and servers: two processes more than there are cores.
"$venv/bin/pytest" -n "$(($(nproc) + 2))" --dist worksteal "$@" || die "pytest failed"
