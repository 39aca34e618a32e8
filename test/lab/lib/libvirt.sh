# libvirt inside a real host's own mount namespace: its /run, /var/lib/libvirt and /etc/libvirt are private.
# Only $HOSTS/H/disk outlives a power cut; /run is new at each boot.

private_libvirt() { # HOST
  local h=$1 d=$HOSTS/$1/disk
  mkdir -p "$d"/{lib,cache,log} "$d/etc/hooks"
  [ -e "$d/etc/qemu" ] || cp -a /etc/libvirt/. "$d/etc/"
  rm -f "$d"/etc/qemu/networks/autostart/* "$d"/etc/qemu/autostart/*
  # No cgroups, udev, virtlogd or security driver here; guests run as root, as everything in the lab.
  printf '%s\n' 'user = "root"' 'group = "root"' 'security_driver = "none"' 'namespaces = []' \
    'cgroup_controllers = []' 'stdio_handler = "file"' 'dynamic_ownership = 0' 'remember_owner = 0' >"$d/etc/qemu.conf"
  printf '%s\n' 'unix_sock_group = "root"' 'auth_unix_ro = "none"' 'auth_unix_rw = "none"' 'log_level = 4' \
    "host_uuid = \"$(host_identity "$h")\"" >"$d/etc/libvirtd.conf"
  private_hook "$h" "$d"
  mkdir -p /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
  mount -t tmpfs -o mode=755 run /run
  mkdir -p /run/libvirt /run/lock
  mount --bind "$d/lib" /var/lib/libvirt
  mount --bind "$d/cache" /var/cache/libvirt
  mount --bind "$d/log" /var/log/libvirt
  mount --bind "$d/etc" /etc/libvirt
  umount -l /sys/fs/cgroup 2>/dev/null
  return 0
}

# The product's own hook, as its package installs it, but for what a lab can't have at its usual place: libvirt hands no
# environment on, so a step before it names binary and configuration.
private_hook() { # HOST DISK
  rm -f "$2/etc/hooks/qemu"
  gated "$1" || return 0
  "$LAB_NINELIVES" hook install --at "$2/hook" >/dev/null
  printf '#!/bin/sh\nexport NINELIVES=%s NINELIVES_CONFIG=%s\nexec %s "$@"\n' "$LAB_NINELIVES" "$HOSTS/$1/agent.yaml" "$2/hook" >"$2/etc/hooks/qemu"
  chmod 755 "$2/etc/hooks/qemu"
}

wait_libvirt() {
  local i
  for i in $(seq 600); do [ -S /run/libvirt/libvirt-sock ] && return 0; sleep 0.1; done
  return 1
}
