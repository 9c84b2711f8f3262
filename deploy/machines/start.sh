#!/usr/bin/env bash
# A cluster of machines of one's own: start this one's node, see how it is, stop it. See docs/machines.md.
#
#   start.sh head               start the cluster's head; makes the token if there is none
#   start.sh worker HEAD:6379   join the cluster of a head, from another machine
#   start.sh status             whether the node runs, and the end of its log
#   start.sh stop               stop the node of this machine, and nothing else
#
# Options, after the above:
#   --address OWN        this machine's address in the cluster's network (default: the one towards the head or the world)
#   --no-trials          no trials on this machine, such as on a small head
#   --port N             the first of the cluster's eight ports (6379); a worker's are taken from the head's address
#   --worker-ports A-B   the ports of the processes that work (20000-20999)
#   -- OPTION...         further options of `ray start`, such as --num-gpus 2 or --memory BYTES
#
# In the environment: RAY_AUTH_TOKEN_PATH (~/.ray/auth_token), NEGLORA_BIN (this folder's ../../.venv/bin if it is there,
# else PATH), NEGLORA_NODE (~/.neglora/node: log and process id), NEGLORA_TMP (/tmp).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=${NEGLORA_NODE:-$HOME/.neglora/node}
log=$state/log
if [ -z "${NEGLORA_BIN:-}" ] && [ -x "$here/../../.venv/bin/ray" ]; then
  NEGLORA_BIN=$(cd "$here/../../.venv/bin" && pwd)
  export NEGLORA_BIN
fi
export RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}

fail() {
  echo "start.sh: $*" >&2
  exit 2
}

usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

# The session of the node that runs here; nothing if there is none. A process id alone might be somebody else's by now.
running() {
  local pid
  pid=$(cat "$state/pid" 2>/dev/null) || return 0
  case $(ps -o args= -p "$pid" 2>/dev/null) in *"start.sh keep "*) echo "$pid" ;; esac
}

# This machine's address on the way to another one.
address_towards() {
  local way
  way=$(ip -4 -o route get "$(getent ahostsv4 "$1" | awk 'NR == 1 {print $1}')" 2>/dev/null) || return 1
  sed -n 's/.* src \([0-9.]*\).*/\1/p' <<<"$way"
}

# Runs in a session of its own: the node, and where it is a worker, another one when it has ended.
keep() {
  local node status ended=
  trap 'ended=1; [ -z "${node:-}" ] || kill -TERM "$node" 2>/dev/null || true' TERM INT HUP
  while :; do
    "$here/../node.sh" "$@" &
    node=$!
    status=0
    while kill -0 "$node" 2>/dev/null; do
      wait "$node" && status=0 || status=$?
    done
    if [ -n "$ended" ] || [ "$1" = head ] || [ ! -e "$state/joined" ]; then
      exit "$status"
    fi
    # A node that the head took for dead, after a cut network for example, cannot come back; a new one can.
    echo "start.sh: the node ended ($status); another one joins in 10 seconds"
    sleep 10 &
    wait $! || true
    [ -z "$ended" ] || exit 0
  done
}

start() {
  local role=$1 own=$2 pid
  shift 2
  pid=$(running)
  [ -z "$pid" ] || fail "a node runs here already (process $pid): start.sh stop"
  mkdir -p "$state"
  chmod 700 "$state"
  rm -f "$state/joined"
  : >"$log"
  setsid "${BASH_SOURCE[0]}" keep "$role" "$own" "$@" >>"$log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$state/pid"
  until grep -q "Ray runtime started" "$log"; do
    if ! kill -0 "$pid" 2>/dev/null; then
      tail -n 20 "$log" >&2
      echo "start.sh: the node did not start; the above is the end of $log" >&2
      exit 1
    fi
    sleep 0.5
  done
  touch "$state/joined"
}

stop() {
  local pid
  pid=$(running)
  if [ -z "$pid" ]; then
    echo "no node runs here"
    return
  fi
  kill -TERM "$pid"
  for _ in $(seq 60); do
    pgrep -s "$pid" >/dev/null || break
    sleep 0.5
  done
  # All that the node has started is in its session.
  pkill -KILL -s "$pid" || true
  rm -f "$state/pid"
  echo "the node of this machine is stopped"
}

command=${1:-help}
[ $# -eq 0 ] || shift
head_address=
case $command in
  keep)
    keep "$@"
    exit
    ;;
  stop)
    stop
    exit
    ;;
  status)
    pid=$(running)
    [ -n "$pid" ] && echo "a node runs (process $pid); the end of $log:" || echo "no node runs here"
    [ -z "$pid" ] || tail -n 5 "$log"
    exit
    ;;
  head) ;;
  worker)
    [ $# -gt 0 ] || fail "a worker needs the head's address, such as: start.sh worker 10.0.0.1:6379"
    head_address=$1
    shift
    case $head_address in *:*[0-9]) ;; *) fail "expected HEAD:PORT such as 10.0.0.1:6379, got $head_address" ;; esac
    ;;
  *)
    usage
    [ "$command" = help ] || [ "$command" = --help ] || exit 2
    exit 0
    ;;
esac

own=
port=${head_address##*:}
port=${port:-6379}
worker_ports=20000-20999
options=()
while [ $# -gt 0 ]; do
  case $1 in
    --no-trials) options+=(--num-cpus=0 --num-gpus=0) ;;
    --address | --port | --worker-ports)
      [ $# -gt 1 ] || fail "$1 needs a value"
      case $1 in
        --address) own=$2 ;;
        --port) port=$2 ;;
        --worker-ports) worker_ports=$2 ;;
      esac
      shift
      ;;
    --)
      shift
      options+=("$@")
      break
      ;;
    *) fail "unknown option $1; options of \`ray start\` come after --" ;;
  esac
  shift
done
case $port in '' | *[!0-9]*) fail "expected a number as port, got $port" ;; esac
case $worker_ports in *[0-9]-[0-9]*) ;; *) fail "expected --worker-ports A-B, got $worker_ports" ;; esac

towards=${head_address%:*}
[ -n "$own" ] || own=$(address_towards "${towards:-192.0.2.1}") || true
[ -n "$own" ] || fail "this machine's address is not clear; give it with --address"

if [ "$command" = head ] && [ ! -e "$RAY_AUTH_TOKEN_PATH" ]; then
  mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")"
  (umask 077 && head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")
  echo "made a token for the cluster in $RAY_AUTH_TOKEN_PATH"
fi

fixed=(
  --node-manager-port=$((port + 1))
  --object-manager-port=$((port + 2))
  --dashboard-agent-grpc-port=$((port + 3))
  --dashboard-agent-listen-port=$((port + 4))
  --runtime-env-agent-port=$((port + 5))
  --metrics-export-port=$((port + 6))
  --min-worker-port="${worker_ports%-*}"
  --max-worker-port="${worker_ports#*-}"
)
if [ "$command" = head ]; then
  start head "$own" --port="$port" --ray-client-server-port=$((port + 7)) "${fixed[@]}" "${options[@]}"
  cat <<TOLD
The head runs at $own:$port. On every other machine, with the same token file (mode 600):
  scp $RAY_AUTH_TOKEN_PATH MACHINE:.ray/auth_token
  deploy/machines/start.sh worker $own:$port
Then here, with a storage that all machines share:
  RAY_AUTH_MODE=token neglora run SPACE.yaml --address $own:$port --storage DIR_OR_URI
TOLD
else
  start worker "$own" "$head_address" "${fixed[@]}" "${options[@]}"
  echo "This machine ($own) has joined the cluster at $head_address."
fi
