# The two real hosts (libvirt + QEMU without KVM) and the guest they run.

fetch_kernel() { # into the current directory
  local name
  name=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ {print $2; exit}')
  [ -n "$name" ] && apt-get download -qq "$name" >>"$LOGS/apt.log" 2>&1
}

guest_files() { # kernel and initramfs, once
  local d=$CACHE/guest t m
  [ -s "$d/vmlinuz" ] && [ "$d/initrd.gz" -nt "$LAB/guest/init" ] && return 0
  mkdir -p "$d"
  t=$(mktemp -d)
  (
    set -e
    cd "$t"
    # A machine that has all packages may have no package lists, or old ones.
    fetch_kernel || { apt-get update -qq && fetch_kernel; } >>"$LOGS/apt.log" 2>&1
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

guest() { guest_files && python3 "$LAB/cloud.py" guest-image "$CACHE/guest/vmlinuz" "$CACHE/guest/initrd.gz"; }

# The number the guest last put on its disk, read from outside (raw image, first sector).
guest_counter() { # UUID
  local f=$RUN/shared/real/$1/disk line
  [ -f "$f" ] || die "no disk of $1 in $RUN/shared/real"
  line=$(head -c 64 "$f" | tr -d '\0' | head -1)
  case $line in counter\ [0-9]*) echo $((10#${line#counter })) ;; *) echo 0 ;; esac
}
