# One BMC (openipmi's ipmi_sim) a host. It asks the program `chassis` for the power state and tells it to
# switch; that one does it to the machine for real.

bmc_port() { echo $((LAB_BMC_PORT + $(host_number "$1"))); }

# The identity as the 16 bytes that Get System GUID sends. The last host but one keeps SMBIOS's order (first
# three fields byte-swapped), the last one the order of the IPMI specification (all of it reversed).
wire_guid() { # HOST IDENTITY
  local u=${2//-/} i out=''
  if mixed_guid "$1" && [ "$(host_number "$1")" = "$LAB_HOSTS" ]; then
    for i in $(seq 30 -2 0); do out+=${u:i:2}; done
  else
    for i in 6 4 2 0 10 8 14 12 16 18 20 22 24 26 28 30; do out+=${u:i:2}; done
  fi
  echo "$out"
}

bmc_start() { # HOST [IDENTITY]
  local h=$1 d=$HOSTS/$1/bmc
  mkdir -p "$d"
  alive "$h.bmc" && return 0
  cat >"$d/lan.conf" <<E
name "$h"
set_working_mc 0x20
  startlan 1
    addr $CTRL $(bmc_port "$h")
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user md2 md5 straight
    allowed_auths_operator md2 md5 straight
    allowed_auths_admin md2 md5 straight
    guid $(wire_guid "$h" "${2:-$(host_identity "$h")}")
  endlan
  chassis_control "$LAB/libexec/chassis $h"
  user 1 false "" "" user 10 none md2 md5 straight
  user 2 true "$LAB_BMC_USER" "$LAB_BMC_PASSWORD" admin 10 md2 md5 straight
E
  cat >"$d/sim.emu" <<E
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
E
  start "$h.bmc" ipmi_sim -n -c "$d/lan.conf" -f "$d/sim.emu" -s "$d"
  local i
  for i in $(seq 100); do
    alive "$h.bmc" || break
    grep -q ": [0-9A-F]*:$(printf %04X "$(bmc_port "$h")") " /proc/net/udp /proc/net/udp6 && return 0
    sleep 0.02
  done
  die "the BMC of $h doesn't start, see $LOGS/$h.bmc.log"
}

bmc_stop() { stop "$1.bmc" KILL; }

# Bad manners, one file each; `chassis` reads them at every call.
bmc_quirk() { # HOST NAME VALUE
  mkdir -p "$HOSTS/$1/bmc/quirk"
  echo "$3" >"$HOSTS/$1/bmc/quirk/$2"
}

bmc_normal() { # HOST: good manners, own identity, switched on
  rm -rf "$HOSTS/$1/bmc/quirk"
  if [ -e "$HOSTS/$1/bmc/foreign" ]; then rm -f "$HOSTS/$1/bmc/foreign"; bmc_stop "$1"; fi
  bmc_start "$1"
}

bmc_foreign() { # HOST: answers as if it were another machine's
  : >"$HOSTS/$1/bmc/foreign"
  bmc_stop "$1"
  bmc_start "$1" "deadbeef-dead-beef-dead-$(printf 'beefdead%04x' "$(host_number "$1")")"
}

seconds_or_die() { case $1 in '' | *[!0-9.]*) die "how many seconds? \"$1\" is no number" ;; esac; }

bmc_command() { # HOST COMMAND [VALUE]
  local h=$1
  host_number "$h" >/dev/null || exit 1
  case ${2:-} in
    start) bmc_start "$h" ;;
    stop) bmc_stop "$h" ;;
    normal | right-identity) bmc_normal "$h" ;;
    wrong-identity) bmc_foreign "$h" ;;
    late | slow) seconds_or_die "${3:-}"; bmc_quirk "$h" "$2" "$3" ;;
    says) case ${3:-} in on | off) bmc_quirk "$h" says "$3" ;; truth) rm -f "$HOSTS/$h/bmc/quirk/says" ;; *) die "bmc $h says on|off|truth" ;; esac ;;
    already-off) bmc_quirk "$h" already-off 1 ;;
    *) die "bmc HOST start|stop|late SECONDS|slow SECONDS|says on|off|truth|already-off|wrong-identity|normal" ;;
  esac
}
