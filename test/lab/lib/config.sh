# Configuration files of the OpenStack services, written afresh at each `up`.
KS=$ETC/keystone PL=$ETC/placement GL=$ETC/glance NE=$ETC/neutron NO=$ETC/nova
BUS=rabbit://lab:$LAB_PASSWORD@$CTRL:5672/
NOVA_PORT=8775 # nova-api itself; port 8774 is the proxy (proxy.py), which is what the catalogue names

LOGGING="use_stderr = true
use_journal = false
default_log_levels = amqp=WARN,amqplib=WARN,sqlalchemy=WARN,oslo.messaging=INFO,oslo_messaging=INFO,iso8601=WARN,urllib3=WARN,keystonemiddleware=WARN,routes.middleware=WARN,stevedore=WARN,keystoneauth=WARN,dogpile=WARN,oslo_policy=WARN"

db_url() { echo "mysql+pymysql://$1:$LAB_PASSWORD@$CTRL/$1"; }
db_section() { printf '[%s]\nconnection = %s\nmax_pool_size = 5\nmax_overflow = 20\nconnection_recycle_time = 600\n' "$1" "$(db_url "$2")"; }
credentials() { # SECTION USER
  cat <<E
[$1]
auth_url = http://$CTRL:5000/v3
auth_type = password
project_domain_name = Default
user_domain_name = Default
project_name = service
username = $2
password = $LAB_PASSWORD
E
}
# Without memcached each request would cost a round trip to keystone.
token_checks() { credentials keystone_authtoken "$1"; printf 'www_authenticate_uri = http://%s:5000/v3\nmemcached_servers = %s:11211\ntoken_cache_time = 300\n' $CTRL $CTRL; }
client() { credentials "$1" "$1"; printf 'region_name = RegionOne\nvalid_interfaces = public\n'; }
cache() { printf '[cache]\nenabled = true\nbackend = dogpile.cache.memcached\nmemcache_servers = %s:11211\n' $CTRL; }

keystone_config() {
  # Four rounds of password hashing: twelve cost 0.3 s of CPU at each login.
  cat >"$KS/keystone.conf" <<E
[DEFAULT]
$LOGGING
$(db_section database keystone)
[token]
provider = fernet
expiration = 14400
[fernet_tokens]
key_repository = $KS/fernet-keys
[credential]
key_repository = $KS/credential-keys
[identity]
password_hash_rounds = 4
$(cache)
E
}

placement_config() {
  cat >"$PL/placement.conf" <<E
[DEFAULT]
$LOGGING
[api]
auth_strategy = keystone
$(db_section placement_database placement)
$(token_checks placement)
E
}

glance_config() {
  local paste
  paste=$(ls /usr/share/glance-common/glance-api-paste.ini /etc/glance/glance-api-paste.ini 2>/dev/null | head -1)
  install -m 644 "$paste" "$GL/glance-api-paste.ini"
  cat >"$GL/glance-api.conf" <<E
[DEFAULT]
$LOGGING
bind_host = $CTRL
bind_port = 9292
workers = 0
enabled_import_methods = []
[glance_store]
stores = file
default_store = file
filesystem_store_datadir = $STATE/glance/images
[paste_deploy]
flavor = keystone
config_file = $GL/glance-api-paste.ini
$(db_section database glance)
$(token_checks glance)
E
}

neutron_config() { # no agents and no networks, but Nova asks it at every evacuation all the same
  install -m 644 /usr/share/neutron-common/api-paste.ini "$NE/api-paste.ini"
  cat >"$NE/neutron.conf" <<E
[DEFAULT]
$LOGGING
core_plugin = ml2
service_plugins =
transport_url = $BUS
auth_strategy = keystone
api_paste_config = $NE/api-paste.ini
state_path = $STATE/neutron
api_extensions_path =
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
dhcp_agent_notification = false
rpc_workers = 0
[oslo_concurrency]
lock_path = $STATE/neutron/lock
$(db_section database neutron)
$(token_checks neutron)
$(client nova)
E
  printf '[ml2]\ntype_drivers = local,flat,vlan\ntenant_network_types = local\nmechanism_drivers =\nextension_drivers =\n' >"$NE/ml2_conf.ini"
}

nova_config() {
  install -m 644 /usr/share/nova-common/api-paste.ini "$NO/api-paste.ini"
  cat >"$NO/nova.conf" <<E
[DEFAULT]
$LOGGING
transport_url = $BUS
my_ip = $CTRL
state_path = $STATE/nova
host = controller
report_interval = $LAB_REPORT_INTERVAL
service_down_time = $LAB_DOWN_TIME
rpc_response_timeout = 60
enabled_apis = osapi_compute
osapi_compute_workers = 1
osapi_compute_listen = $CTRL
metadata_workers = 1
instance_usage_audit = false
[api]
auth_strategy = keystone
[wsgi]
api_paste_config = $NO/api-paste.ini
$(db_section api_database nova_api)
$(db_section database nova_cell1)
[conductor]
workers = 1
[scheduler]
workers = 1
discover_hosts_in_cells_interval = 30
[filter_scheduler]
enabled_filters = ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,ServerGroupAntiAffinityFilter,ServerGroupAffinityFilter
shuffle_best_same_weighed_hosts = true
$(cache)
[oslo_concurrency]
lock_path = $STATE/nova/lock
[vnc]
enabled = false
[oslo_messaging_rabbit]
rabbit_qos_prefetch_count = 0
amqp_durable_queues = true
heartbeat_in_pthread = false
[glance]
api_servers = http://$CTRL:9292
[service_user]
send_service_user_token = false
$(client placement)
$(client neutron)
$(token_checks nova)
E
}

# A host's own part. Fake hosts share one instances directory, real ones another ("shared storage");
# `lab host H store own` gives it a private one.
host_config() { # HOST
  local h=$1 store=$RUN/shared/fake driver='compute_driver = fake.FakeDriver'
  if is_real "$h"; then
    store=$RUN/shared/real
    driver='compute_driver = libvirt.LibvirtDriver
reserved_host_memory_mb = 0
reserved_host_disk_mb = 0
force_raw_images = true'
  fi
  if [ -e "$HOSTS/$h/own-store" ]; then store=$HOSTS/$h/instances; fi
  mkdir -p "$HOSTS/$h/state/lock" "$store" "$LOGS/$h"
  [ -s "$store/.store-id" ] || cat /proc/sys/kernel/random/uuid >"$store/.store-id"
  host_identity "$h" >"$HOSTS/$h/identity"
  cat >"$NO/$h.conf" <<E
[DEFAULT]
host = $h
my_ip = $(plane_address "$h" management)
state_path = $HOSTS/$h/state
instances_path = $store
$driver
sync_power_state_interval = 600
heal_instance_info_cache_interval = 0
[oslo_concurrency]
lock_path = $HOSTS/$h/state/lock
[compute]
resource_provider_association_refresh = 0
[libvirt]
virt_type = qemu
cpu_mode = none
images_type = raw
[privsep]
log_daemon_traceback = false
E
}

uwsgi_config() { # NAME PORT WSGI-FILE THREADS LINE
  cat >"$ETC/$1-uwsgi.ini" <<E
[uwsgi]
plugins = python3
http-socket = $CTRL:$2
wsgi-file = $3
name = $1
processes = $LAB_API_PROCS
threads = $4
master = true
enable-threads = true
lazy-apps = true
thunder-lock = true
need-app = true
no-orphans = true
die-on-term = true
buffer-size = 65535
listen = 128
rem-header = Content-Length
add-header = Connection: close
disable-logging = true
log-5xx = true
chdir = $STATE/empty
$5
E
}

write_config() {
  local h
  mkdir -p "$KS" "$PL" "$GL" "$NE" "$NO" "$STATE"/{empty,glance/images,neutron/lock,nova/lock}
  keystone_config
  placement_config
  glance_config
  neutron_config
  nova_config
  uwsgi_config keystone 5000 /usr/bin/keystone-wsgi-public 4 "env = OS_KEYSTONE_CONFIG_DIR=$KS"
  uwsgi_config placement 8778 /usr/bin/placement-api 4 "env = OS_PLACEMENT_CONFIG_DIR=$PL"
  # neutron-api and nova-api turn eventlet on when they are imported: with more than one thread they answer 500 now and then.
  uwsgi_config neutron 9696 /usr/bin/neutron-api 1 "pyargv = --config-file=$NE/neutron.conf --config-file=$NE/ml2_conf.ini"
  uwsgi_config nova-api $NOVA_PORT /usr/bin/nova-api-wsgi 1 "env = OS_NOVA_CONFIG_DIR=$NO"
  for h in $(fake_hosts) $(real_hosts); do host_config "$h"; done
}
