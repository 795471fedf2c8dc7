#!/usr/bin/env bash
# Runs alexnet_jax.main with the pinned packages, in a .venv made on first use.
#
#   launch/local.sh [ARGS]     no ARGS: --config=configs/default.py
set -euo pipefail
# shellcheck source=venv.sh
source "$(dirname -- "$(readlink -f -- "$0")")/venv.sh"

make_venv analysis
(($#)) || set -- --config="$root/configs/default.py"
# -P: a random.py in the caller's folder must not be the one that is imported.
exec "$venv/bin/python" -P -m alexnet_jax.main "$@"
