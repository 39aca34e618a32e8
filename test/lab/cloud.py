#!/usr/bin/python3
"""The lab's own small OpenStack client: standard library only (the openstack command takes 2-3 s a call).

Reads OS_* from the environment. `cloud.py help` lists the commands.
"""
import collections, concurrent.futures, hashlib, json, os, sys, time, urllib.error, urllib.request

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
AUTH = os.environ["OS_AUTH_URL"]
HOST = AUTH.split("//")[1].split(":")[0]
NOVA, GLANCE, NEUTRON, PLACEMENT = (f"http://{HOST}:{p}" for p in ("8774/v2.1", "9292", "9696", "8778"))
FLAVORS = (("t.tiny", 1, 64, 1), ("t.small", 2, 2048, 10), ("t.large", 8, 16384, 80), ("t.real", 1, 192, 1))  # vCPU, MiB, GiB


class Refused(Exception):
    def __init__(self, code, body):
        super().__init__(f"HTTP {code}: {body[:400]}")
        self.code = code


def http(method, url, body=None, token=None, headers=None, raw=None, timeout=180):
    h = {"Accept": "application/json", "OpenStack-API-Version": "compute " + os.environ["OS_COMPUTE_API_VERSION"]}
    if body is not None:
        raw, h["Content-Type"] = json.dumps(body).encode(), "application/json"
    if token:
        h["X-Auth-Token"] = token
    h.update(headers or {})
    try:
        with OPENER.open(urllib.request.Request(url, data=raw, method=method, headers=h), timeout=timeout) as a:
            text = a.read()
            return (json.loads(text) if text.lstrip()[:1] in (b"{", b"[") else None), a.headers
    except urllib.error.HTTPError as e:
        raise Refused(e.code, e.read().decode(errors="replace")) from None


class Cloud:
    """One login. A call gives the decoded answer or raises Refused."""

    def __init__(self):
        e = os.environ
        self.token = http("POST", AUTH + "/auth/tokens", {"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": e["OS_USERNAME"], "domain": {"name": e["OS_USER_DOMAIN_NAME"]}, "password": e["OS_PASSWORD"]}}},
            "scope": {"project": {"name": e["OS_PROJECT_NAME"], "domain": {"name": e["OS_PROJECT_DOMAIN_NAME"]}}}}})[1]["X-Subject-Token"]

    def __call__(self, method, url, body=None, **k):
        return http(method, url, body, token=self.token, **k)[0]

    def servers(self, **q):
        out, url = [], NOVA + "/servers/detail?" + "&".join(f"{k}={v}" for k, v in {"all_tenants": 1, "limit": 1000, **q}.items())
        while url:
            page = self("GET", url)
            out += page["servers"]
            url = next((x["href"] for x in page.get("servers_links", []) if x["rel"] == "next"), None)
        return out

    def computes(self):
        return {s["host"]: s for s in self("GET", NOVA + "/os-services?binary=nova-compute")["services"]}


def identity():
    """Service project, users, catalogue. Idempotent."""
    c = Cloud()

    def one(kind, name, **extra):
        found = c("GET", f"{AUTH}/{kind}s?name={name}")[kind + "s"]
        return found[0]["id"] if found else c("POST", f"{AUTH}/{kind}s", {kind: {"name": name, **extra}})[kind]["id"]
    project = one("project", "service", domain_id="default")
    roles = [one("role", r) for r in ("admin", "service")]
    for user in ("nova", "placement", "glance", "neutron"):
        uid = one("user", user, domain_id="default", password=os.environ["OS_PASSWORD"])
        for role in roles:
            c("PUT", f"{AUTH}/projects/{project}/users/{uid}/roles/{role}")
    have = {(e["service_id"], e["interface"]) for e in c("GET", AUTH + "/endpoints")["endpoints"]}
    for name, kind, url in (("nova", "compute", NOVA), ("placement", "placement", PLACEMENT), ("glance", "image", GLANCE), ("neutron", "network", NEUTRON)):
        sid = one("service", name, type=kind)
        for interface in ("public", "internal", "admin"):
            if (sid, interface) not in have:
                c("POST", AUTH + "/endpoints", {"endpoint": {"service_id": sid, "interface": interface, "url": url, "region_id": os.environ["OS_REGION_NAME"]}})


def image(c, name, fmt, data, **properties):
    """The image's id; uploads it if there is none of this name, or another one."""
    for i in c("GET", f"{GLANCE}/v2/images?name={name}")["images"]:
        if i["checksum"] == hashlib.md5(data).hexdigest() and all(i.get(k) == v for k, v in properties.items()):
            return i["id"]
        c("DELETE", f"{GLANCE}/v2/images/{i['id']}")
    container = fmt if fmt in ("aki", "ari") else "bare"
    i = c("POST", GLANCE + "/v2/images", {"name": name, "disk_format": fmt, "container_format": container, "visibility": "public", **properties})["id"]
    c("PUT", f"{GLANCE}/v2/images/{i}/file", raw=data, headers={"Content-Type": "application/octet-stream"})
    return i


def content():
    """Flavors, quotas, and an image that only fake hosts take (img_hv_type: fake VMs never land on real hosts, nor the other way round)."""
    c = Cloud()
    image(c, "tiny", "raw", b"\0" * 4096, img_hv_type="fake")
    have = {f["name"] for f in c("GET", NOVA + "/flavors")["flavors"]}
    for n, (name, cpus, ram, disk) in enumerate(FLAVORS):
        if name not in have:
            c("POST", NOVA + "/flavors", {"flavor": {"name": name, "vcpus": cpus, "ram": ram, "disk": disk, "id": str(n + 1)}})
    project = c("GET", AUTH + "/projects?name=admin")["projects"][0]["id"]
    c("PUT", f"{NOVA}/os-quota-sets/{project}", {"quota_set": dict.fromkeys(("instances", "cores", "ram", "server_groups", "server_group_members"), -1)})


def guest_image(kernel, initrd):
    """The image real hosts boot: kernel, initramfs and an empty disk."""
    c = Cloud()
    k, r = (image(c, n, f, open(p, "rb").read()) for n, f, p in (("guest-kernel", "aki", kernel), ("guest-initrd", "ari", initrd)))
    image(c, "guest", "raw", b"\0" * 2 ** 20, kernel_id=k, ramdisk_id=r, os_command_line="console=ttyS0 panic=1 quiet", img_hv_type="qemu")


def known():
    """The hosts whose nova-compute Nova has ever seen."""
    print(*sorted(Cloud().computes()))


def unmapped(*hosts):
    """Says which of the hosts Nova can't place a VM on yet: no compute node, or not mapped to its cell. Ends with 1 if there are any."""
    there = {h["service"]["host"] for h in Cloud()("GET", NOVA + "/os-hypervisors/detail")["hypervisors"]}
    if missing := sorted(set(hosts) - there):
        sys.exit("lab: not mapped: " + ", ".join(missing))


def wait_up(limit, *hosts):
    """Until each host's nova-compute is up. A forced_down one shows "down" whatever it is: it counts."""
    c, end, missing = Cloud(), time.monotonic() + float(limit), hosts
    while time.monotonic() < end:
        try:
            s = c.computes()
            missing = [h for h in hosts if h not in s or (s[h]["state"] != "up" and not s[h]["forced_down"])]
            if not missing:
                return
        except (Refused, OSError) as e:  # nova-api may be loading still
            missing = [str(e)]
        time.sleep(0.5)
    sys.exit(f"lab: not up in Nova after {limit} s: {', '.join(missing)}")


def boot(count, host, flavor="t.tiny", img="tiny", prefix="vm", as_json=""):
    """VMs on one host, or "-": spread over the enabled fake hosts that are up. Waits until none is building."""
    c, count, began = Cloud(), int(count), time.time()
    images = c("GET", f"{GLANCE}/v2/images?name={img}")["images"]
    flavors = [f["id"] for f in c("GET", NOVA + "/flavors")["flavors"] if f["name"] == flavor]
    if not images or not flavors:
        sys.exit(f"lab: no image {img}" if not images else f"lab: no flavor {flavor}")
    up = sorted(h for h, s in c.computes().items() if s["state"] == "up" and s["status"] == "enabled" and h.startswith("compute-"))
    if host != "-":
        up = [host]
    tag, asked = f"{prefix}-{time.time_ns() // 1000000 % 10 ** 7}", 0
    for n, h in enumerate(up):
        k = count // len(up) + (n < count % len(up))
        if k:  # naming the host (>= 2.74) still asks the scheduler
            c("POST", NOVA + "/servers", {"server": {"name": f"{tag}-{h}", "imageRef": images[0]["id"], "flavorRef": flavors[0], "networks": "none",
                                                    "host": h, "min_count": k, "max_count": k}})
            asked += k
    while time.time() - began < 900:  # the plain list: each VM of a detailed one costs nova-api about 10 ms
        time.sleep(0.5)
        if not c("GET", f"{NOVA}/servers?all_tenants=1&name={tag}&status=BUILD")["servers"]:
            break
    vms = [{"id": s["id"], "name": s["name"], "host": s["OS-EXT-SRV-ATTR:host"], "status": s["status"]} for s in c.servers(name=tag)]
    if as_json:
        print(json.dumps(vms, indent=1))
    else:
        print(f"{asked} VMs in {time.time() - began:.1f} s: {dict(collections.Counter(v['status'] for v in vms))}")
    sys.exit(0 if len(vms) == asked and all(v["status"] == "ACTIVE" for v in vms) else 1)


def delete(prefix):
    """VMs whose name begins with the prefix ("-": all). A VM of a dead host goes at once, from the database only."""
    c, began = Cloud(), time.time()
    ids = {v["id"] for v in c.servers() if prefix == "-" or v["name"].startswith(prefix)}

    def one(i):
        try:
            if again:  # a cast to a nova-compute just reconnecting to the bus is lost, and Nova ignores a second delete of a "deleting" VM
                c("POST", f"{NOVA}/servers/{i}/action", {"os-resetState": {"state": "error"}})
            c("DELETE", f"{NOVA}/servers/{i}")
        except Refused as e:
            if e.code != 404:
                raise
    left, asked, again = ids, 0, False
    while left and time.time() - began < 300:
        if time.time() - asked > 20:
            again, asked = asked > 0, time.time()
            with concurrent.futures.ThreadPoolExecutor(4) as ex:
                list(ex.map(one, left))
        left = ids & {v["id"] for v in c("GET", NOVA + "/servers?all_tenants=1")["servers"]}
        time.sleep(0.5 if left else 0)
    print(f"{len(ids) - len(left)} deleted" + (f", {len(left)} still there" if left else ""))
    sys.exit(1 if left else 0)


def vms(as_json="", **q):
    out = [{"id": s["id"], "name": s["name"], "host": s["OS-EXT-SRV-ATTR:host"], "status": s["status"], "task": s["OS-EXT-STS:task_state"],
            "power": s["OS-EXT-STS:power_state"], "locked": s["locked"]} for s in Cloud().servers(**q)]
    if as_json:
        return print(json.dumps(out, indent=1))
    for v in sorted(out, key=lambda v: (v["host"] or "", v["name"])):
        print(f"{v['id']}  {v['host'] or '-':12} {v['status']:10} {v['task'] or '-':12} {v['name']}")


def services(as_json=""):
    keep = ("id", "host", "state", "status", "forced_down", "disabled_reason", "updated_at")
    out = [{k: s[k] for k in keep} for _, s in sorted(Cloud().computes().items())]
    if as_json:
        return print(json.dumps(out, indent=1))
    for s in out:
        print(f"{s['host']:12} {s['state']:5} {s['status']:9} forced_down={s['forced_down']!s:6} {s['updated_at'] or '-':27} {s['disabled_reason'] or ''}")


def service(host, what):
    """force-down, un-force, disable or enable a host's nova-compute, as an operator would."""
    body = {"force-down": {"forced_down": True}, "un-force": {"forced_down": False}, "enable": {"status": "enabled"},
            "disable": {"status": "disabled", "disabled_reason": "disabled by the lab's operator"}}[what]
    c = Cloud()
    c("PUT", f"{NOVA}/os-services/{c.computes()[host]['id']}", body)


def evacuate(host, at_once="4", target=""):
    """A bare loop of evacuate calls: the yardstick. The service must be down. Prints JSON."""
    c = Cloud()
    ids, began = {v["id"] for v in c.servers(host=host)}, time.time()
    since = time.strftime("%FT%TZ", time.gmtime(began - 2))
    records = f"{NOVA}/os-migrations?migration_type=evacuation&source_compute={host}"
    earlier = {m["id"] for m in c("GET", records)["migrations"]}
    began = time.time()
    with concurrent.futures.ThreadPoolExecutor(int(at_once)) as ex:
        list(ex.map(lambda i: c("POST", f"{NOVA}/servers/{i}/action", {"evacuate": {"host": target} if target else {}}), ids))
    accepted, done = time.time() - began, {}
    while len(done) < len(ids) and time.time() - began < 900:
        time.sleep(0.2)
        for m in c("GET", f"{records}&changes-since={since}")["migrations"]:
            if m["id"] not in earlier and m["instance_uuid"] in ids and m["status"] in ("done", "completed", "failed", "error"):
                done.setdefault(m["instance_uuid"], (round(time.time() - began, 2), m["dest_compute"], m["status"]))
    print(json.dumps({"vms": len(ids), "accepted_s": round(accepted, 2), "all_s": max((d[0] for d in done.values()), default=0),
                      "unfinished": len(ids) - len(done), "by": {f"{t} {s}": n for (t, s), n in collections.Counter(d[1:] for d in done.values()).items()}}))
    sys.exit(0 if all(d[2] in ("done", "completed") for d in done.values()) and len(done) == len(ids) else 1)


COMMANDS = {f.__name__.replace("_", "-"): f for f in (identity, content, guest_image, known, unmapped, wait_up, boot, delete, vms, services, service, evacuate)}

if __name__ == "__main__":
    name, args = (sys.argv[1:2] or ["help"])[0], sys.argv[2:]
    if name not in COMMANDS:
        sys.exit("\n".join(f"{n:12} {(f.__doc__ or '').splitlines()[0] if f.__doc__ else ''}" for n, f in COMMANDS.items()))
    try:
        COMMANDS[name](*args)
    except (Refused, OSError) as e:
        sys.exit(f"lab: cannot {name}: {e}")
