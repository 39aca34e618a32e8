#!/usr/bin/python3
"""Who runs what, read from the kernel and from nobody's word. truth.py now | pids HOST SERVICE | record FILE | report FILE

now     one JSON document: per host power, boot, processes, QEMU uuids, cut planes
record  appends a line whenever a QEMU or a nova-compute begins or ends, until it is ended by a signal; looks every 20 ms (an eighth of a core)
report  of such a file: at most how many QEMUs a uuid had at one time, and where

A QEMU's begin is the kernel's (its start time, 10 ms); its end is when it was first missed. So what is
reported as an overlap may be up to 20 ms too long, and only a QEMU that lived for less than 20 ms can be missed.
"""
import json, os, pathlib, sys, time

RUN = pathlib.Path(os.environ.get("NINELIVES_LAB", "/tmp/ninelives-lab"))
TICK = os.sysconf("SC_CLK_TCK")
KNOWN = {"nova-compute": "nova-compute", "libvirtd": "libvirtd", "ninelives agent": "agent", "ninelives gate": "gate"}


def stat_of(pid):
    """(state, start in s since boot), or None when it is gone or a zombie."""
    try:
        f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if f[0] in "ZX" else (f[0], int(f[19]) / TICK)


def netns_inodes():
    out = {}
    for p in pathlib.Path("/run/netns").glob("nl-*"):
        try:
            out[p.stat().st_ino] = p.name[3:]
        except OSError:
            pass
    return out


def processes():
    """Yields (host, pid, argv, state, start) of everything that runs on a host."""
    hosts = netns_inodes()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            host = hosts.get(os.stat(f"/proc/{pid}/ns/net").st_ino)
            if host and (stat := stat_of(pid)):
                yield host, int(pid), open(f"/proc/{pid}/cmdline", "rb").read().decode(errors="replace").split("\0"), *stat
        except OSError:
            continue


def qemu_uuid(argv):
    return argv[argv.index("-uuid") + 1] if "qemu-system" in argv[0] and "-uuid" in argv else None


def name_of(argv):
    if uuid := qemu_uuid(argv):
        return "qemu " + uuid
    words = " ".join(os.path.basename(a) for a in argv[:3])
    return next((v for k, v in KNOWN.items() if k in words and "machine-init" not in words), None)


def first_line(path):
    try:
        return path.read_text().strip()
    except OSError:
        return None


def now():
    running = {}
    for host, pid, argv, state, _ in processes():
        running.setdefault(host, []).append((name_of(argv), pid, state))
    out = {}
    for d in sorted((RUN / "hosts").iterdir()):
        mine = running.get(d.name, [])
        on = bool(mine)
        state = "off" if not on else "frozen" if (d / "frozen").exists() else "hung" if (d / "hung").exists() else "on"
        out[d.name] = {"power": "on" if on else "off", "state": state, "boot": first_line(d / "boot_id") if on else None,
                       "gate": first_line(d / "gate") if on else None, "processes": sorted({n for n, *_ in mine if n and not n.startswith("qemu")}),
                       "stopped": sum(s == "T" for *_, s in mine), "qemu": sorted(n[5:] for n, *_ in mine if n and n.startswith("qemu")),
                       "cut": sorted(p.name for p in (d / "cut").glob("*")), "identity": first_line(d / "identity")}
    return out


def record(path):
    began_at = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    seen = {}
    with open(path, "a", buffering=1) as f:
        def say(what, host, pid, name, at):
            who = {"uuid": name[5:]} if name.startswith("qemu ") else {"service": name}
            f.write(json.dumps({"at": round(at, 3), "what": what, "host": host, "pid": pid, **who}) + "\n")
        while True:
            here = {}
            for host, pid, argv, _, start in processes():
                if (name := name_of(argv)) and (name == "nova-compute" or name.startswith("qemu ")):
                    here[(pid, start)] = (host, pid, name)
            for key in here.keys() - seen.keys():
                say("begin", *here[key], began_at + key[1])
            for key in seen.keys() - here.keys():
                say("end", *seen[key], time.time())
            seen = here
            time.sleep(0.02)


def report(path):
    """{uuid: {max, where, runs}}; max > 1: it ran twice at once."""
    out, events = {}, [json.loads(line) for line in open(path)]
    for e in sorted((e for e in events if "uuid" in e), key=lambda e: (e["at"], e["what"] == "begin")):
        vm = out.setdefault(e["uuid"], {"max": 0, "twice_at": [], "runs": [], "_now": {}})
        if e["what"] == "begin":
            vm["_now"][e["pid"]] = e["host"]
            vm["runs"].append({"host": e["host"], "begin": e["at"], "end": None, "pid": e["pid"]})
            vm["max"] = max(vm["max"], len(vm["_now"]))
            if len(vm["_now"]) > 1:
                vm["twice_at"].append({"at": e["at"], "hosts": sorted(vm["_now"].values())})
        else:
            vm["_now"].pop(e["pid"], None)
            for run in vm["runs"]:
                if run["pid"] == e["pid"] and run["end"] is None:
                    run["end"] = e["at"]
    for vm in out.values():
        del vm["_now"]
    return out


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "now"
    if what == "now":
        print(json.dumps(now(), indent=1))
    elif what == "pids":
        print(*(pid for host, pid, argv, *_ in processes() if host == sys.argv[2] and name_of(argv) == sys.argv[3]))
    elif what == "record":
        record(sys.argv[2])
    elif what == "report":
        print(json.dumps(report(sys.argv[2]), indent=1))
    else:
        sys.exit(__doc__)
