# Two planes, each a bridge with the controller on it. A host is a network namespace with one leg in each,
# made afresh at every power-on: a machine that lost its power has no half-closed connection to finish.
PLANES='management storage'

bridge_of() { case $1 in management) echo nl-mgmt ;; storage) echo nl-stor ;; *) die "unknown plane $1: there are management and storage" ;; esac; }
netns_of() { echo "nl-$1"; }
port_of() { # HOST PLANE: the switch port, the end of the leg that the controller's side sees
  local n
  n=$(host_number "$1") || exit 1
  case $2 in management) echo "nlm$n" ;; storage) echo "nls$n" ;; *) die "unknown plane $2: there are management and storage" ;; esac
}
leg_of() { case $1 in management) echo mgmt0 ;; storage) echo stor0 ;; esac; }
in_net() { local h=$1; shift; nsenter --net="/run/netns/$(netns_of "$h")" "$@"; }
has_net() { [ -e "/run/netns/$(netns_of "$1")" ]; }

bridges_up() {
  local plane br
  for plane in $PLANES; do
    br=$(bridge_of "$plane")
    [ -e "/sys/class/net/$br" ] && continue
    ip link add "$br" type bridge
    # A fixed address: a bridge otherwise takes the lowest of its ports', so its own changes as hosts come and go.
    ip link set "$br" address "02:4e:4c:00:00:0$([ "$plane" = storage ] && echo 2 || echo 1)"
    ip addr add "$([ "$plane" = storage ] && echo $STORAGE || echo $MANAGEMENT).1/24" dev "$br"
    ip link set "$br" up
  done
}

bridges_down() { local plane; for plane in $PLANES; do ip link del "$(bridge_of "$plane")" 2>/dev/null; done; return 0; }

net_up() { # HOST
  local h=$1 ns plane leg
  has_net "$h" && return 0
  ns=$(netns_of "$h")
  ip netns add "$ns"
  ip -n "$ns" link set lo up
  for plane in $PLANES; do
    leg=$(leg_of "$plane")
    # The addresses outlive the namespace, as a network card's does: nobody's ARP cache goes stale.
    ip link add "$(port_of "$h" "$plane")" type veth peer name "$leg" address "$(leg_mac "$h" "$plane")" netns "$ns"
    ip link set "$(port_of "$h" "$plane")" master "$(bridge_of "$plane")"
    ip -n "$ns" addr add "$(plane_address "$h" "$plane")/24" dev "$leg"
    ip -n "$ns" link set "$leg" up
    # A cable that a test pulled stays pulled over a power cycle.
    [ -e "$HOSTS/$h/cut/$plane" ] || ip link set "$(port_of "$h" "$plane")" up
  done
}

leg_mac() { printf '02:4e:4c:00:%02x:%02x\n' "$([ "$2" = storage ] && echo 2 || echo 1)" "$((10 + $(host_number "$1")))"; }

net_silence() { # HOST: every leg down, at once; what dies afterwards can't say goodbye
  local plane
  for plane in $PLANES; do ip link set "$(port_of "$1" "$plane")" down 2>/dev/null; done
  return 0
}

net_down() { # HOST: forget the namespace and its legs
  local plane
  has_net "$1" || return 0
  for plane in $PLANES; do ip link del "$(port_of "$1" "$plane")" 2>/dev/null; done
  ip netns del "$(netns_of "$1")"
}

cut_plane() { # HOST PLANE
  port_of "$1" "$2" >/dev/null || exit 1
  mkdir -p "$HOSTS/$1/cut" && : >"$HOSTS/$1/cut/$2"
  if has_net "$1"; then ip link set "$(port_of "$1" "$2")" down; fi
}

heal_plane() { # HOST PLANE
  port_of "$1" "$2" >/dev/null || exit 1
  rm -f "$HOSTS/$1/cut/$2"
  if has_net "$1"; then ip link set "$(port_of "$1" "$2")" up; fi
}

drop_all() { # HOST: nothing in, nothing out, on either plane
  local c
  for c in INPUT:-i OUTPUT:-o; do
    in_net "$1" iptables -w 5 -C "${c%:*}" ! "${c#*:}" lo -j DROP 2>/dev/null ||
      in_net "$1" iptables -w 5 -I "${c%:*}" ! "${c#*:}" lo -j DROP
  done
}

pass_all() { in_net "$1" iptables -w 5 -F; }
