#!/usr/bin/env bash
# Runs alexnet_jax.main with the pinned packages; the first run makes .venv.
#
#   launch/local.sh [ARGS]     no ARGS: --config=configs/default.py
set -euo pipefail
# shellcheck source=venv.sh
source "$(dirname -- "$(readlink -f -- "$0")")/venv.sh"

make_venv analysis
(($#)) || set -- --config="$root/configs/default.py"
# -P: do not import from the caller's folder, which may hold a random.py.
exec "$venv/bin/python" -P -m alexnet_jax.main "$@"
