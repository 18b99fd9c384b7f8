# SPDX-License-Identifier: BSD-2-Clause
"""
OVS-DPDK without installing it: Debian's packages are unpacked into the cache, so that no system service is ever set up.

The database server and the switch run in a directory and a network namespace of their own (a bridge of the userspace
datapath makes a tap device) and end with the session.
"""

import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from lib import paths, testpmd
from lib.procs import Failure

PACKAGES = ("openvswitch-switch-dpdk", "openvswitch-switch", "openvswitch-common")
SCHEMA = "usr/share/openvswitch/switch/vswitch.ovsschema"
SCHEMAS = (SCHEMA, "usr/share/openvswitch/vswitch.ovsschema")
DAEMON = "usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
COMMAND_SECONDS = 30


def tree():
    """Where the packages are unpacked; downloads them the first time."""
    base = paths.cache_dir() / "openvswitch"
    with open(paths.cache_dir() / "openvswitch.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (base / DAEMON).exists():
            return base
        with tempfile.TemporaryDirectory(prefix="vvu-deb-") as tmp:
            os.chmod(tmp, 0o755)
            done = subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=tmp, text=True, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            debs = list(pathlib.Path(tmp).glob("*.deb"))
            if done.returncode or len(debs) != len(PACKAGES):
                raise Failure(f"OVS-DPDK: apt-get download failed:\n{done.stdout}")
            part = base.with_name("openvswitch.part")
            shutil.rmtree(part, ignore_errors=True)
            for deb in debs:
                subprocess.run(["dpkg-deb", "-x", deb, part], check=True)
            shutil.rmtree(base, ignore_errors=True)
            part.rename(base)
    return base


class Switch:
    """One bridge with vhost-user ports p0, p1, ... whose poll-mode thread has one processor."""

    def __init__(self, session, ports, rule, cpu, mtu=None, name="ovs"):
        self.tree = tree()
        self.dir = session.dir / name
        self.dir.mkdir()
        self.ports = ports
        self.rule = rule
        self.mtu = mtu
        self.session = session
        self.cpu = cpu
        where = str(self.dir)
        self.env = {**os.environ, "OVS_RUNDIR": where, "OVS_LOGDIR": where, "OVS_DBDIR": where,
                    "OVS_SYSCONFDIR": where, "OVS_PKGDATADIR": str(self.tree / "usr/share/openvswitch")}
        schema = next(self.tree / s for s in SCHEMAS if (self.tree / s).exists())
        self._tool("usr/bin/ovsdb-tool", "create", self.dir / "conf.db", schema)
        self.database = session.start(f"{name}-db", [
            self.tree / "usr/sbin/ovsdb-server", f"--remote=punix:{where}/db.sock",
            f"--unixctl={where}/db.ctl", self.dir / "conf.db"], env=self.env)
        self.vsctl("--no-wait", "--retry", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
                   f"other_config:pmd-cpu-mask={1 << cpu:#x}",
                   f"other_config:dpdk-alloc-mem={512 if mtu else 256}",
                   # One directory of huge pages for all DPDK processes of the session.
                   f"other_config:dpdk-hugepage-dir={testpmd.huge_dir(session)}",
                   f"other_config:dpdk-extra=--no-pci --single-file-segments --file-prefix={session.dir.name}-{name}")
        self.prefix = f"{session.dir.name}-{name}"
        self.daemon = session.start(name, [
            "unshare", "--net", "--", self.tree / DAEMON, f"unix:{where}/db.sock", f"--unixctl={where}/vswitchd.ctl",
            "-vconsole:warn", "-vsyslog:off"], env=self.env)
        session.add(self)

    def stop(self):
        """DPDK leaves its runtime directory behind."""
        self.daemon.stop()
        testpmd.remove_runtime(self.prefix)

    def _tool(self, program, *args, timeout=COMMAND_SECONDS):
        done = subprocess.run([self.tree / program, *map(str, args)], env=self.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout + 5,
                              check=False)
        if done.returncode:
            tail = self.daemon.tail() if hasattr(self, "daemon") else ""
            raise Failure(f"{pathlib.Path(program).name} {' '.join(map(str, args))}:\n{done.stdout}{tail}")
        return done.stdout

    def vsctl(self, *args, timeout=COMMAND_SECONDS):
        """ovs-vsctl; waits until the switch has done it, unless --no-wait is among the arguments."""
        return self._tool("usr/bin/ovs-vsctl", f"--timeout={timeout}", f"--db=unix:{self.dir}/db.sock", *args,
                          timeout=timeout)

    def appctl(self, *args):
        """ovs-appctl."""
        return self._tool("usr/bin/ovs-appctl", "-t", self.dir / "vswitchd.ctl", *args)

    def ofctl(self, *args):
        """ovs-ofctl, on the bridge's own socket."""
        return self._tool("usr/bin/ovs-ofctl", args[0], f"unix:{self.dir}/br0.mgmt", *args[1:])

    def configure(self, timeout):
        """Make the bridge; returns when the sockets are there."""
        words = ["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail-mode=standalone"]
        for i in range(self.ports):
            words += ["--", "add-port", "br0", f"p{i}", "--", "set", "Interface", f"p{i}", "type=dpdkvhostuserclient",
                      f"options:vhost-server-path={self.session.dir}/p{i}.sock", f"ofport_request={i + 1}"]
            if self.mtu:
                words.append(f"mtu_request={self.mtu}")
        self.vsctl(*words, timeout=timeout)
        if self.rule == "flows":
            self.ofctl("del-flows")
            for i in range(self.ports):
                self.ofctl("add-flow", f"in_port={i + 1},actions=output:{(i ^ 1) + 1}")

    def busy(self):
        """(cycles, frames) of the poll-mode thread."""
        text = self.appctl("dpif-netdev/pmd-stats-show")
        cycles = re.search(r"processing cycles: (\d+)", text)
        frames = re.search(r"packets received: (\d+)", text)
        if not cycles or not frames:
            return None
        return int(cycles.group(1)), int(frames.group(1))

    def dropped(self):
        """Frames received from a port and sent to none."""
        text = self.ofctl("dump-ports")
        received = sent = 0
        for block in re.split(r"\n\s*port +", text)[1:]:
            if not block.startswith("LOCAL"):
                received += int(re.search(r"rx pkts=(\d+)", block).group(1))
                sent += int(re.search(r"tx pkts=(\d+)", block).group(1))
        return received - sent
