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

wait_libvirt() {
  local i
  for i in $(seq 600); do [ -S /run/libvirt/libvirt-sock ] && return 0; sleep 0.1; done
  return 1
}
