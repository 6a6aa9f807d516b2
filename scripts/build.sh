#!/usr/bin/env bash
# Makes every release file in dist/: wheel, sdist, Debian package, the Moodle plugin as a zip, the
# workers of the clouds, alerts and dashboards, units of systemd, and SHA256SUMS. The same commit gives the same bytes:
# times are those of the commit, versions those of constraints.txt. Arguments choose parts.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH PYTHONHASHSEED=0
umask 022
unset PYTHONPATH PYTHONHOME
dist=${DIST:-$root/dist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$dist"
name=manireports-sidecar
# Whom the package names; whoever gives it to others says who they are.
maintainer=${MAINTAINER:-ManiReports maintainers <maintainers@manireports.invalid>}
[[ $maintainer =~ ^[^/\&]+\ \<[^/\&]+@[^/\&]+\>$ ]] || die "MAINTAINER: say it as 'Anna Smith <anna@example.org>'"

# Where the alerts say that the runbooks are: the page that the package installs, or one's own wiki.
runbooks=${RUNBOOK_BASE:-file:///usr/share/doc/$name/docs/runbooks.md}
[[ $runbooks =~ ^[a-z]+://[^[:space:]\|\&\\#]+$ ]] || die "RUNBOOK_BASE: say the whole URL of the page, without #"

need_venv dev
version=$("$venv/bin/python" -c 'import sidecar; print(sidecar.__version__)')

# archive FILE FOLDER NAME...: a zip of NAMEs in FOLDER, sorted, with the commit's time and plain modes.
archive() {
    "$venv/bin/python" "$root/scripts/make_zip.py" "$@"
}

# with_runbooks FOLDER: its alerts lead to the runbooks.
with_runbooks() {
    sed -i "s|^\( *runbook_url: \)docs/runbooks.md#|\1$runbooks#|" "$1"/alerts/*.yml
}

# documents FOLDER: README and docs/ lie there as they do here, so that their links lead somewhere.
documents() {
    mkdir -p "$1/docs"
    cp README.md CHANGELOG.md CONTRIBUTING.md "$1/"
    cp -r docs/. "$1/docs/"
}

# Of the tool that packs Python, so that it does not change between two builds of a commit.
setuptools=80.9.0

python_packages() {
    cp -r pyproject.toml README.md LICENSE sidecar "$work/source"
    # What `aws deploy` and `cloudflare deploy` put into the clouds; not what npm has installed beside it.
    mkdir -p "$work/source/cloud_workers/cloudflare"
    cp -r cloud_workers/aws "$work/source/cloud_workers/"
    (cd cloud_workers/cloudflare && cp -r ./*.js package.json wrangler.json senders "$work/source/cloud_workers/cloudflare/")
    find "$work/source" -name __pycache__ -prune -exec rm -rf {} +
    with_runbooks "$work/source/sidecar/metrics"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-compile \
        --target "$work/tools" "setuptools==$setuptools"
    local kind
    for kind in sdist wheel; do
        (cd "$work/source" && PYTHONPATH=$work/tools "$venv/bin/python" -c "
import sys
from setuptools import build_meta
build_meta.build_$kind(sys.argv[1])" "$work") >"$work/log" 2>&1 || die "$kind: $(tail -n 3 "$work/log")"
    done
    cp "$work/manireports_sidecar-$version-py3-none-any.whl" "$dist/"
    "$venv/bin/python" scripts/make_tar.py "$work/manireports_sidecar-$version.tar.gz" \
        "$dist/manireports_sidecar-$version.tar.gz"
}

plugin() {
    cp -r moodle_plugin "$work/manireports"
    archive "$dist/local_manireports-$version.zip" "$work" manireports
}

workers() {
    archive "$dist/manireports-worker-aws-$version.zip" cloud_workers/aws lambda_handler.py
    # Plain JavaScript without dependencies: what is deployed is the source.
    local scripts
    mapfile -t scripts < <(cd cloud_workers/cloudflare && ls ./*.js)
    archive "$dist/manireports-worker-cloudflare-$version.zip" cloud_workers/cloudflare \
        "${scripts[@]#./}" senders wrangler.json
}

watching() {
    mkdir -p "$work/watching"
    cp -r sidecar/metrics/alerts sidecar/metrics/grafana "$work/watching/"
    with_runbooks "$work/watching"
    documents "$work/watching"
    archive "$dist/manireports-monitoring-$version.zip" "$work/watching" alerts grafana docs
}

# For those whose system takes no Debian package.
units() {
    archive "$dist/manireports-systemd-$version.zip" "$root" systemd
}

debian() {
    local tree=$work/deb opt arch major minor
    opt=$tree/opt/$name
    arch=$(dpkg --print-architecture)
    read -r major minor < <("$system_python" -c 'import sys; print(*sys.version_info[:2])')
    "$system_python" -m venv --without-pip "$opt"
    "$venv/bin/python" -m pip --python "$opt/bin/python" install --quiet --disable-pip-version-check --no-input \
        --no-compile --constraint constraints.txt \
        "$dist/manireports_sidecar-$version-py3-none-any.whl[mysql,postgres]"
    find "$opt" -name RECORD -o -name direct_url.json -o -name INSTALLER -o -name REQUESTED | xargs rm -f
    find "$opt" -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -rf {} +
    # Only our command; its first line names the place where it will be.
    find "$opt/bin" -type f ! -name $name -delete
    find "$opt/bin" -type l ! -name 'python*' -delete
    sed -i "1s|.*|#!/opt/$name/bin/python3 -I|" "$opt/bin/$name"
    sed -i '/^command = /d' "$opt/pyvenv.cfg"
    "$opt/bin/python3" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$tree" -p / "$opt/lib" >/dev/null ||
        die "the packages of $opt cannot be compiled"
    install -d "$tree/usr/bin" "$tree/lib/systemd/system" "$tree/usr/lib/sysusers.d" "$tree/usr/lib/tmpfiles.d" \
        "$tree/etc/$name" "$tree/usr/share/doc/$name" "$tree/usr/share/$name" "$tree/usr/share/bash-completion/completions" "$tree/DEBIAN"
    ln -s "/opt/$name/bin/$name" "$tree/usr/bin/$name"
    install -m 644 systemd/$name.service "systemd/$name@.service" "$tree/lib/systemd/system/"
    install -m 644 systemd/$name.sysusers "$tree/usr/lib/sysusers.d/$name.conf"
    install -m 644 systemd/$name.tmpfiles "$tree/usr/lib/tmpfiles.d/$name.conf"
    install -m 640 systemd/environment.example "$tree/etc/$name/environment"
    documents "$tree/usr/share/doc/$name"
    install -m 644 LICENSE "$tree/usr/share/doc/$name/copyright"
    cp -r sidecar/metrics/alerts sidecar/metrics/grafana "$tree/usr/share/$name/"
    with_runbooks "$tree/usr/share/$name"
    "$venv/bin/python" -m sidecar completion bash >"$tree/usr/share/bash-completion/completions/$name"
    sed -e "s/@MAINTAINER@/$maintainer/; s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@PYTHON@/$major.$minor/; s/@NEXT@/$major.$((minor + 1))/" \
        packaging/debian/control.in >"$tree/DEBIAN/control"
    printf 'Installed-Size: %s\n' "$(du -sk --exclude=DEBIAN "$tree" | cut -f 1)" >>"$tree/DEBIAN/control"
    install -m 644 packaging/debian/conffiles "$tree/DEBIAN/"
    install -m 755 packaging/debian/{postinst,prerm,postrm} "$tree/DEBIAN/"
    (cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
    chmod -R u=rwX,go=rX "$tree/opt" "$tree/usr" "$tree/lib"
    dpkg-deb --root-owner-group "-Z${DEB_COMPRESSION:-xz}" -z1 --build "$tree" "$dist/${name}_${version}_$arch.deb" >/dev/null
}

system_python=/usr/bin/python3
parts=("$@")
((${#parts[@]})) || parts=(python_packages plugin workers watching units debian)
for part in "${parts[@]}"; do
    case $part in
    python_packages | plugin | workers | watching | units | debian) ;;
    *) die "there is no part $part: python_packages, plugin, workers, watching, units, debian" ;;
    esac
    mkdir -p "$work/source"
    "$part"
done
(cd "$dist" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
say "in $dist:"
(cd "$dist" && ls -1sh)
