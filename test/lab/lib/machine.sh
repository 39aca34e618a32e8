# A machine: everything that runs in one network namespace, under a pid 1 of its own (libexec/machine-init).
# Power is the truth of that pid 1: while it lives the machine is on.

powered() { alive "$1.machine"; }
machine_pids() { has_net "$1" && ip netns pids "$(netns_of "$1")" 2>/dev/null; }
boot_of() { cat "$HOSTS/$1/boot_id" 2>/dev/null; }

# One switch at a time. Whoever waits for the lock longer than 60 s says so.
with_lock() { # HOST FUNCTION ARGS...
  local h=$1
  shift
  mkdir -p "$HOSTS/$h"
  (
    flock -w 60 9 || die "$h is being switched by somebody else for 60 s"
    "$@"
  ) 9>"$HOSTS/$h/lock"
}

power() { # HOST on|off|reset|reboot [no-gate]
  echo "$(date -u +%FT%T.%3NZ) power $2 ${3:-}" >>"$LOGS/$1.power.log"
  case $2 in
    on) with_lock "$1" machine_on "$1" "${3:-}" ;;
    off) with_lock "$1" machine_off "$1" ;;
    reset) with_lock "$1" machine_off "$1" && with_lock "$1" machine_on "$1" "${3:-}" ;;
    reboot) with_lock "$1" machine_reboot "$1" "${3:-}" ;;
  esac
}

machine_on() { # HOST [no-gate]
  local h=$1
  powered "$h" && return 0
  net_up "$h"
  boot "$h" "${2:-}"
}

boot() { # HOST [no-gate]: begins; the machine's own init goes on from here
  local h=$1
  mkdir -p "$HOSTS/$h" "$LOGS/$h"
  cat /proc/sys/kernel/random/uuid >"$HOSTS/$h/boot_id"
  rm -f "$HOSTS/$h/frozen" "$HOSTS/$h/hung" "$HOSTS/$h/gate"
  # The mounts stay a slave of the outside's: a namespace that is unmounted there goes here too.
  start "$h.machine" nsenter --net="/run/netns/$(netns_of "$h")" unshare --mount --uts --pid --fork --kill-child \
    --propagation slave --mount-proc "$LAB/libexec/machine-init" "$h" "${2:-}"
}

kill_all() { # HOST: -9 to all in the namespace until nobody is left; the namespace's pid 1 takes its children along
  local h=$1 i pids
  for i in $(seq 200); do
    pids=$(machine_pids "$h")
    [ -z "$pids" ] && break
    kill -9 $pids 2>/dev/null
    sleep 0.02
  done
  [ -z "$pids" ] || die "$h: processes that -9 doesn't end: $pids"
  while alive "$h.machine"; do sleep 0.01; done
  rm -f "$PIDS/$h.machine"
}

machine_off() {
  has_net "$1" || return 0
  net_silence "$1"
  kill_all "$1"
  net_down "$1"
  rm -f "$HOSTS/$1/frozen" "$HOSTS/$1/hung"
}

machine_reboot() { # the links stay up, as on a machine that resets itself
  powered "$1" || die "$1 is off"
  kill_all "$1"
  pass_all "$1"
  boot "$1" "${2:-}"
}

signal_all() { # HOST STOP|CONT: pid 1 of the namespace first, again while new processes appear
  local h=$1 i pids before=''
  for i in 1 2 3 4 5; do
    pids=$(machine_pids "$h")
    kill "-$2" $pids 2>/dev/null
    [ "$pids" = "$before" ] && return 0
    before=$pids
  done
}

freeze() { powered "$1" || die "$1 is off"; drop_all "$1"; signal_all "$1" STOP; : >"$HOSTS/$1/frozen"; }
thaw() { powered "$1" || die "$1 is off"; pass_all "$1"; signal_all "$1" CONT; rm -f "$HOSTS/$1/frozen" "$HOSTS/$1/hung"; }
hang() { powered "$1" || die "$1 is off"; signal_all "$1" STOP; : >"$HOSTS/$1/hung"; }

machine_state() {
  if ! powered "$1"; then echo off
  elif [ -e "$HOSTS/$1/frozen" ]; then echo frozen
  elif [ -e "$HOSTS/$1/hung" ]; then echo hung
  else echo on; fi
}

# inside HOST COMMAND...: as a process of that machine, seeing its network, its processes, its boot id
inside() {
  local h=$1 p
  shift
  p=$(pid_of "$h.machine") || die "$h is off"
  p=$(pgrep -P "$p") || die "$h is off"
  exec nsenter -t "$p" --mount --uts --pid --net "$@"
}
