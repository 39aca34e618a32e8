#!/bin/sh
# libvirt's qemu hook. Install as /etc/libvirt/hooks/qemu.d/ninelives (libvirt
# 6.5 or newer, beside other hooks) or as /etc/libvirt/hooks/qemu; mode 0755.
#
# Called as: qemu GUEST OPERATION SUB-OPERATION EXTRA, the domain's XML on stdin.
# A guest that was resurrected elsewhere must not start here: `ninelives hook`
# exits non-zero for it, and libvirt then refuses to start it. No answer is a no.
#
# Only `prepare` is asked. A non-zero exit of `reconnect` or `attach` would make
# libvirt kill a guest that runs, so those must never fail because of us.
case "$2" in
prepare) exec timeout -k 1 10 "${NINELIVES:-/usr/bin/ninelives}" hook qemu "$@" ;;
esac
exit 0
