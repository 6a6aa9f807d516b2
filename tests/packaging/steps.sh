#!/bin/bash
# Runs in a throw-away copy of this system: installs, upgrades, removes and purges the package.
set -ex
export DEBIAN_FRONTEND=noninteractive
cd /
say() { echo "== $*"; }
force="--force-depends"   # adduser, drivers' libraries: this copy has no network to fetch them
dpkg $force -i /package.deb
say version $(manireports-sidecar --version)
say user $(getent passwd manireports-sidecar)
say etc $(stat -c '%a %U %G' /etc/manireports-sidecar)
say state $(stat -c '%a %U' /var/lib/manireports-sidecar)
say enabled $(ls /etc/systemd/system/multi-user.target.wants | grep -c manireports)
say foreign $(find /opt/manireports-sidecar ! -user root | wc -l) writable $(find /opt/manireports-sidecar -perm /022 ! -type l | wc -l)
say imports $(/opt/manireports-sidecar/bin/python3 -I -c 'import MySQLdb, psycopg, sidecar; print(sidecar.__file__)')
say workers $(/opt/manireports-sidecar/bin/python3 -I -c 'from sidecar.connectors.aws_stack import packed_handler; from sidecar.cli.wrangler import configuration; print(packed_handler()[0], configuration("x", "y", {})["main"])')
say rules $(ls /usr/share/manireports-sidecar/alerts)
say completes $(bash -n /usr/share/bash-completion/completions/manireports-sidecar && echo yes)
say leaks $(grep -rIl "$BUILD_ROOT" /opt/manireports-sidecar /usr/bin/manireports-sidecar 2>/dev/null | wc -l)
# One site by its environment alone, with mail that its sidecar has claimed; another that cannot be reached.
cat "$SITE/environment" >>/etc/manireports-sidecar/environment
echo '# mine' >>/etc/manireports-sidecar/environment
echo 'moodle_dir = "/nonexistent"' >/etc/manireports-sidecar/school.toml
unsent() { /usr/bin/python3 -c "import sqlite3; print(*sqlite3.connect('$SITE/site.db').execute('SELECT COUNT(*) FROM mdl_email WHERE sent IS NULL').fetchone())"; }
say claimed $(unsent)
dpkg $force -i /package.deb </dev/null
say kept $(tail -n 1 /etc/manireports-sidecar/environment)
say mode $(stat -c '%a %U %G' /etc/manireports-sidecar/school.toml)
dpkg -r manireports-sidecar 2>&1 | sed 's/^/remove: /'
say gone $(ls -d /opt/manireports-sidecar 2>/dev/null | wc -l) config $(ls /etc/manireports-sidecar | wc -l)
say unsent $(unsent) state $(ls /var/lib/manireports-sidecar)
dpkg -P manireports-sidecar
say purged $(ls -d /etc/manireports-sidecar /var/lib/manireports-sidecar 2>/dev/null | wc -l)
