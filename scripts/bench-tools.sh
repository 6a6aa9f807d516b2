#!/usr/bin/env bash
# Fetches smtp-source, the ceiling of `python -m benchmarks smtp`, into .tools: unpacked from
# Debian's package, never installed, so no mail server is set up or started.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tools=$root/.tools/postfix
source_program=$tools/usr/sbin/smtp-source

if [[ ! -x $source_program ]]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
        die "needs apt-get and dpkg-deb, to fetch Debian's postfix package"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    say 'fetching the postfix package, without installing it'
    (cd "$folder" && apt-get download -qq postfix 2>/dev/null) ||
        die 'apt-get could not download postfix; run apt-get update first'
    mkdir -p "$tools"
    dpkg-deb --extract "$folder"/postfix_*.deb "$tools"
fi

missing=$(LD_LIBRARY_PATH=$tools/usr/lib/postfix ldd "$source_program" | awk '/not found/ { print $1 }')
[[ -z $missing ]] || die "smtp-source lacks ${missing//$'\n'/, }: install what provides them"
say "smtp-source is in .tools"
