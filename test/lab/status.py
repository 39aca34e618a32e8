#!/usr/bin/python3
"""The lab at a glance: daemons with their memory and CPU, hosts as they are, Nova's view of them."""
import collections, json, os, sys

import cloud
import truth

PIDS = truth.RUN / "pids"


def descendants(children, pid):
    yield pid
    for c in children.get(pid, ()):
        yield from descendants(children, c)


def daemons():
    """{name: {up, pid, rss_mib, cpu_s}} of every pid file, each with all its children."""
    children, usage, out = collections.defaultdict(list), {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children[int(f[1])].append(int(pid))
        usage[int(pid)] = (int(f[21]) * 4096 / 2 ** 20, (int(f[11]) + int(f[12])) / truth.TICK, int(f[19]), f[0])
    for p in sorted(PIDS.iterdir()):
        words = p.read_text().split()
        pid = int(words[0]) if words else 0
        up = pid in usage and usage[pid][3] != "Z" and words[1:] == [str(usage[pid][2])]
        tree = [usage[q] for q in descendants(children, pid) if q in usage] if up else []
        out[p.name] = {"up": up, "pid": pid, "rss_mib": round(sum(u[0] for u in tree)), "cpu_s": round(sum(u[1] for u in tree), 1)}
    return out


def nova():
    """Nova's view, or the reason why there is none."""
    try:
        c = cloud.Cloud()
        vms = collections.defaultdict(collections.Counter)
        for v in c.servers():
            vms[v["OS-EXT-SRV-ATTR:host"]][v["status"]] += 1
        return {h: {"state": s["state"], "status": s["status"], "forced_down": s["forced_down"], "vms": dict(vms[h])} for h, s in c.computes().items()}
    except (cloud.Refused, OSError) as e:
        return {"error": str(e)}


def main():
    d, t, n = daemons(), truth.now(), nova()
    if sys.argv[1:] == ["json"]:
        return print(json.dumps({"daemons": d, "hosts": t, "nova": n}, indent=1))
    for name, x in d.items():
        if "." not in name:
            print(f"{name:15} {'up' if x['up'] else 'DOWN':5} pid {x['pid']:<7} {x['rss_mib']:5} MiB {x['cpu_s']:8.1f} s CPU")
    print(f"all, with hosts: {sum(x['rss_mib'] for x in d.values())} MiB, {sum(x['cpu_s'] for x in d.values()):.0f} s CPU\n")
    for host, x in t.items():
        bmc = "" if d.get(host + ".bmc", {}).get("up") else ", BMC DOWN"
        s = n.get(host, {})
        view = f"Nova: {s['state']} {s['status']}{' forced_down' if s['forced_down'] else ''} {s['vms'] or ''}" if s else ""
        print(f"{host:11} {x['state']:7} {', '.join(x['processes']) or '-':30} {'cut: ' + ' '.join(x['cut']) if x['cut'] else ''}{bmc} {view}")
    if "error" in n:
        print("Nova doesn't say:", n["error"])


try:
    main()
except BrokenPipeError:
    os._exit(0)
