#!/usr/bin/env bash
# Runs alexnet_jax.main as N processes on this machine that train one network.
#
#   launch/multiprocess.sh N [ARGS]     no ARGS: --config=configs/default.py
#
# Process I logs to $MULTIPROCESS_LOGS/I.log, by default in a new folder under
# runs/logs; the output of process 0 also appears here. The processes divide the
# GPUs of the machine equally, unless JAX_PLATFORMS=cpu.
#
# The first Ctrl-C or SIGTERM asks all processes to save and stop; a second
# Ctrl-C kills them. The exit code is 0 or 75 if all processes agree on it, else
# that of the first process that failed. After a failure the other processes
# have $MULTIPROCESS_GRACE seconds (30) to exit by themselves; then they get a
# SIGTERM and, after as many seconds again, a SIGKILL.
set -euo pipefail
# shellcheck source=venv.sh
source "$(dirname -- "$(readlink -f -- "$0")")/venv.sh"

pids=() codes=()  # by process number; a code is '' while the process runs
asked='' failed='' deadline=''

main() {
  local count=${1-} i address
  if [[ ! $count =~ ^[1-9][0-9]{0,3}$ ]]; then
    say 'give the number of processes first: launch/multiprocess.sh 2 [ARGS]'
    exit 2
  fi
  shift
  make_venv analysis
  (($#)) || set -- --config="$root/configs/default.py"
  address=127.0.0.1:$(free_port)
  share_gpus "$count"
  logs=${MULTIPROCESS_LOGS:-runs/logs/$(date +%Y%m%d-%H%M%S)-$$}
  mkdir -p -- "$logs"

  trap 'ask_all INT' INT
  trap 'ask_all TERM' TERM HUP
  trap kill_all EXIT
  # If tee died with the terminal, process 0 would die of SIGPIPE.
  exec {screen}> >(
    trap '' INT TERM HUP
    exec tee -- "$logs/0.log"
  )
  screen_pid=$!
  say "$count processes, coordinator at $address, logs in $logs"
  for ((i = 0; i < count; i++)); do
    start "$i" --coordinator="$address" --num_processes="$count" \
      --process_id="$i" "$@"
  done
  exec {screen}>&-
  wait_for_all
  finish
}

free_port() {  # another program may take it first: then run the script again
  "$venv/bin/python" -I -c 'import socket
with socket.socket() as s:
  s.bind(("127.0.0.1", 0))
  print(s.getsockname()[1])'
}

# Sets $gpus[I], the CUDA_VISIBLE_DEVICES of process I; empty without GPUs.
share_gpus() {
  local visible=() each i
  gpus=()
  [[ ${JAX_PLATFORMS-} != cpu ]] || return 0
  if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
    [[ $CUDA_VISIBLE_DEVICES == -1 ]] ||
      IFS=, read -ra visible <<<"$CUDA_VISIBLE_DEVICES"
  elif command -v nvidia-smi >/dev/null; then
    mapfile -t visible < <(nvidia-smi -L | sed -n 's/^GPU \([0-9]*\):.*/\1/p')
  fi
  ((${#visible[@]})) || return 0
  each=$((${#visible[@]} / $1))
  ((each)) || die "$1 processes need $1 GPUs, found ${#visible[@]}: start" \
    'fewer processes, or use the CPU with JAX_PLATFORMS=cpu'
  for ((i = 0; i < $1; i++)); do
    gpus[i]=$(IFS=, && echo "${visible[*]:i * each:each}")
  done
}

start() {
  local i=$1 out
  shift
  [[ -z $asked ]] || return 0  # Ctrl-C came before all had been started
  if ((i)); then exec {out}>"$logs/$i.log"; else out=$screen; fi
  # Job control puts each process into a group of its own, so that Ctrl-C
  # reaches only this script, which passes it on once.
  set -m
  (
    [[ -z ${gpus[i]-} ]] || export CUDA_VISIBLE_DEVICES=${gpus[i]}
    ((i == 0)) || exec {screen}>&-
    PYTHONUNBUFFERED=1 exec "$venv/bin/python" -P -m alexnet_jax.main "$@" \
      >&"$out" 2>&1 </dev/null {out}>&-
  ) &
  pids[i]=$! codes[i]=''
  set +m
  ((i == 0)) || exec {out}>&-
}

# shellcheck disable=SC2329  # traps call it
ask_all() {
  local i
  if [[ $1 == INT && -n $asked ]]; then
    say 'killed: steps after the newest checkpoint are lost'
    kill_all
    exit 130
  fi
  [[ -z $asked ]] || return 0
  asked=$1
  say 'asking all processes to save and stop; Ctrl-C kills them'
  for i in "${!pids[@]}"; do
    # Not SIGINT: a second SIGINT would kill the process.
    [[ -n ${codes[i]} ]] || kill -TERM "${pids[i]}" 2>/dev/null || true
  done
}

wait_for_all() {
  local i running idle
  exec {idle}<> <(:)  # a read from it times out: sleep without a new process
  while true; do
    running=0
    for i in "${!pids[@]}"; do
      [[ -z ${codes[i]} ]] || continue
      if kill -0 "${pids[i]}" 2>/dev/null; then
        running=1
      else
        note_end "$i"
      fi
    done
    ((running)) || break
    if [[ -n $deadline ]] && ((SECONDS >= deadline)); then stop_rest; fi
    read -rt 0.2 -u "$idle" || true
  done
  exec {idle}<&-
}

note_end() {
  local code=0
  wait "${pids[$1]}" 2>/dev/null || code=$?
  codes[$1]=$code
  [[ $code != 0 && $code != 75 && -z $failed ]] || return 0
  failed=$code
  deadline=$((SECONDS + ${MULTIPROCESS_GRACE:-30}))
  say "process $1 exited with code $code; its log is $logs/$1.log"
  # The output of process 0 is on the screen already.
  (($1 == 0)) || tail -n 3 -- "$logs/$1.log" >&2
}

stop_rest() {
  local i
  deadline=$((SECONDS + ${MULTIPROCESS_GRACE:-30}))
  if [[ -n ${stopping-} ]]; then
    say 'killing the remaining processes'
    kill_all
    return
  fi
  stopping=1
  say 'stopping the remaining processes'
  for i in "${!pids[@]}"; do
    [[ -n ${codes[i]} ]] || kill -TERM "${pids[i]}" 2>/dev/null || true
  done
}

kill_all() {
  local i
  for i in "${!pids[@]}"; do  # -PID: the group, with its child processes
    [[ -n ${codes[i]} ]] || kill -KILL -- "-${pids[i]}" 2>/dev/null || true
  done
}

finish() {
  local seen
  wait "$screen_pid" || true  # until the last lines are shown
  [[ -z $failed ]] || exit "$failed"
  seen=$(printf '%s\n' "${codes[@]-75}" | sort -u | xargs)
  case $seen in
    0 | 75) exit "$seen" ;;
  esac
  say 'some processes exited with 0, others with 75: run the same command' \
    'again to resume'
  exit 1
}

main "$@"
