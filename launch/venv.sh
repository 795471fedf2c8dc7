# shellcheck shell=bash
# Sourced by local.sh and test.sh: `make_venv EXTRA...` returns at once when
# $root/.venv holds the base packages and these extras, and else installs them.
#
# The names come from pyproject.toml, the versions from requirements.lock: pins
# without hashes, because pip takes no hashes in constraints and one file with
# every extra beats one a set. The package itself is not installed: PYTHONPATH
# finds it, so pip needs no build backend and the working tree is what runs.

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
  # The driver is looked for, not asked: nvidia-smi alone takes a second.
  if [[ -e /proc/driver/nvidia/version ]] || command -v nvidia-smi >/dev/null
  then
    set -- "$@" cuda12
  fi
  up_to_date "$@" && return
  (
    trap 'exit 130' INT  # pip turns Ctrl-C into a plain failure
    # Who had to wait for another installer finds the work done.
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
  # What is there stays: local.sh must not undo what test.sh has added.
  extras=$(tr ' ' '\n' <<<"$made_with $*" | sort -u | xargs)
  say "installing the pinned packages${extras:+, with those for $extras}"
  : >"$stamp"
  if ! requirements "$extras" | pip_install; then
    # pip rolls back what it replaced, so an older install still serves.
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
    die "$venv is not from here: move it away, then run this again"
  find_python
  say "making .venv with $("$python" --version), once: this takes minutes"
  rm -rf -- "$venv"
  if ! { mkdir -- "$venv" && : >"$stamp" &&
    "$python" -I -m venv "$venv" >&2; }; then
    die "$python could not make $venv, see above: check permissions and disk"
  fi
}

# Sets $python. The pins have wheels for 3.11 to 3.14.
find_python() {
  local choices=(python3 python3.13 python3.12 python3.11 python3.14)
  [[ -z ${PYTHON:-} ]] || choices=("$PYTHON")
  for python in "${choices[@]}"; do
    "$python" -c 'import sys; assert (3, 11) <= sys.version_info < (3, 15)' \
      2>/dev/null || continue
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
      die "$python cannot make a venv: apt install python3-venv" \
        "(or $("$python" -c 'import sys; print("python%d.%d-venv" %
          sys.version_info[:2])'))"
    return
  done
  die "${PYTHON:-python3} is not Python 3.11 to 3.14: install one and name" \
    'it, as in PYTHON=python3.13'
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
