# SPDX-License-Identifier: BSD-2-Clause
"""
Front-ends on processor 1 with one interface:

  wait_ready(), start()       traffic on (it stays on; a side is paused by stopping its processes)
  window(seconds)             figures of one window: rate (frames received per second), p50/p99 (ns), ...
  finish()                    halt, receive what is under way, return (sent, received)
"""

from lib import load, testpmd

from . import fronts_load, peers

CPU = 1
WIDE = "--force-max-simd-bitwidth=512"


def mac(index):
    """Address of a front-end port."""
    return f"02:00:00:00:00:{index + 1:02x}"


class Circle:
    """
    DPDK's testpmd, answering each frame in `mac` mode at the port where it came: frames circulate through the switch, both ways at
    once, at the rate that the slower side allows. Each port has an address of its own, so a switch can learn. It writes
    headers only and reads little. (Its flowgen mode uses one source address everywhere, so that every learning switch
    floods: it is of no use here.)
    """

    name = "testpmd, circulating"
    BURSTS = 14         # of 32 frames per port: under half a ring, so that nobody has to drop any

    def __init__(self, session, path, spec, options, wide):
        self.path = path
        ports = [testpmd.Port(path.socket(i), mac(i), queues=spec.queues, options=options,
                              server=path.modes[i] == "client") for i in range(2)]
        extra = [*peers.mbuf_options(spec.size), f"--rxq={spec.queues}", f"--txq={spec.queues}",
                 f"--txpkts={spec.size}", "--port-topology=loop"]
        self.front = testpmd.Testpmd(
            session, f"fe-{path.side}", ports, cpu=CPU, huge=spec.huge, forward="mac", peers=[mac(1), mac(0)],
            extra_eal=[WIDE] if wide else [], extra=extra,
            memory=peers.MEMORY_JUMBO_MIB if spec.size > 1518 else peers.MEMORY_MIB)
        self.process = self.front.proc

    def wait_ready(self):
        """Until it is connected."""
        self.front.wait_ready()

    def start(self):
        """Traffic on."""
        self.front.command(f"start tx_first {self.BURSTS}", r"packet forwarding packets/burst")

    def window(self, seconds):
        """Frames received per second."""
        return {"rate": self.front.window(seconds)}

    def finish(self):
        """(sent, received) once nothing is under way."""
        self.front.halt()
        self.front.drain(self.path.dropped, 10)
        return self.front.total("opackets"), self.front.total("ipackets")


FRONTS = {"load": fronts_load.Load, "steady": fronts_load.Steady, "ceiling": fronts_load.Ceiling,
          "memcpy": fronts_load.Memcpy}
# Kinds of sides that have no back-end: the front-end is all there is.
ALONE = ("ceiling", "memcpy")


def start(session, path, spec):
    """Start the front-end that the side asks for; does not wait."""
    options = load.LAYOUTS[spec.variant]
    wide = "vectorized=1" in options
    if spec.front == "circle":
        return Circle(session, path, spec, options, wide)
    return FRONTS[path.kind if path.kind in ALONE else spec.front](session, path, spec, options)
