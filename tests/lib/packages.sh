#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Installs the Debian packages that building and testing need, if any is missing.
#
#   tests/lib/packages.sh           install what is missing (needs root)
#   tests/lib/packages.sh --list    print the list
#   tests/lib/packages.sh --check   exit 1 and name what is missing, change nothing
#
# With --perf as first argument, also what tests/perf/run needs. (OVS-DPDK is not among it: the benchmark unpacks its packages
# itself, so that no service is set up; here are the libraries.)
#
# When nothing is missing no network and no root is needed.

set -euo pipefail

packages=(
	# build
	meson ninja-build gcc clang-14 libclang-rt-14-dev lld-14 llvm-14 binutils pkg-config python3
	libevent-dev libseccomp-dev libjson-c-dev libcmocka-dev spin
	# style
	clang-format-14 clang-tidy-14 cppcheck codespell mandoc shellcheck
	# peers to test with
	qemu-system-x86 dpdk dpdk-dev librte-net-vhost23 librte-net-virtio23 libdpdk-dev
	busybox-static cpio strace
)

perf_packages=(
	gnuplot-nox iproute2 util-linux
	libbpf1 libcap-ng0 libnuma1 libunbound8 libxdp1 librte-meter23
)

if [ "${1:-}" = --perf ]; then
	packages+=("${perf_packages[@]}")
	shift
fi

missing_packages() {
	local installed
	# shellcheck disable=SC2016
	installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" \
		2>/dev/null | sed -n 's/ installed$//p' || true)
	local p
	for p in "${packages[@]}"; do
		grep -qx -- "$p" <<<"$installed" || echo "$p"
	done
}

case "${1:-}" in
--list)
	printf '%s\n' "${packages[@]}"
	exit 0
	;;
"" | --check) ;;
*)
	echo "usage: packages.sh [--perf] [--list | --check]" >&2
	exit 2
	;;
esac

if ! command -v dpkg-query >/dev/null; then
	echo "packages: not a Debian system; please install the like of: ${packages[*]}" >&2
	exit 0
fi
mapfile -t missing < <(missing_packages)
if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi
if [ "${1:-}" = --check ]; then
	echo "packages: missing: ${missing[*]}" >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "packages: missing: ${missing[*]}" >&2
	echo "packages: run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
	exit 1
fi

log=$(mktemp /tmp/vvu-packages.XXXXXX)
trap 'rm -f "$log"' EXIT
echo "packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Others may be installing something, and mirrors have bad moments.
if ! { apt-get update -qq -o Acquire::Retries=5 && apt-get install -y -qq --no-install-recommends -o Acquire::Retries=5 \
	-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
	tail -n 20 "$log" >&2
	echo "packages: apt-get failed; its last lines are above" >&2
	exit 1
fi
echo "packages: ${#missing[@]} installed"
