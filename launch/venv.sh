# shellcheck shell=bash
# Sourced by the other scripts. `make_venv EXTRA...` installs the base packages
# and these extras into $root/.venv, or returns at once if they are there.
#
# pyproject.toml names the packages and requirements.lock their versions. The
# lock has no hashes: pip accepts none in a constraints file, and as constraints
# one lock serves every set of extras. The package itself is not installed but
# found through PYTHONPATH: pip needs no build backend, and edits take effect.

root=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
venv=$root/.venv
stamp=$venv/launch.stamp  # empty while an install is under way

export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}  # configs import configs

say() { printf 'launch: %s\n' "$*" >&2; }

die() {
  say "$@"
  exit 1
}

make_venv() {
  # Only look whether a driver is there: to run nvidia-smi takes a second.
  if [[ -e /proc/driver/nvidia/version ]] || command -v nvidia-smi >/dev/null
  then
    set -- "$@" cuda12
  fi
  up_to_date "$@" && return
  (
    trap 'exit 130' INT  # pip turns Ctrl-C into a plain failure
    # The other install may have left nothing to do.
    if command -v flock >/dev/null && ! flock --nonblock 9; then
      say 'waiting for another install to finish'
      flock 9
    fi
    up_to_date "$@" || install "$@"
  ) 9>>"$root/.venv.lock"
}

up_to_date() {
  local extra
  read_stamp
  is_sound && [[ $made_from == "$(sources)" ]] || return 1
  for extra; do
    [[ " $made_with " == *" $extra "* ]] || return 1
  done
}

read_stamp() {
  made_at='' made_from='' made_with=''
  [[ ! -r $stamp ]] || {
    IFS= read -r made_at && read -r made_from && read -r made_with
  } <"$stamp" || true
}

# A moved checkout breaks the paths in .venv/bin, another Python its packages.
place() { printf '%s with %s' "$root" "$(readlink -f -- "$venv/bin/python")"; }

sources() { cat "$root/requirements.lock" "$root/pyproject.toml" | cksum; }

is_sound() {
  [[ -x $venv/bin/python && $made_at == "$(place)" ]] || return 1
  [[ -z ${PYTHON:-} ]] || [[ $made_at == "$root with $("$PYTHON" -c \
    'import os, sys; print(os.path.realpath(sys.executable))' 2>/dev/null)" ]]
}

install() {
  local extras old_stamp='' start=$SECONDS
  if is_sound; then old_stamp=$(<"$stamp"); else new_venv; fi
  # Keep the extras already there: local.sh must not drop those of test.sh.
  extras=$(tr ' ' '\n' <<<"$made_with $*" | sort -u | xargs)
  say "installing the pinned packages${extras:+ and the extras $extras}"
  : >"$stamp"
  if ! requirements "$extras" | pip_install; then
    # pip rolls back what it replaced, so the older install still works.
    [[ -z $old_stamp ]] || printf '%s\n' "$old_stamp" >"$stamp"
    die 'pip failed, see above: check network and disk, then run this again'
  fi
  printf '%s\n' "$(place)" "$(sources)" "$extras" >"$stamp.new"
  mv -- "$stamp.new" "$stamp"
  say "ready after $((SECONDS - start)) s"
}

new_venv() {
  local python
  [[ ! -e $venv/pyvenv.cfg || -e $stamp ]] ||
    die "launch/ did not make $venv: move it away, then run this again"
  find_python
  say "making .venv with $("$python" --version), once: this takes minutes"
  rm -rf -- "$venv"
  if ! { mkdir -- "$venv" && : >"$stamp" &&
    "$python" -I -m venv "$venv" >&2; }; then
    die "$python could not make $venv, see above: check permissions and disk"
  fi
}

# Sets $python: $PYTHON, else the newest from 3.14 to 3.11 that can make a venv.
# 3.11 gets the last jax that supports it: see requirements.lock.
find_python() {
  local minor choices broken=()
  for minor in 14 13 12 11; do
    choices=("python3.$minor" python3)
    [[ -z ${PYTHON:-} ]] || choices=("$PYTHON")
    for python in "${choices[@]}"; do
      # Run it: a pyenv shim exists even where its Python is switched off.
      "$python" -I -c "import sys; assert sys.version_info[:2] == (3, $minor)" \
        &>/dev/null || continue
      ! "$python" -I -c 'import ensurepip, venv' &>/dev/null || return 0
      broken+=("$python cannot make a venv: apt install python3.$minor-venv")
    done
  done
  ((!${#broken[@]})) || die "${broken[0]}"
  [[ -z ${PYTHON:-} ]] || die "$PYTHON is not Python 3.11 to 3.14"
  die 'found no Python 3.11 to 3.14: install one, or name one that is not on' \
    'PATH, as in PYTHON=/opt/python3.13/bin/python3'
}

requirements() {
  "$venv/bin/python" -I - "$root/pyproject.toml" "$1" <<'EOF'
import sys, tomllib
with open(sys.argv[1], 'rb') as file:
  project = tomllib.load(file)['project']
print(*project['dependencies'], sep='\n')
for extra in sys.argv[2].split():
  print(*project['optional-dependencies'][extra], sep='\n')
EOF
}

# Isolated (-I): packages on the caller's PYTHONPATH do not count as installed.
pip_install() {
  local quiet=''
  [[ -t 2 ]] || quiet=--quiet
  PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0 "$venv/bin/python" -I -m pip \
    install ${quiet:+"$quiet"} --no-input \
    --constraint "$root/requirements.lock" --requirement /dev/stdin >&2
}
