# SPDX-License-Identifier: BSD-2-Clause
"""What a person watching sees: steps with time stamps, and a live line while something takes long."""

import sys
import time


class Ui:
    """Prints steps; draws progress in place on a terminal and as rare plain lines elsewhere."""

    def __init__(self, out=sys.stdout):
        self.out = out
        self.start = time.monotonic()
        self.tty = out.isatty()
        self.drawn = False
        self.last = 0.0

    def _stamp(self):
        return f"[{time.monotonic() - self.start:6.1f} s]"

    def _clear(self):
        if self.drawn:
            self.out.write("\r\033[K")
            self.drawn = False

    def step(self, text):
        """A finished or starting step."""
        self._clear()
        self.out.write(f"{self._stamp()} {text}\n")
        self.out.flush()

    def detail(self, text):
        """Lines that belong to the step above."""
        self._clear()
        for line in text.splitlines():
            self.out.write(f"           {line}\n")
        self.out.flush()

    def progress(self, text, fraction=None):
        """Something is under way; call as often as you like."""
        now = time.monotonic()
        if fraction is not None:
            full = int(30 * max(0.0, min(1.0, fraction)))
            text = f"{text} [{'#' * full}{'.' * (30 - full)}]"
        if self.tty:
            if now - self.last < 0.1:
                return
            self.out.write(f"\r\033[K{self._stamp()} {text}")
            self.drawn = True
        else:
            if now - self.last < 5:
                return
            self.out.write(f"{self._stamp()} {text}\n")
        self.last = now
        self.out.flush()
