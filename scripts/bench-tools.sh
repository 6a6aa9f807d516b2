#!/usr/bin/env bash
# Fetches what `python -m benchmarks smtp` measures beside the sidecar into .tools: smtp-source, its
# ceiling, unpacked from Debian's package and never installed, so no mail server is set up or
# started; and other senders, in a virtual environment of their own. Redis is installed by apt.
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

need_python
peers=$root/.tools/peers
if [[ ! -x $peers/bin/celery ]]; then
    "$python" -m venv "$peers"
    "$peers/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        'django>=5.2,<6' 'django-post-office>=3.9,<4' 'django-mailer>=2.3,<3' 'celery[redis]>=5.4,<6' \
        'mysqlclient>=2.2,<3' || die 'pip could not install the other senders'
fi
command -v redis-server >/dev/null || install_packages redis-server
say "other senders are in .tools/peers"
