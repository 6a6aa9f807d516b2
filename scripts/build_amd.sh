#!/usr/bin/env bash
# Builds the plugin's JavaScript, moodle_plugin/amd/src into amd/build, as Moodle's own grunt would: same tools, same
# versions, same files. Needs node 20 and npm; the tools come from npm, once.
#
#     scripts/build_amd.sh            build
#     scripts/build_amd.sh --check    build elsewhere and say what differs
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
plugin=${MANIREPORTS_PLUGIN:-$here/../moodle_plugin}
tools=$here/amd

case ${1:-} in
'' | --check) ;;
*) echo "usage: ${0##*/} [--check]" >&2 && exit 2 ;;
esac
command -v npm >/dev/null || { echo "${0##*/}: node 20 with npm is needed" >&2 && exit 1; }
if ! cmp -s "$tools/package-lock.json" "$tools/node_modules/.installed"; then
    npm ci --prefix "$tools" --ignore-scripts --no-audit --no-fund --silent
    cp "$tools/package-lock.json" "$tools/node_modules/.installed"
fi

if [[ ${1:-} != --check ]]; then
    exec node "$tools/build.mjs" local_manireports "$plugin" "$plugin/amd/build"
fi
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
node "$tools/build.mjs" local_manireports "$plugin" "$fresh"
diff -rq "$fresh" "$plugin/amd/build" || { echo "${0##*/}: amd/build is not fresh" >&2 && exit 1; }
