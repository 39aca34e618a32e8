# MariaDB, RabbitMQ and memcached, each with its own data under the run directory.
DBSOCK=$RUN/mysqltmp/mysql.sock
SQL() { mariadb --no-defaults --socket="$DBSOCK" -uroot "$@"; }

start_mariadb() {
  local d=$RUN/mysql
  alive mariadb && return 0
  if [ ! -d "$d/mysql" ]; then
    install -d -o mysql -g mysql -m 700 "$d"
    mariadb-install-db --no-defaults --user=mysql --datadir="$d" --skip-test-db \
      --auth-root-authentication-method=normal >>"$LOGS/mariadb-install.log" 2>&1 || die "see $LOGS/mariadb-install.log"
  fi
  install -d -o mysql -g mysql "$RUN/mysqltmp" # mariadbd can't make its socket in a directory of root's
  # Nothing here must survive a power cut of the lab itself: flushing is off.
  start mariadb mariadbd --no-defaults --user=mysql --datadir="$d" --tmpdir="$RUN/mysqltmp" --socket="$DBSOCK" \
    --pid-file="$d/mariadb.pid" --bind-address="$CTRL" --port=3306 --skip-name-resolve --max-connections=400 \
    --character-set-server=utf8mb3 --collation-server=utf8mb3_general_ci --innodb-buffer-pool-size=128M \
    --innodb-log-file-size=32M --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --innodb-flush-method=nosync \
    --skip-log-bin --performance-schema=OFF --table-open-cache=400 --query-cache-type=0
}

rabbit_files() {
  local r=$RUN/rabbit
  install -d -o rabbitmq -g rabbitmq -m 750 "$r" "$r/log" "$r/mnesia"
  cat >"$r/rabbitmq.conf" <<E
listeners.tcp.1 = $CTRL:5672
loopback_users = none
default_user = lab
default_pass = $LAB_PASSWORD
vm_memory_high_watermark.absolute = 1GiB
disk_free_limit.absolute = 64MB
log.console = true
log.console.level = warning
log.file = false
E
  : >"$r/enabled_plugins"
  # One scheduler thread that doesn't spin; its port mapper (4370) and Erlang's own traffic on loopback only.
  cat >"$r/env.sh" <<E
ulimit -n 16384 2>/dev/null
export HOME=$r PATH=$PATH LC_ALL=C.UTF-8 ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=4370
export RABBITMQ_NODENAME=rabbit@localhost RABBITMQ_DIST_PORT=25672 RABBITMQ_CONFIG_FILE=$r/rabbitmq.conf
export RABBITMQ_MNESIA_BASE=$r/mnesia RABBITMQ_LOG_BASE=$r/log RABBITMQ_PID_FILE=$r/pid RABBITMQ_SCHEMA_DIR=$r/schema
export RABBITMQ_ENABLED_PLUGINS_FILE=$r/enabled_plugins RABBITMQ_CONF_ENV_FILE=$r/none RABBITMQ_GENERATED_CONFIG_DIR=$r/gen
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1 +SDcpu 1 +A 8 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
E
  chown -R rabbitmq:rabbitmq "$r"
}

as_rabbit() { setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups /bin/bash -c ". $RUN/rabbit/env.sh; $1"; }

start_rabbit() {
  alive rabbit && return 0
  rabbit_files
  # Its port mapper is started apart: the broker's own would escape into a session that we don't know.
  start epmd setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups /bin/bash -c ". $RUN/rabbit/env.sh; exec epmd -port 4370 -address 127.0.0.1"
  wait_port 127.0.0.1 4370 10
  start rabbit setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups /bin/bash -c ". $RUN/rabbit/env.sh; exec /usr/lib/rabbitmq/bin/rabbitmq-server"
}

start_memcached() { start memcached memcached -u memcache -l "$CTRL" -p 11211 -m 32 -c 512 -t 1; }
