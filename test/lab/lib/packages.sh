# What the lab needs of Debian 12, and how to install it without a single daemon being started.

lab_packages() {
  echo keystone placement-api glance-api neutron-server nova-api nova-conductor nova-scheduler \
    nova-compute nova-compute-kvm mariadb-server rabbitmq-server memcached uwsgi-plugin-python3 \
    python3 python3-yaml openipmi ipmitool fence-agents iptables iproute2 iputils-ping curl procps \
    util-linux busybox-static cpio
}

missing_packages() {
  local p
  for p in $(lab_packages); do
    dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed' || echo "$p"
  done
}

# The packages' own set-up of databases and endpoints stays off. These are their defaults; saying so
# keeps a machine with other debconf answers from doing anything else.
refuse_package_setup() {
  local q
  for q in keystone/configure_db keystone/create-admin-tenant keystone/register-endpoint \
    glance-common:glance/configure_db glance-api:glance/register-endpoint \
    neutron-common:neutron/configure_db neutron-api:neutron/register-endpoint \
    nova-common:nova/configure_db nova-api:nova/register-endpoint \
    placement-common:placement/configure_db placement-api:placement/register-endpoint \
    dbconfig-common:dbconfig-common/dbconfig-install; do
    case $q in *:*) echo "${q%%:*} ${q#*:} boolean false" ;; *) echo "${q%%/*} $q boolean false" ;; esac
  done | debconf-set-selections
}

# install_packages LOG: a no-op when nothing is missing.
install_packages() {
  local log=$1 missing policy=/usr/sbin/policy-rc.d kept='' rc=0
  missing=$(missing_packages)
  [ -z "$missing" ] && return 0
  [ "$(. /etc/os-release && echo "$ID$VERSION_ID")" = debian12 ] ||
    die "the lab's packages are those of Debian 12; missing here: $(echo $missing)"
  export DEBIAN_FRONTEND=noninteractive DEBIAN_PRIORITY=critical
  # Maintainer scripts ask policy-rc.d before they start a daemon: 101 means no.
  if [ -e "$policy" ]; then kept=$(mktemp); cp -a "$policy" "$kept"; fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"
  {
    apt-get update -qq && command -v debconf-set-selections >/dev/null && refuse_package_setup &&
      apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--force-confold $missing </dev/null
  } >>"$log" 2>&1 || rc=$?
  if [ -n "$kept" ]; then cp -a "$kept" "$policy"; rm -f "$kept"; else rm -f "$policy"; fi
  [ "$rc" = 0 ] || { tail -30 "$log" >&2; die "packages cannot be installed, see $log"; }
}
