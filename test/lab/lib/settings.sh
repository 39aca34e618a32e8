# Settings of the lab: sourced by every script of it. Each value can be set from the environment when
# the lab is brought up; a lab that exists keeps what it was brought up with ($RUN/settings).
set -u
LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
RUN=${NINELIVES_LAB:-/tmp/ninelives-lab}
export NINELIVES_LAB=$RUN
CACHE=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ninelives-lab   # schema dumps and the guest, kept over --wipe

binary=${LAB_NINELIVES:-}
if [ -f "$RUN/settings" ]; then . "$RUN/settings"; fi
LAB_NINELIVES=${binary:-${LAB_NINELIVES:-}} # the one that may change: `lab use`, or `up` again
unset binary
LAB_HOSTS=${LAB_HOSTS:-6}                      # fake-driver hosts compute-01..
LAB_API_PROCS=${LAB_API_PROCS:-1}              # uwsgi processes of each API
LAB_REPORT_INTERVAL=${LAB_REPORT_INTERVAL:-5}  # s, nova [DEFAULT] report_interval (Nova's own: 10)
LAB_DOWN_TIME=${LAB_DOWN_TIME:-20}             # s, nova [DEFAULT] service_down_time (Nova's own: 60)
LAB_PASSWORD=${LAB_PASSWORD:-lab-secret}       # one password for everything OpenStack
LAB_BMC_USER=${LAB_BMC_USER:-admin}
LAB_BMC_PASSWORD=${LAB_BMC_PASSWORD:-bmc-secret}   # IPMI 2.0: at most 20 characters
LAB_BMC_PORT=${LAB_BMC_PORT:-6230}             # the BMC of host number N: the controller, UDP LAB_BMC_PORT+N
LAB_NINELIVES=${LAB_NINELIVES:-$RUN/bin/ninelives} # what the hosts run as agent and gate, if it is there

MANAGEMENT=10.77.0                             # planes: the controller is .1, host number N is .(10+N)
STORAGE=10.78.0
CTRL=$MANAGEMENT.1
ETC=$RUN/etc LOGS=$RUN/logs PIDS=$RUN/pids STATE=$RUN/state HOSTS=$RUN/hosts

# Debian's own interpreter and tools only: another Python earlier in PATH breaks the packages' scripts.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
export no_proxy='*' PYTHONDONTWRITEBYTECODE=1

export OS_AUTH_URL=http://$CTRL:5000/v3 OS_USERNAME=admin OS_PASSWORD=$LAB_PASSWORD OS_PROJECT_NAME=admin \
  OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default OS_REGION_NAME=RegionOne \
  OS_IDENTITY_API_VERSION=3 OS_COMPUTE_API_VERSION=2.93

die() { echo "lab: $*" >&2; exit 1; }
root_only() { [ "$(id -u)" = 0 ] || die "the lab makes network namespaces: run it as root"; }

save_settings() {
  local v
  for v in LAB_HOSTS LAB_API_PROCS LAB_REPORT_INTERVAL LAB_DOWN_TIME LAB_PASSWORD LAB_BMC_USER \
    LAB_BMC_PASSWORD LAB_BMC_PORT LAB_NINELIVES; do
    printf '%s=%q\n' "$v" "${!v}"
  done >"$RUN/settings.new"
  mv "$RUN/settings.new" "$RUN/settings"
}

# ---- the hosts and their numbers: compute-01.. are 1.., real-01 and real-02 are 91 and 92
fake_hosts() { local i; for i in $(seq "$LAB_HOSTS"); do printf 'compute-%02d\n' "$i"; done; }
real_hosts() { echo real-01; echo real-02; }
is_real() { case $1 in real-*) return 0 ;; *) return 1 ;; esac; }
# Its nova-compute starts when the product's gate opens (save at a boot with no-gate).
gated() { [ -f "$HOSTS/$1/agent.yaml" ] && [ -x "$LAB_NINELIVES" ]; }
host_number() {
  case $1 in
    compute-[0-9][0-9]) [ $((10#${1#compute-})) -le "$LAB_HOSTS" ] && [ "$1" != compute-00 ] && echo $((10#${1#compute-})) && return ;;
    real-01) echo 91; return ;;
    real-02) echo 92; return ;;
  esac
  die "unknown host $1: the lab has compute-01..$(printf '%02d' "$LAB_HOSTS"), real-01 and real-02"
}
plane_address() { # HOST management|storage
  local net=$MANAGEMENT
  [ "$2" = storage ] && net=$STORAGE
  echo "$net.$((10 + $(host_number "$1")))"
}
# What the host's agent reports as its machine, in the words of dmidecode; its BMC carries the same (bmc.sh).
# It reads the same in each of the three byte orders that BMCs use, save on the last two fake hosts, so
# that a product which knows only one order binds four hosts and shows the others as unbound.
host_identity() {
  local n
  n=$(printf '%02x' "$(host_number "$1")")
  if mixed_guid "$1"; then echo "4c4c45$n-0039-4210-8050-b2c04f3132$n"; else echo "4c$n${n}4c-6161-6262-6262-61614c$n${n}4c"; fi
}
mixed_guid() { ! is_real "$1" && [ "$(host_number "$1")" -gt $((LAB_HOSTS - 2)) ] && [ "$LAB_HOSTS" -gt 2 ]; }
