# Daemons without a service manager. A pid file holds "PID STARTTIME": a recycled pid is never taken for
# the daemon, let alone killed.

start_time() { # PID: field 22 of its stat, counted after the command name, which may contain blanks
  local s
  read -r s 2>/dev/null <"/proc/$1/stat" || return 1
  set -- ${s##*) }
  [ "$1" != Z ] && echo "${20}"
}

alive() { # NAME
  local p s
  read -r p s 2>/dev/null <"$PIDS/$1" || return 1
  [ "$(start_time "$p")" = "$s" ]
}

pid_of() { local p s; alive "$1" && read -r p s <"$PIDS/$1" && echo "$p"; }

# start NAME COMMAND...: in a session of its own, all inherited descriptors but its log closed. (Whoever
# inherits ipmi_sim's socket keeps its UDP port; whoever inherits a lock file keeps the lock.)
start() {
  local n=$1 p
  shift
  alive "$n" && return 0
  (
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      if [ "$fd" -gt 2 ]; then eval "exec $fd>&-"; fi
    done 2>/dev/null
    exec setsid "$@" </dev/null >>"$LOGS/$n.log" 2>&1
  ) &
  p=$!
  echo "$p $(start_time "$p")" >"$PIDS/$n"
}

stop() { # NAME [SIGNAL]: signal its process group, wait 10 s, then -9
  local p i
  p=$(pid_of "$1") || { rm -f "$PIDS/$1"; return 0; }
  kill "-${2:-TERM}" -- "-$p" 2>/dev/null || kill "-${2:-TERM}" "$p" 2>/dev/null
  for i in $(seq 200); do alive "$1" || break; sleep 0.05; done
  if alive "$1"; then kill -9 -- "-$p" 2>/dev/null; fi
  kill -9 -- "-$p" 2>/dev/null # workers that outlived their master
  rm -f "$PIDS/$1"
}

wait_port() { # ADDRESS PORT SECONDS
  local i
  for i in $(seq $(($3 * 10))); do
    (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null && return 0
    sleep 0.1
  done
  die "nothing listens on $1:$2 after $3 s, see $LOGS"
}

wait_http() { # URL SECONDS: any answer that isn't a server error
  local i code=none
  for i in $(seq $(($2 * 5))); do
    code=$(curl -s -o /dev/null -m 10 -w '%{http_code}' "$1")
    case $code in 2* | 300 | 401) return 0 ;; esac
    sleep 0.2
  done
  die "no good answer from $1 after $2 s (last: $code), see $LOGS"
}
