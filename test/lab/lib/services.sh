# What runs on a host, and how each is started there. Sourced inside the machine.
# Not started again when they die: a test that kills one wants it dead (`lab host H start SERVICE`).

host_service() { # HOST agent|nova-compute|libvirtd
  local h=$1 cmd
  case $2 in
    agent)
      cmd=("$LAB_NINELIVES" agent --config "$HOSTS/$h/agent.yaml")
      # A one-time token for the first start, if there is one.
      if [ -s "$HOSTS/$h/token" ]; then cmd+=(--token "$(cat "$HOSTS/$h/token")"); fi
      ;;
    nova-compute) cmd=(nova-compute --config-file "$ETC/nova/nova.conf" --config-file "$ETC/nova/$h.conf") ;;
    libvirtd) cmd=(libvirtd --config /etc/libvirt/libvirtd.conf) ;;
    *) die "no service $2 on a host: there are agent, nova-compute and libvirtd" ;;
  esac
  ulimit -n 16384
  setsid "${cmd[@]}" </dev/null >>"$LOGS/$h/$2.log" 2>&1 9>&- &
}
