#!/usr/bin/env python3
"""Runs a command and accounts for its whole process tree.

  measure.py [--until=GLOB] -- command ...

Prints one line of JSON: rc, wall_s, cpu_s (user + system of every descendant,
also of one whose parent has left: this process is a child subreaper and waits
for them all), peak_rss_mb (the largest process: a JVM counts twice for the
moment in which it forks a helper, so a sum would be too high), foreign_cpu_s
(what other processes used meanwhile: with much of it, do not trust wall_s),
and with --until the seconds from the start to the first file of that pattern.
The command's own output goes to stderr.
"""
import ctypes
import glob
import json
import os
import resource
import subprocess
import sys
import threading
import time

PR_SET_CHILD_SUBREAPER = 36


def machine_busy():
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:9]]
    return (sum(v) - v[3] - v[4]) / os.sysconf("SC_CLK_TCK")


def main():
    cut = sys.argv.index("--")
    until = next((a.removeprefix("--until=") for a in sys.argv[1:cut]), None)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    first, ended = [], threading.Event()

    def watch(start):
        while not ended.is_set():
            if glob.glob(until, recursive=True):
                first.append(time.monotonic() - start)
                return
            time.sleep(0.0005)

    busy, start = machine_busy(), time.monotonic()
    child = subprocess.Popen(sys.argv[cut + 1:], stdout=sys.stderr, stdin=subprocess.DEVNULL)
    if until:
        watcher = threading.Thread(target=watch, args=(start,))
        watcher.start()
    rc = child.wait()
    wall = time.monotonic() - start
    while True:  # orphans too
        try:
            os.wait()
        except ChildProcessError:
            break
    if until:
        ended.set()
        watcher.join()
    used, own = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    print(json.dumps({
        "rc": rc, "wall_s": round(wall, 3), "cpu_s": round(cpu, 3), "peak_rss_mb": round(used.ru_maxrss / 1000, 1),
        "foreign_cpu_s": round(max(0.0, machine_busy() - busy - cpu - own.ru_utime - own.ru_stime), 2),
        "first_s": round(first[0], 4) if first else None}))


if __name__ == "__main__":
    main()
