# SPDX-License-Identifier: BSD-2-Clause
"""The numbers of the ABI headers, as the program abi-dump of the build directory prints them."""

import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import paths  # noqa: E402

_DUMP = json.loads(subprocess.run([paths.build_dir() / "tests/proxy/abi-dump"],
                                  stdout=subprocess.PIPE, check=True).stdout)

C = _DUMP["constants"]
FRONTEND = _DUMP["frontend"]
BACKEND = _DUMP["backend"]
RULES = _DUMP["rules"]
PF = _DUMP["protocol_features"]

VERSION = C["VHOST_USER_VERSION"]
REPLY = C["VHOST_USER_REPLY_MASK"]
NEED_REPLY = C["VHOST_USER_NEED_REPLY_MASK"]
NOFD = C["VHOST_USER_VRING_NOFD_MASK"]
CARRIED = C["VHOST_USER_PF_CARRIED"]
F_PROTOCOL_FEATURES = 1 << C["VHOST_USER_F_PROTOCOL_FEATURES_BIT"]
F_LOG_ALL = 1 << C["VHOST_F_LOG_ALL_BIT"]
F_ACCESS_PLATFORM = 1 << 33
F_VERSION_1 = 1 << 32

_FRONTEND_NAMES = {row["id"]: name for name, row in FRONTEND.items()}


def pf(*names):
    """A mask of protocol features."""
    mask = 0
    for name in names:
        mask |= 1 << PF[name]
    return mask


def internal(gate):
    """Whether a message with that gate is for proxy, device and driver among themselves."""
    return bool(gate < 64 and C["VHOST_USER_PF_INTERNAL"] >> gate & 1)


def frontend_id(name):
    """The number of a front-end request."""
    return FRONTEND[name]["id"]


def frontend_name(number):
    """The name of a front-end request."""
    return _FRONTEND_NAMES.get(number, f"request {number}")
