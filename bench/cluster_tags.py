#!/usr/bin/env python3
"""Processor time of the servers for a take on three primaries of a Redis Cluster, by how a batch's keys are put into calls.

    bench/cluster_tags.py [LUA_DIRECTORY]

Starts three primaries and sends batches as one process with 512 callers does: a third of half of them to each node. All ways
run in turn, three times. docs/decisions/0034 has the result.
"""
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib

CALLERS, KEYS, SECONDS, SLOTS, NODES = 512, 10_000, 2.0, 16_384, 3


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    def __init__(self, directory):
        self.port, bus = free_port(), free_port()
        self.directory = tempfile.mkdtemp(dir=directory)
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--cluster-enabled", "yes", "--cluster-port", str(bus), "--save", "",
             "--dir", self.directory, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
        self.bus = bus
        for _ in range(100):
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port))
                break
            except OSError:
                time.sleep(0.05)
        self.file = self.socket.makefile("rb")

    def send(self, calls):
        self.socket.sendall(b"".join(packed(call) for call in calls))

    def read(self, count):
        return [reply(self.file) for _ in range(count)]

    def ask(self, *words):
        self.send([words])
        return self.read(1)[0]

    def cpu(self):
        info = self.ask("INFO", "cpu").decode()
        fields = dict(line.split(":") for line in info.splitlines() if ":" in line)
        return float(fields["used_cpu_sys"]) + float(fields["used_cpu_user"])


def packed(words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def reply(file):
    line = file.readline().rstrip()
    kind, rest = line[:1], line[1:]
    if kind == b"$":
        return None if rest == b"-1" else file.read(int(rest) + 2)[:-2]
    if kind == b"*":
        return [reply(file) for _ in range(int(rest))]
    if kind == b"-":
        raise RuntimeError(rest.decode())
    return rest


def tag_of_slot(slot, tags={}):
    if not tags:
        number = 0
        while len(tags) < SLOTS:
            tags.setdefault(crc16(str(number).encode()) % SLOTS, str(number))
            number += 1
    return tags[slot]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    lua = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "../crates/forebay/src/engine/redis/lua")
    read = lambda name: open(os.path.join(lua, name)).read()
    begin = "local call, write = redis.call, redis.call\n"
    source = begin + read("keys.lua") + read("foreign.lua") + read("take_window.lua")
    across = "#!lua flags=allow-cross-slot-keys\n" + begin + read("keys_across.lua") + read("foreign.lua") + read("take_window.lua")
    directory = tempfile.mkdtemp()
    nodes = [Node(directory) for _ in range(NODES)]
    try:
        for number, node in enumerate(nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            slots = range(number * SLOTS // NODES, (number + 1) * SLOTS // NODES)
            node.ask("CLUSTER", "ADDSLOTS", *slots)
            node.slots = slots
        for node in nodes[1:]:
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus)
        while any(b"cluster_state:ok" not in node.ask("CLUSTER", "INFO") for node in nodes):
            time.sleep(0.1)
        for node in nodes:
            node.plain = node.ask("SCRIPT", "LOAD", source)
            node.across = node.ask("SCRIPT", "LOAD", across)
        # By the server's clock, windows of 60 s and a large quota.
        argument = struct.pack("<qQQQ", -1, 60_000_000, 0, 1_000_000_000)
        users = [f"user:{i}" for i in range(KEYS)]
        def groups(count):
            width = SLOTS // count
            return [(zlib.crc32(user.encode()) % count * width + width // 2) for user in users]
        ways = {
            "(a) a call per slot": [crc16(user.encode()) % SLOTS for user in users],
            "(b) one call, undeclared keys": [crc16(user.encode()) % SLOTS for user in users],
            "(b) one call, 64 groups": groups(64),
        }
        for count in (32, 64, 128, 256, 512):
            ways[f"(c) {count} groups"] = groups(count)
        ways["one call for each node, one slot"] = [random.choice([0, 6_000, 12_000]) for _ in users]
        batch = CALLERS // 2 // NODES
        for turn in range(3):
            for name, slots in ways.items():
                is_across = name.startswith("(b)")
                tags = users if name.endswith(("slot", "keys")) and "one slot" not in name else map(tag_of_slot, slots)
                keys = [f"b:{name[1]}:{{{tag}}}:{user}".encode() for tag, user in zip(tags, users)]
                own = [[i for i, slot in enumerate(slots) if slot in node.slots] for node in nodes]
                before = [node.cpu() for node in nodes]
                takes = calls_made = 0
                end = time.monotonic() + SECONDS
                while time.monotonic() < end:
                    for node, mine in zip(nodes, own):
                        by_slot = {}
                        for i in random.choices(mine, k=batch):
                            by_slot.setdefault(slots[i], set()).add(i)
                        takes += sum(map(len, by_slot.values()))
                        if is_across:
                            members = [keys[i] for some in by_slot.values() for i in some]
                            sizes = b"".join(struct.pack("<H", len(some)) for some in by_slot.values())
                            calls = [("EVALSHA", node.across, 1, members[0], *members, argument, sizes)]
                        else:
                            calls = [("EVALSHA", node.plain, len(some), *(keys[i] for i in some), argument) for some in by_slot.values()]
                        calls_made += len(calls)
                        node.send(calls)
                        node.count = len(calls)
                    for node in nodes:
                        node.read(node.count)
                spent = sum(node.cpu() for node in nodes) - sum(before)
                print(f"{turn} {name:32} {spent / takes * 1e6:6.2f} us/take  {takes / calls_made:5.2f} keys/call  {takes} takes", flush=True)
    finally:
        for node in nodes:
            node.process.terminate()
            node.process.wait()
        shutil.rmtree(directory)


main()
