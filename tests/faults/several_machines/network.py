"""Hosts as network namespaces: a network of their own each, one computer's processes and files for all.

    outside ──┐            ┌── db1, db2
     "front" ─┼─ web1 ─────┼─ "back"
              └─ worker1 ──┘

The bridges are in a namespace as well, so that nothing of it touches the network of the machine (or its firewall),
and with the namespaces all is gone. Addresses are known to everybody beforehand: to a host that is unplugged packets
leave, and nothing ever comes back, not even a refusal.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

NETS: Mapping[str, str] = {"front": "10.77.1", "back": "10.77.2"}
HOSTS: Mapping[str, tuple[str, ...]] = {
    "outside": ("front",),
    "web1": ("front", "back"),
    "web2": ("front", "back"),
    "worker1": ("front", "back"),
    "worker2": ("front", "back"),
    "db1": ("back",),
    "db2": ("back",),
}
NEEDED = (
    "This test makes hosts of its own as network namespaces. For that it must run as root, on Linux, with leave to "
    "make them (in a container: --privileged, or --cap-add NET_ADMIN --cap-add SYS_ADMIN), and with the program "
    "`ip` (Debian: apt-get install iproute2)."
)
# Ends with this process, in whatever way: then the pipe to it ends.
WATCH = """read -r _
folder=$1; shift
for space in "$@"; do ip netns pids "$space" 2>/dev/null; done | xargs -r kill -9
for space in "$@"; do ip netns delete "$space"; done
rm -rf "$folder"
"""


class Unable(AssertionError):
    """Nothing is wrong with the gateway; the test cannot be made here. Says what it needs."""


class Network:
    """All hosts, plugged in. `close` ends every process that runs on them, and takes the folder of their files away."""

    def __init__(self, folder: Path) -> None:
        if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("ip") is None:
            raise Unable(NEEDED)
        self._prefix = f"gw{secrets.token_hex(4)}"
        self._switch = self.space("switch")
        spaces = [self._switch, *(self.space(host) for host in HOSTS)]
        self._watcher = subprocess.Popen(
            ["sh", "-c", WATCH, "sh", str(folder), *spaces],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._make(spaces)
        except Unable:
            self.close()
            raise

    def close(self) -> None:
        self._watcher.communicate()

    def space(self, host: str) -> str:
        """The name of its namespace, of this run alone."""
        return f"{self._prefix}-{host}"

    def address(self, host: str, net: str) -> str:
        return f"{NETS[net]}.{list(HOSTS).index(host) + 11}"

    def on(self, host: str, command: Sequence[str | Path], user: str = "") -> list[str]:
        """The command that runs this one on that host, under the process id that the caller sees."""
        become = ["setpriv", f"--reuid={user}", f"--regid={_group(user)}", "--clear-groups"] if user else []
        return ["ip", "netns", "exec", self.space(host), *become, *map(str, command)]

    def unplug(self, host: str, net: str) -> None:
        """At the switch: the host itself notices nothing, but that nobody answers any more."""
        _ip(f"link set dev {host}-{net} nomaster", self._switch)

    def plug(self, host: str, net: str) -> None:
        _ip(f"link set dev {host}-{net} master {net}", self._switch)

    def _make(self, spaces: Sequence[str]) -> None:
        _ip("\n".join(f"netns add {space}" for space in spaces))
        _ip("\n".join(f"link add name {net} type bridge\nlink set dev {net} up" for net in NETS), self._switch)
        _ip("\n".join(self._cable(host, net) for host, nets in HOSTS.items() for net in nets), self._switch)
        for host, nets in HOSTS.items():
            _ip("\n".join(["link set dev lo up", *(self._card(host, net) for net in nets)]), self.space(host))

    def _cable(self, host: str, net: str) -> str:
        port = f"{host}-{net}"
        return (
            f"link add name {port} type veth peer name {net} address {_mac(host, net)} netns {self.space(host)}\n"
            f"link set dev {port} master {net} up"
        )

    def _card(self, host: str, net: str) -> str:
        others = [other for other, nets in HOSTS.items() if net in nets and other != host]
        lines = [f"address add {self.address(host, net)}/24 dev {net}", f"link set dev {net} up"]
        known = "neighbour add {} lladdr {} dev {} nud permanent"
        return "\n".join(lines + [known.format(self.address(one, net), _mac(one, net), net) for one in others])


def _mac(host: str, net: str) -> str:
    return f"02:00:00:00:{list(NETS).index(net):02x}:{list(HOSTS).index(host):02x}"


def _group(user: str) -> int:
    import pwd  # there is none on Windows

    return pwd.getpwnam(user).pw_gid


def _ip(lines: str, space: str = "") -> None:
    command = ["ip", *(["-netns", space] if space else []), "-batch", "-"]
    done = subprocess.run(command, input=lines + "\n", capture_output=True, text=True)
    if done.returncode:
        raise Unable(f"{NEEDED} Here `ip` said: {done.stderr.strip()}")
