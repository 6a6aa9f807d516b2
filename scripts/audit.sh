#!/usr/bin/env bash
# Looks up known holes in everything that we install: Python's packages (constraints.txt) with
# pip-audit, Node's (the Worker's and the plugin's build) with npm audit. A service that does not
# answer is named and skipped. Exit 1 if a hole is known, 2 if nobody answered at all.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

asked=0 holes=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

skip() { say "SKIPPED: $*"; }

why() { head -n 1 "$folder/errors" | cut -c1-160; }

# tell_python: what pip-audit's report says. It ends well, with "no known vulnerabilities", when its
# service knows none of the packages: only one with a list of holes, be it empty, was looked up.
tell_python() {
    "$python" -c 'import json, sys
packages = json.load(sys.stdin)["dependencies"]
known = [each for each in packages if "vulns" in each]
print(f"{len(known)} of {len(packages)} packages were looked up")
holes = [(each, hole) for each in known for hole in each["vulns"]]
for each, hole in holes:
    fixed = ", ".join(hole["fix_versions"]) or "nothing yet"
    print(each["name"], each["version"], hole["id"], "mended by", fixed)
sys.exit(3 if holes else 4 if not known else 0)' <"$folder/python"
}

audit_python() {
    local tool=$root/.tools/audit code=0
    need_python
    if [[ ! -x $tool/bin/pip-audit ]]; then
        { "$python" -m venv "$tool" && "$tool/bin/python" -m pip install --quiet --no-input \
            --disable-pip-version-check 'pip-audit>=2.7,<3'; } 2>"$folder/errors" ||
            { skip "pip could not install pip-audit: $(why)" && return; }
    fi
    "$tool/bin/pip-audit" --requirement "$root/constraints.txt" --no-deps --disable-pip \
        --progress-spinner off --format json >"$folder/python" 2>"$folder/errors" || true
    grep -qF '"dependencies"' "$folder/python" || { skip "pip-audit got no answer: $(why)" && return; }
    say 'pip-audit'
    tell_python || code=$?
    case $code in
        0) asked=1 ;;
        3) asked=1 holes=1 ;;
        4) skip 'the service of pip-audit knows none of the packages: it does not answer' ;;
        *) die 'the report of pip-audit cannot be read' ;;
    esac
}

# audit_node NAME FOLDER: as its lock file says; without one, what would be installed today.
audit_node() {
    local copy=$folder/$1
    mkdir "$copy"
    cp "$2"/package*.json "$copy"
    (
        cd "$copy"
        [[ -e package-lock.json ]] ||
            npm install --package-lock-only --ignore-scripts --no-audit --no-fund --silent
        npm audit --json
    ) >"$copy/report" 2>"$folder/errors" || true
    if ! grep -qF auditReportVersion "$copy/report"; then
        skip "npm audit ($1) got no answer: $(why)"
        return
    fi
    asked=1
    say "npm audit ($1)"
    (cd "$copy" && npm audit) || holes=1
}

audit_python
if command -v npm >/dev/null; then
    audit_node worker "$root/cloud_workers/cloudflare"
    audit_node plugin "$root/scripts/amd"
else
    skip 'npm is not installed'
fi

((!holes)) || die 'known holes: see above'
if ((!asked)); then
    say 'nobody answered: nothing was audited'
    exit 2
fi
