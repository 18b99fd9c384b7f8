# SPDX-License-Identifier: BSD-2-Clause
"""The kinds of faults: how often each comes, and what it does to the world. Each function returns words for the log."""

import time

from . import hostile
from .world import HOSTILE

def _stop(world, pid, rng):
    ms = rng.choice((rng.randint(1, 50), rng.randint(50, 1500)))
    return f"for {ms} ms" if world.stop_for(pid, ms / 1000) else "not done: stopped already"


def vmm_kill(world, rng):
    """SIGKILL; while it is replaced, of either."""
    if not world.wait_for(world.proxy_has_all):
        return "not done: the proxy does not get all sessions"
    world.vmms.kill(old=rng.random() < 0.5)
    return ""


def vmm_reset(world, _rng):
    """The VM's reset button."""
    if not world.wait_for(world.proxy_has_all):
        return "not done: the proxy does not get all sessions"
    return "" if world.vmms.reset() else "not there"


def vmm_panic(world, _rng):
    """An NMI, at which the appliance panics."""
    if not world.wait_for(world.proxy_has_all):
        return "not done: the proxy does not get all sessions"
    return "" if world.vmms.panic() else "not there"


def vmm_stop(world, rng):
    """SIGSTOP, SIGCONT."""
    return _stop(world, world.vmms.pid(), rng)


def vmm_replace(world, _rng):
    """Another one in its place: `vvu replace`."""
    if not world.wait_for(lambda: world.vmms.ripe() and world.linked()):
        return "not done: no VMM serves all ports"
    return "" if world.vmms.replace() else "not done: one is being replaced"


def replace_proxy_kill(world, rng):
    """A replacement, and SIGKILL of the proxy in the middle of it: anywhere, or when a session is on its way."""
    if not world.wait_for(lambda: world.vmm_has_all() and world.linked()) or not world.vmms.replace():
        return "not done: no VMM has all sessions"
    until = time.monotonic() + rng.uniform(0, 0.2)
    moving, later = rng.random() < 0.7, rng.uniform(0, 0.02)
    while world.vmms.replacement and (not world.is_moving() if moving else time.monotonic() < until):
        world.tick()
        time.sleep(0.001)
    if moving:
        time.sleep(later)
    states = world.ports()
    world.kill_proxy()
    return ",".join(sorted({port["state"] for port in states})) if states else ""


def proxy_stop(world, rng):
    """SIGSTOP, SIGCONT."""
    return _stop(world, world.path.proxy.pid, rng)


def proxy_kill(world, _rng):
    """SIGKILL."""
    if not world.wait_for(world.vmm_has_all):
        return "not done: no VMM gets all sessions"
    world.kill_proxy()
    return ""


def proxy_upgrade(world, rng):
    """Another one takes over; one in four is killed on the way."""
    if world.path.proxy.pid in world.stopped:
        return "not done: it is stopped"
    if rng.random() < 0.75:
        return world.upgrade_proxy()
    # As far as it may have got, it has the sessions, and dies with them.
    if not world.wait_for(world.vmm_has_all):
        return "not done: no VMM gets all sessions"
    return world.upgrade_proxy(rng.choice((rng.uniform(0, 0.02), rng.uniform(0, 0.1))))


def front_end_stop(world, rng):
    """SIGSTOP, SIGCONT: any kind."""
    return _stop(world, rng.choice([pid for stream in world.steady for pid in stream.pids()]), rng)


def front_end_kill(world, _rng):
    """SIGKILL; the next one comes when its ports are free."""
    if not world.victims.proc.running():
        return "not there"
    world.victims.kill()
    return ""


def qemu_kill(world, _rng):
    """SIGKILL of the expendable guest's QEMU; the next one comes when its port is free."""
    return world.visitor.kill()


def guest_reboot(world, rng):
    """The expendable guest's reset button, or a reboot from inside."""
    return world.visitor.restart(rng.random() < 0.5)


def guest_link(world, rng):
    """The expendable guest's link goes off, then on."""
    return world.visitor.flap(rng.choice((0, rng.uniform(0, 0.1), rng.uniform(0.1, 1.5))))


def _peer(what, where):
    def fault(world, rng):
        path = world.path.link if where is None else world.path.socket(HOSTILE[where])
        world.jobs.put(lambda: what(rng, path))
        return ""
    fault.__doc__ = what.__doc__
    return fault


# What needs QEMU guests.
OF_GUESTS = ("qemu-kill", "guest-reboot", "guest-link")
# kind: (how often, compared with the others; function)
KINDS = {
    "vmm-kill": (3, vmm_kill),
    "vmm-reset": (2, vmm_reset),
    "vmm-panic": (2, vmm_panic),
    "vmm-stop": (2, vmm_stop),
    "vmm-replace": (3, vmm_replace),
    "replace-proxy-kill": (2, replace_proxy_kill),
    "proxy-stop": (2, proxy_stop),
    "proxy-kill": (3, proxy_kill),
    "proxy-upgrade": (2, proxy_upgrade),
    "front-end-stop": (2, front_end_stop),
    "front-end-kill": (2, front_end_kill),
    "qemu-kill": (2, qemu_kill),
    "guest-reboot": (2, guest_reboot),
    "guest-link": (4, guest_link),
    "front-end-reconnect": (3, _peer(hostile.come_and_go, 1)),
    "hostile-message": (3, _peer(hostile.messages, 0)),
    "hostile-part": (1, _peer(hostile.half_a_message, 1)),
    "hostile-ring": (3, _peer(hostile.rings, 0)),
    "hostile-memory": (3, _peer(hostile.memory, 0)),
    "link-garbage": (2, _peer(hostile.link, None)),
}
