#!/usr/bin/env bash
# Shows the main job on a throw-away site: sets up a venv in .venv, then runs `python -m sidecar.demo`
# with the arguments given. Fresh Debian 12; root or sudo only where python3-venv is missing.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_venv demo
[[ " $* " != *" cloudflare "* && " $* " != *"=cloudflare "* ]] || need_node
exec "$venv/bin/python" -m sidecar.demo "$@"
