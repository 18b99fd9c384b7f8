# SPDX-License-Identifier: BSD-2-Clause
"""The kinds of faults: how often each comes, and what it does to the world. Each function returns words for the log."""

from . import hostile
from .world import HOSTILE

# What has no part to be tried on yet: left out, with a line that says so.
LEFT_OUT = {
    "proxy-upgrade": "vvu-proxy has no --takeover yet",
    "vmm-replace": "this test does not know `vvu replace` yet",
}


def _stop(world, pid, rng):
    ms = rng.choice((rng.randint(1, 50), rng.randint(50, 1500)))
    return f"for {ms} ms" if world.stop_for(pid, ms / 1000) else "not done: stopped already"


def vmm_kill(world, _rng):
    """SIGKILL."""
    if not world.wait_for(world.proxy_has_all):
        return "not done: the proxy does not get all sessions"
    world.kill_vmm()
    return ""


def vmm_reset(world, _rng):
    """The VM's reset button."""
    if not world.wait_for(world.proxy_has_all):
        return "not done: the proxy does not get all sessions"
    return "" if world.reset_vmm() else "not there"


def vmm_panic(world, _rng):
    """An NMI, at which the appliance panics."""
    if not world.wait_for(world.proxy_has_all):
        return "not done: the proxy does not get all sessions"
    return "" if world.panic_vmm() else "not there"


def vmm_stop(world, rng):
    """SIGSTOP, SIGCONT."""
    return _stop(world, world.vmm_pid(), rng)


def proxy_stop(world, rng):
    """SIGSTOP, SIGCONT."""
    return _stop(world, world.path.proxy.pid, rng)


def proxy_kill(world, _rng):
    """SIGKILL."""
    if not world.wait_for(world.vmm_has_all):
        return "not done: no VMM gets all sessions"
    world.kill_proxy()
    return ""


def front_end_stop(world, rng):
    """SIGSTOP, SIGCONT."""
    return _stop(world, world.streams[0].proc.pid, rng)


def front_end_kill(world, _rng):
    """SIGKILL; the next one comes when its ports are free."""
    if not world.victims.proc.running():
        return "not there"
    world.victims.kill()
    return ""


def _peer(what, where):
    def fault(world, rng):
        path = world.path.link if where is None else world.path.socket(HOSTILE[where])
        world.jobs.put(lambda: what(rng, path))
        return ""
    fault.__doc__ = what.__doc__
    return fault


# kind: (how often, compared with the others; function)
KINDS = {
    "vmm-kill": (3, vmm_kill),
    "vmm-reset": (2, vmm_reset),
    "vmm-panic": (2, vmm_panic),
    "vmm-stop": (2, vmm_stop),
    "vmm-replace": (3, None),
    "proxy-stop": (2, proxy_stop),
    "proxy-kill": (3, proxy_kill),
    "proxy-upgrade": (2, None),
    "front-end-stop": (2, front_end_stop),
    "front-end-kill": (2, front_end_kill),
    "front-end-reconnect": (3, _peer(hostile.come_and_go, 1)),
    "hostile-message": (3, _peer(hostile.messages, 0)),
    "hostile-part": (1, _peer(hostile.half_a_message, 1)),
    "hostile-ring": (3, _peer(hostile.rings, 0)),
    "hostile-memory": (3, _peer(hostile.memory, 0)),
    "link-garbage": (2, _peer(hostile.link, None)),
}
