# The control plane's services: how each is started, stopped, and when it answers.
CONTROL='mariadb rabbit memcached keystone placement glance neutron nova-conductor nova-scheduler nova-api proxy'

service_start() { # NAME
  case $1 in
    mariadb) start_mariadb ;;
    rabbit) start_rabbit ;;
    memcached) start_memcached ;;
    keystone | placement | neutron | nova-api) start "$1" uwsgi_python3 --ini "$ETC/$1-uwsgi.ini" ;;
    glance) start glance glance-api --config-file "$GL/glance-api.conf" ;;
    nova-conductor | nova-scheduler) start "$1" "$1" --config-file "$NO/nova.conf" ;;
    proxy) start proxy python3 "$LAB/proxy.py" "$CTRL:8774" "$CTRL:$NOVA_PORT" "$STATE/proxy" ;;
    *) die "no service $1; there are: $CONTROL" ;;
  esac
}

service_stop() { # NAME [SIGNAL]
  case " $CONTROL " in *" $1 "*) ;; *) die "no service $1; there are: $CONTROL" ;; esac
  stop "$1" "${2:-TERM}"
  if [ "$1" = rabbit ]; then stop epmd; fi
}

service_ready() { # NAME SECONDS
  case $1 in
    mariadb) wait_port $CTRL 3306 "$2" ;;
    rabbit) wait_port $CTRL 5672 "$2" ;;
    keystone) wait_http "http://$CTRL:5000/v3" "$2" ;;
    placement) wait_http "http://$CTRL:8778/" "$2" ;;
    neutron) wait_http "http://$CTRL:9696/" "$2" ;;
    glance) wait_http "http://$CTRL:9292/versions" "$2" ;;
    nova-api) wait_http "http://$CTRL:$NOVA_PORT/" "$2" ;;
    proxy) wait_port $CTRL 8774 "$2" ;;
  esac
}

service_command() { # NAME start|stop|restart|kill|state
  case ${2:-} in
    start) service_start "$1" && service_ready "$1" 60 ;;
    stop) service_stop "$1" ;;
    kill) service_stop "$1" KILL ;;
    restart) service_stop "$1" && service_start "$1" && service_ready "$1" 60 ;;
    state) if alive "$1"; then echo up; else echo down; fi ;;
    *) die "service NAME start|stop|restart|kill|state" ;;
  esac
}

control_up() {
  step "configuration" write_config
  bridges_up
  mkdir -p "$STATE/proxy"
  service_start mariadb
  service_start rabbit
  service_start memcached
  step "MariaDB" service_ready mariadb 60
  step "databases" make_databases
  step "RabbitMQ" service_ready rabbit 120
  service_start keystone
  step "Keystone" service_ready keystone 120
  # Users first: conductor and scheduler end at once when keystone refuses their placement client.
  step "projects, users, endpoints" python3 "$LAB/cloud.py" identity
  local s
  for s in placement nova-conductor nova-scheduler nova-api neutron glance proxy; do service_start "$s"; done
  step "Placement, Neutron, Glance, Nova" apis_ready
}

apis_ready() { local s; for s in placement neutron glance nova-api proxy; do service_ready "$s" 120; done; }
