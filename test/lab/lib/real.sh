# The two real hosts (libvirt + QEMU without KVM) and the guest they run.

guest_files() { # kernel and initramfs, once
  local d=$CACHE/guest t kernel
  [ -s "$d/vmlinuz" ] && [ "$d/initrd.gz" -nt "$LAB/guest/init" ] && return 0
  mkdir -p "$d"
  t=$(mktemp -d)
  (
    set -e
    cd "$t"
    kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
    apt-get download -qq "$kernel" >>"$LOGS/apt.log" 2>&1
    dpkg-deb -x ./*.deb k
    mkdir -p i/{bin,proc,sys,dev,lib}
    cp /bin/busybox i/bin/
    install -m 755 "$LAB/guest/init" i/init
    for m in virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
      find k/lib/modules -name "$m.ko" -exec cp {} i/lib/ \;
    done
    (cd i && find . | cpio -o -H newc 2>/dev/null | gzip) >"$d/initrd.gz"
    cp k/boot/vmlinuz-* "$d/vmlinuz"
  ) || { rm -rf "$t"; die "cannot make the guest, see $LOGS/apt.log"; }
  rm -rf "$t"
}

real_up() {
  local h
  guest_files
  python3 "$LAB/cloud.py" guest-image "$CACHE/guest/vmlinuz" "$CACHE/guest/initrd.gz" || exit 1
  for h in $(real_hosts); do
    bmc_start "$h"
    power "$h" on "${1:-}"
  done
  ls "$HOSTS"/real-*/agent.yaml >/dev/null 2>&1 && [ "${1:-}" != no-gate ] && return 0 # the gate decides when Nova sees them
  python3 "$LAB/cloud.py" wait-up 120 $(real_hosts) &&
    nova-manage --config-file "$NO/nova.conf" cell_v2 discover_hosts >>"$LOGS/discover.log" 2>&1
}

real_down() { local h; for h in $(real_hosts); do power "$h" off; bmc_stop "$h"; done; }

real_command() {
  case ${1:-} in
    up) real_up "$([ "${2:-}" = --no-gate ] && echo no-gate)" ;;
    down) real_down ;;
    virsh) is_real "${2:-}" || die "real virsh HOST ARGS…"; inside "$2" virsh -q -c qemu:///system "${@:3}" ;;
    *) die "real up [--no-gate]|down|virsh HOST ARGS…" ;;
  esac
}

# The number the guest last put on its disk, read from outside (raw image, first sector).
guest_counter() { # UUID
  local f=$RUN/shared/real/$1/disk line
  [ -f "$f" ] || die "no disk of $1 in $RUN/shared/real"
  line=$(head -c 64 "$f" | tr -d '\0' | head -1)
  case $line in counter\ [0-9]*) echo $((10#${line#counter })) ;; *) echo 0 ;; esac
}
