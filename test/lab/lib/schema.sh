# Databases: made once, from a dump of the same packages' empty schemas if there is one (saves most of a minute).
DATABASES='keystone placement glance neutron nova_api nova_cell0 nova_cell1'

schema_key() { # package versions, and what the dump has in it: address and password (cell mappings)
  {
    dpkg-query -W -f '${Package} ${Version}\n' keystone glance-common neutron-common nova-common placement-common mariadb-server
    echo "$CTRL $LAB_PASSWORD"
  } | md5sum | cut -c1-12
}

nova_manage() { nova-manage --config-file "$NO/nova.conf" "$@"; }

migrate() { # two lanes, one a core
  local a b
  (
    set -e
    keystone-manage --config-file "$KS/keystone.conf" db_sync
    placement-manage --config-file "$PL/placement.conf" db sync
    glance-manage --config-file "$GL/glance-api.conf" db_sync
    nova_manage api_db sync
    nova_manage cell_v2 map_cell0 --database_connection "$(db_url nova_cell1 | sed 's,/nova_cell1$,/nova_cell0,')"
    nova_manage cell_v2 list_cells | grep -q ' cell1 ' || nova_manage cell_v2 create_cell --name cell1
    nova_manage db sync
  ) >>"$LOGS/migrate-a.log" 2>&1 &
  a=$!
  neutron-db-manage --config-file "$NE/neutron.conf" --config-file "$NE/ml2_conf.ini" upgrade heads >>"$LOGS/migrate-b.log" 2>&1 &
  b=$!
  wait $a || die "migration failed, see $LOGS/migrate-a.log"
  wait $b || die "migration failed, see $LOGS/migrate-b.log"
}

make_databases() {
  local d dump
  [ -e "$STATE/databases.done" ] && return 0
  for d in $DATABASES; do
    echo "CREATE DATABASE IF NOT EXISTS $d; CREATE USER IF NOT EXISTS '$d'@'%' IDENTIFIED BY '$LAB_PASSWORD'; GRANT ALL ON $d.* TO '$d'@'%';"
  done | SQL || die "cannot make the databases"
  echo "GRANT ALL ON nova_cell0.* TO 'nova_cell1'@'%';" | SQL # both cells are used through one account
  dump=$CACHE/schema-$(schema_key).sql.gz
  if [ -s "$dump" ]; then
    zcat "$dump" | SQL || die "cannot load $dump; delete it and try again"
  else
    migrate
    mkdir -p "$CACHE"
    mariadb-dump --no-defaults --socket="$DBSOCK" -uroot --databases $DATABASES | gzip -9n >"$dump.$$" && mv "$dump.$$" "$dump"
  fi
  keystone-manage --config-file "$KS/keystone.conf" fernet_setup --keystone-user root --keystone-group root >>"$LOGS/bootstrap.log" 2>&1 &&
    keystone-manage --config-file "$KS/keystone.conf" credential_setup --keystone-user root --keystone-group root >>"$LOGS/bootstrap.log" 2>&1 &&
    keystone-manage --config-file "$KS/keystone.conf" bootstrap --bootstrap-password "$LAB_PASSWORD" --bootstrap-region-id RegionOne \
      --bootstrap-admin-url "$OS_AUTH_URL/" --bootstrap-internal-url "$OS_AUTH_URL/" --bootstrap-public-url "$OS_AUTH_URL/" >>"$LOGS/bootstrap.log" 2>&1 ||
    die "keystone's bootstrap failed, see $LOGS/bootstrap.log"
  : >"$STATE/databases.done"
}
