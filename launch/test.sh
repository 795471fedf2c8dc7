#!/usr/bin/env bash
# Runs pytest with the pinned packages; the first run makes .venv.
#
#   launch/test.sh [ARGS]     no path in ARGS: all of tests/
#   launch/test.sh --quick    the operations, the update, configs and pages
set -euo pipefail
# shellcheck source=venv.sh
source "$(dirname -- "$(readlink -f -- "$0")")/venv.sh"

make_venv analysis dev export
data=$(dirname -- "$root")/shared/data
if [[ -z ${ALEXNET_JAX_TEST_DATA+set} && -d $data ]]; then
  export ALEXNET_JAX_TEST_DATA=$data
fi

# Each process of the tests would compile every module again.
unset PYTHONDONTWRITEBYTECODE
# All tests take three processes, a file of tests each: on two cores, as many
# tests wait for processes of their own. Each needs 2.5 GB of memory.
# tests/conftest.py says in what order. NumPy's threads would only wait.
export OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
# Large pages, where the kernel gives them: compiling takes 5 to 15 % less time.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}
all=(--numprocesses=3 --dist=loadfile --no-loadscope-reorder "$root/tests")
if [[ ${1:-} == --quick ]]; then
  shift
  all=(--numprocesses=2 --dist=loadfile)
  for name in paper lrn pool conv local alexnet sgd plateau schedule augment \
    metrics steps config ablations records stats synthetic health log cli \
    docs reference blocks architecture; do
    all+=("$root/tests/test_$name.py")
  done
fi
for arg; do
  [[ ! -e ${arg%%::*} ]] || all=()
done
exec "$venv/bin/python" -P -m pytest --rootdir="$root" \
  -c "$root/pyproject.toml" ${all[@]+"${all[@]}"} "$@"
