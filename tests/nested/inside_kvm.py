#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Run by nested.py inside the guest: every case of the kvm suite (tests/kvm/cases.json) once more, on SVM."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "kvm"))

# pylint: disable=wrong-import-position
import run as kvm
from lib import paths


def main():
    """One verdict line per case; a case's key `nested` says what differs here, or why it cannot run."""
    passed = failed = 0
    left_out = []
    for name, case in kvm.load_cases().items():
        different = case.get("nested", {})
        if isinstance(different, str):
            left_out.append(name)
            print(f"LEFT OUT {name}: {different}", flush=True)
            continue
        begin = time.monotonic()
        # Emulation of emulation is slow; the limit is there to end what hangs.
        case = {**case, **different, "timeout": 3 * kvm.TIMEOUT}
        try:
            kvm.run_case(case, paths.build_dir())
            passed += 1
            print(f"PASS {name} ({time.monotonic() - begin:.1f} s)", flush=True)
        except kvm.damage.Unavailable as error:
            left_out.append(name)
            print(f"LEFT OUT {name}: {error}", flush=True)
        except kvm.Failure as error:
            failed += 1
            print(f"FAIL {name}: {error}", flush=True)
    print(f"nested kvm suite: {passed} passed, {failed} failed, {len(left_out)} left out", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
