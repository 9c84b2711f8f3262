#!/usr/bin/env bash
# One Ray node in the foreground, until it is told to stop (SIGTERM); Slurm jobs and machines of one's own share it.
#
#   node.sh head   OWN_ADDRESS            [options of `ray start`]
#   node.sh worker OWN_ADDRESS HEAD:PORT  [options of `ray start`]
#
# In the environment:
#   RAY_AUTH_TOKEN_PATH  the file with the cluster's token, readable by its owner alone. It is never shown.
#   NEGLORA_BIN          the folder of `ray` and `neglora`; without it they are looked for in PATH
#   NEGLORA_TMP          where the node's temporary folder is made (/tmp). Keep it short: sockets below it may have a
#                        path of 107 bytes.
# At the end nothing of the node is left: its processes and its temporary folder are its own. (`ray stop` would stop every
# Ray of the user on the machine.)
set -euo pipefail

fail() {
  echo "node.sh: $*" >&2
  exit 2
}

[ $# -ge 2 ] || fail "expected: node.sh head OWN_ADDRESS, or node.sh worker OWN_ADDRESS HEAD:PORT"
role=$1
own=$2
shift 2

token=${RAY_AUTH_TOKEN_PATH:-}
[ -n "$token" ] || fail "RAY_AUTH_TOKEN_PATH is not set; it names the file with the cluster's token"
[ -s "$token" ] && [ -r "$token" ] || fail "there is no token in $token on $(hostname); copy the head's file there"
case $(stat -L -c %a "$token") in
  600 | 400) ;;
  *) fail "others may read the token in $token: chmod 600 $token" ;;
esac

ray=${NEGLORA_BIN:+$NEGLORA_BIN/}ray
command -v "$ray" >/dev/null || fail "there is no $ray on $(hostname); NEGLORA_BIN names the folder that has it"

case $role in
  head) part=(--head --include-dashboard=true --dashboard-host=127.0.0.1) ;;
  worker)
    [ $# -ge 1 ] || fail "a worker needs the head's address, such as 10.0.0.1:6379"
    part=(--address="$1")
    shift
    ;;
  *) fail "expected head or worker, got $role" ;;
esac

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# Else a node that is told to stop waits 30 s for its work, after which Slurm kills it; what it tried runs again elsewhere.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=${RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S:-0}
# A token in the environment would count before the file, and other users may see it.
unset RAY_AUTH_TOKEN

# The default takes 30 % of the memory; what goes between nodes of a study are single models.
memory=$(($(awk '/^MemTotal:/ {print $2}' /proc/meminfo) * 1024))
shared=$(df --output=avail -B1 /dev/shm 2>/dev/null | tail -n 1 || true)
store=$((memory / 10 < 2000000000 ? memory / 10 : 2000000000))
[ -z "$shared" ] || store=$((shared * 8 / 10 < store ? shared * 8 / 10 : store))
store=$((store > 80000000 ? store : 80000000))

# Made with mode 700: nobody else can put anything there.
folder=$(mktemp -d "${NEGLORA_TMP:-/tmp}/neglora-XXXXXX")
node=
# shellcheck disable=SC2329
end() {
  # `ray start` leads a process group, in which all that it starts is.
  [ -z "$node" ] || kill -KILL -- "-$node" 2>/dev/null || true
  rm -rf "$folder"
}
trap end EXIT
told=
trap 'told=1; [ -z "$node" ] || kill -TERM "$node" 2>/dev/null || true' TERM INT HUP

# Ray gives up a node that takes more than 30 s, which the first look at files of a busy or shared file system may take;
# so a second one is started where the first did not come up.
status=1
for attempt in 1 2; do
  # A group of its own from the start, so that `end` holds before Ray has made it one.
  set -m
  "$ray" start --block "${part[@]}" --node-ip-address="$own" --temp-dir="$folder" --object-store-memory="$store" "$@" \
    </dev/null &
  node=$!
  set +m
  while kill -0 "$node" 2>/dev/null; do
    # A signal ends the wait before the node has ended.
    wait "$node" && status=0 || status=$?
  done
  # Ray writes this file once the node is up.
  if [ -n "$told" ] || [ -e "$folder/ray_current_cluster" ] || [ "$attempt" = 2 ]; then break; fi
  kill -KILL -- "-$node" 2>/dev/null || true
  rm -rf "${folder:?}"/*
  echo "node.sh: the node did not start ($status); one more attempt"
done
# Ray's own code for having been told to stop is 1.
[ -z "$told" ] || status=0
exit "$status"
