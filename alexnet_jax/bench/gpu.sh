#!/usr/bin/env bash
# Measures on one GPU what this project says about GPUs, in ten minutes.
#
#   alexnet_jax/bench/gpu.sh [WHEELS]
#   alexnet_jax/bench/gpu.sh --small    tries this script on a CPU, in small
#
# In order: tests marked gpu and the network beside PyTorch's numbers; training
# steps of both kernels and PyTorch, in turns; a trace of ten steps; ten views;
# steps fed from raw records. Rows go to bench/results, what was printed and the
# trace to $OUT. What fails, or has no time left, is named at the end.
#
# PYTHON, python3 if not given, has jax for CUDA, flax, optax, orbax and numpy.
# Anything else that it lacks is in WHEELS, made where there is a network by
#
#   python3 -m pip download --no-deps --only-binary=:all: --dest=WHEELS \
#     --python-version=3.12 --platform=manylinux_2_28_x86_64 \
#     --platform=manylinux_2_17_x86_64 -r alexnet_jax/bench/gpu.txt
#
# TORCH_PYTHON has PyTorch; if not given it is PYTHON, where that has it. LIMIT is
# the time for all of it, 600 seconds.
set -euo pipefail

here=$(dirname -- "$(readlink -f -- "$0")")
root=$(dirname -- "$(dirname -- "$here")")
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python3}
out=${OUT:-$(mktemp -d "${TMPDIR:-/tmp}/gpu-XXXXXX")}
limit=${LIMIT:-600}
small=
[[ ${1:-} != --small ]] || { small=yes && shift; }
mkdir -p "$out"
SECONDS=0
left_out=()

main() {
  if (($#)); then
    # Not a virtual environment: it would not see the packages of another.
    "$python" -m pip install --quiet --no-index --no-deps \
      --target="$out/packages" --find-links="$1" -r "$here/gpu.txt"
    export PYTHONPATH=$PYTHONPATH:$out/packages
  fi
  if has torch; then : "${TORCH_PYTHON:=$python}"; fi
  settings
  try 100 tests JAX_DEFAULT_MATMUL_PRECISION=highest "$python" -P -m pytest \
    --rootdir="$root" -c "$root/pyproject.toml" -q -p no:cacheprovider \
    -k 'a_gpu_computes or one_device' "$root/tests/test_pallas.py" \
    "$root/tests/test_golden.py::test_logits_loss_and_gradients_are_those_of_pytorch"
  step bfloat16 "${sizes[1]}"
  step float32 "${sizes[0]}"
  if has grain; then
    try 90 trace "$python" -P -m alexnet_jax.main "${net[@]}" --profile=5:14 \
      --workdir="$out/run" --config.data.source=embedded \
      --config.total_steps=20 --config.eval.every_epochs=99 \
      --config.checkpoint.every_epochs=99 --config.eval.final_views=1 \
      --config.report.at_end=False
  else
    left_out+=('trace: grain is not there')
  fi
  measure 80 eval --what=eval --dtype=bfloat16 --batch_size="${sizes[1]}"
  if has grain && has array_record && has simplejpeg && has PIL; then
    draw_images "$out/images"
    measure 90 end_to_end --what=end_to_end --source="$out/images" \
      --images="$images" --dtype=bfloat16 --batch_size="${sizes[1]}"
  else
    left_out+=('end_to_end: grain, array_record, simplejpeg or PIL is not there')
  fi
  step bfloat16 "${sizes[0]}"
  step bfloat16 "${sizes[2]}"
  step float32 "${sizes[1]}"
  step float32 "${sizes[2]}"
  summary
}

settings() {
  kernels=xla,pallas mode=compile images=4096
  net=(--config=throughput)
  sizes=(128 512 1024)
  rounds=(--seconds=2 --rounds=4 --save)
  if [[ $small ]]; then
    kernels=xla mode=eager images=256
    net=(--config=smoke --config.data.image_size=256)
    sizes=(4 8 16)
    rounds=(--seconds=0.1 --rounds=2)
  fi
}

has() { "$python" -P -c "import $1" 2>/dev/null; }

step() {  # DTYPE IMAGES
  measure 150 "step-$1-$2" --what=step --kernels="$kernels" --dtype="$1" \
    --batch_size="$2"
}

measure() {  # SECONDS NAME FLAGS...
  local seconds=$1 name=$2 peer=()
  shift 2
  if [[ ${TORCH_PYTHON:-} && $name != end_to_end ]]; then
    peer=(--torch_python="$TORCH_PYTHON"
      --peer_forms="channels_last/$mode/shifts")
  fi
  try "$seconds" "$name" "$python" -P -m alexnet_jax.tools.bench "${net[@]}" "$@" \
    --mesh=1x1 "${rounds[@]}" ${peer[@]+"${peer[@]}"}
}

try() {  # SECONDS NAME [VARIABLE=VALUE] COMMAND...
  local most=$(($1 < limit - SECONDS ? $1 : limit - SECONDS)) name=$2
  shift 2
  if ((most < 20)); then
    left_out+=("$name: no time left")
    return
  fi
  printf '%4d s  %s\n' "$SECONDS" "$name" >&2
  local code=0
  (cd "$root" && exec timeout --kill-after=10 "$most" env "$@") \
    >"$out/$name.txt" 2>"$out/$name.err" || code=$?
  case $code in
    0) ;;
    124 | 137) left_out+=("$name: not done after $most s") ;;
    *) left_out+=("$name: exit code $code, see $out/$name.err") ;;
  esac
}

draw_images() {
  "$python" -P - "$1" <<'EOF'
import pathlib, sys
import numpy as np
from PIL import Image
rng = np.random.default_rng(0)
for split in ('train', 'val'):
  for label in ('a', 'b'):
    folder = pathlib.Path(sys.argv[1], split, label)
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(16):
      coarse = rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)
      image = Image.fromarray(coarse).resize((500, 400), Image.BICUBIC)
      image.save(folder / f'{n}.jpg', quality=90)
EOF
}

summary() {
  local file line
  for file in "$out"/*.txt; do
    printf '\n%s\n' "$(basename -- "$file" .txt)"
    tail -n 8 -- "$file"
  done
  printf '\n%d s in all; everything is in %s\n' "$SECONDS" "$out"
  for line in ${left_out[@]+"${left_out[@]}"}; do
    printf 'left out: %s\n' "$line"
  done
  ((${#left_out[@]} == 0))
}

main "$@"
