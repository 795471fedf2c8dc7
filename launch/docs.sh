#!/usr/bin/env bash
# Builds the site from the Markdown pages and serves it on this machine alone.
#
#   launch/docs.sh               build/site, at http://127.0.0.1:8000
#   launch/docs.sh --build DIR   builds into DIR, and serves nothing
#
# A warning of Sphinx is an error: a link that leads nowhere, a page that no
# other names. Only installing the packages needs a network.
set -euo pipefail
# shellcheck source=venv.sh
source "$(dirname -- "$(readlink -f -- "$0")")/venv.sh"

site=$root/build/site
(($# == 0)) || [[ $1 == --build && $# == 2 ]] ||
  die 'launch/docs.sh takes no argument, or --build DIR'
(($# == 0)) || site=$(readlink -m -- "$2")
make_venv analysis docs
JAX_PLATFORMS=cpu "$venv/bin/python" -P -m sphinx --fail-on-warning \
  --fresh-env --keep-going --quiet -c "$root/docs/site" -b html \
  -d "$site.doctrees" "$root" "$site" >&2
say "built $site"
(($# == 0)) || exit 0
say 'serving it at http://127.0.0.1:8000; Ctrl-C ends it'
exec "$venv/bin/python" -P -m http.server --bind 127.0.0.1 \
  --directory "$site" 8000
