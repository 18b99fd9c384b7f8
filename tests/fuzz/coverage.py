#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""How much of the code that parses peers' bytes the kept corpora reach, in lines.

usage: coverage.py LLVM_PROFDATA LLVM_COV BINARY ...
       coverage.py --grow SECONDS BUILD [NAME ...]
       coverage.py --missing REASON

Each BINARY is a target built with coverage (cover_NAME, see build_fuzzer.py); it runs over tests/fuzz/corpus/NAME once. What
all targets reach together is compared with the list of files below. Exit status: 0, 1 when a file is below its limit, 77.

--grow lets each target (or those named) of the build directory BUILD fuzz for so long (0: not at all), from what it has
found before, and keeps what reaches more than the hand-made seeds do. A corpus has the seeds (seeds.py) under names in words, and what
was found under 16 hexadecimal digits; the latter are replaced.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SKIP = 77
LIMIT = 90.0
ROOT = pathlib.Path(__file__).resolve().parents[2]

# Every file in which bytes of a peer are read, or what a peer does is judged: front-ends, back-end guests, VMMs, proxies.
PARSERS = (
    "guest-driver/proto/vu_check.c",
    "guest-driver/proto/vu_regions.c",
    "guest-driver/vq/memmap.c",
    "guest-driver/vq/vq_dev.c",
    "guest-driver/vq/vq_packed.c",
    "guest-driver/vq/vq_split.c",
    "guest-driver/vq/vq_track.c",
    "guest-driver/vq/vq_walk.c",
    "backend-vm/core/fdb.c",
    "backend-vm/core/frame.c",
    "backend-vm/core/kicks.c",
    "backend-vm/core/mail.c",
    "backend-vm/core/net_hot.h",
    "backend-vm/core/net_rx.c",
    "backend-vm/core/net_soft.c",
    "backend-vm/core/net_tx.c",
    "backend-vm/core/port.c",
    "backend-vm/core/session.c",
    "backend-vm/core/switch.c",
    "host-proxy/away.c",
    "host-proxy/channel.c",
    "host-proxy/link.c",
    "host-proxy/memory.c",
    "host-proxy/record.c",
    "host-proxy/recover.c",
    "host-proxy/relay.c",
    "host-proxy/replace.c",
    "host-proxy/replay.c",
    "host-proxy/replies.c",
    "host-proxy/session.c",
    "host-proxy/takeover.c",
    "host-proxy/takeover_check.c",
    "host-proxy/takeover_wire.c",
    "host-proxy/translate.c",
    "vmm/hostlib/wire.c",
    "vmm/msix.c",
    "vmm/pci.c",
    "vmm/virtio_dev.c",
    "vmm/virtio_pci.c",
    "vmm/vvu_dev.c",
    "vmm/vvu_keep.c",
    "vmm/vvu_link.c",
    "vmm/vvu_memory.c",
    "vmm/vvu_rings.c",
    "vmm/vvu_session.c",
    "vmm/vvu_shmem.c",
    "vmm/vvu_watch.c",
)

# Files that fuzzers reach less of, with the reason. These limits are to go up, never down.
LOWER = {}


def run_corpus(binary, profiles):
    """Run one target over its corpus; its profile goes to the directory profiles."""
    name = pathlib.Path(binary).name.removeprefix("cover_")
    corpus = ROOT / "tests/fuzz/corpus" / name
    env = dict(os.environ, LLVM_PROFILE_FILE=str(profiles / f"{name}.profraw"))
    done = subprocess.run([binary, "-runs=0", "-timeout=60", corpus], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", env=env, check=False)
    if done.returncode:
        print(done.stdout[-4000:])
        raise SystemExit(f"{name}: status {done.returncode} over its own corpus")
    return len(list(corpus.iterdir()))


def totals(tools, binaries, profiles):
    """Lines of each file of ours: {path in the tree: (covered, all)}."""
    profdata, cov = tools
    merged = profiles / "all.profdata"
    raw = sorted(profiles.glob("*.profraw"))
    # Targets have functions of the same name (LLVMFuzzerTestOneInput): a warning, and no loss to the files above.
    subprocess.run([profdata, "merge", "-sparse", "-o", merged, *raw], check=True, stderr=subprocess.DEVNULL)
    objects = [binaries[0]]
    for binary in binaries[1:]:
        objects += ["-object", binary]
    out = subprocess.run([cov, "export", "-format=text", "-summary-only", f"-instr-profile={merged}", *objects],
                         check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    lines = {}
    for file in json.loads(out)["data"][0]["files"]:
        path = os.path.relpath(os.path.realpath(file["filename"]), ROOT)
        summary = file["summary"]["lines"]
        lines[path] = (summary["covered"], summary["count"])
    return lines


def fuzz(command, log):
    """Run a fuzzer; its words go to the file log. SystemExit when it fails."""
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1", UBSAN_OPTIONS="print_stacktrace=1", LLVM_PROFILE_FILE="/dev/null")
    with open(log, "w", encoding="utf-8") as out:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, check=False).returncode
    if status:
        raise SystemExit(f"status {status}, see {log}: {' '.join(map(str, command))}")


def grow(name, seconds, folder):
    """Fuzz one target built in folder, and replace what is kept of its finds."""
    corpus, found = ROOT / "tests/fuzz/corpus" / name, folder / f"{name}.corpus"
    log = folder / f"{name}.grow.log"
    found.mkdir(exist_ok=True)
    if seconds:
        fuzz([folder / f"fuzz_{name}", f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048",
              f"-artifact_prefix={folder / name}.", found, corpus], log)
    with tempfile.TemporaryDirectory(prefix="vvu-grow-") as where:
        kept, old = pathlib.Path(where) / "kept", pathlib.Path(where) / "old"
        kept.mkdir()
        old.mkdir()
        for path in corpus.iterdir():
            shutil.copy(path, old if re.fullmatch("[0-9a-f]{16}", path.name) else kept)
        seeds = {path.name for path in kept.iterdir()}
        # Lines count here, not how often they run: that is what the test asks for.
        fuzz([folder / f"cover_{name}", "-set_cover_merge=1", "-use_counters=0", "-use_value_profile=0", "-timeout=60",
              kept, old, found], log)
        for path in corpus.iterdir():
            if path.name not in seeds:
                path.unlink()
        finds = [path for path in kept.iterdir() if path.name not in seeds]
        for path in finds:
            shutil.copy(path, corpus / path.name[:16])
    print(f"{name}: {len(seeds)} seeds and {len(finds)} finds")


def main(argv):
    """Entry point."""
    if argv[0] == "--missing":
        print(f"skipped: {argv[1]}")
        return SKIP
    if argv[0] == "--grow":
        folder = pathlib.Path(argv[2]).resolve() / "tests/fuzz"
        for name in argv[3:] or sorted(path.name for path in (ROOT / "tests/fuzz/corpus").iterdir()):
            grow(name, int(argv[1]), folder)
        return 0
    tools, binaries = argv[:2], argv[2:]
    with tempfile.TemporaryDirectory(prefix="vvu-cover-") as where:
        profiles = pathlib.Path(where)
        for binary in binaries:
            inputs = run_corpus(binary, profiles)
            print(f"{pathlib.Path(binary).name}: {inputs} inputs")
        lines = totals(tools, binaries, profiles)
    low = []
    print(f"\n{'file':40} {'lines':>6} {'reached':>8}")
    for path in PARSERS:
        covered, count = lines.get(path, (0, 0))
        percent = 100.0 * covered / count if count else 0.0
        limit = LOWER.get(path, LIMIT)
        print(f"{path:40} {count:6} {percent:7.1f}%")
        if percent < limit:
            low.append(f"{path} (of {limit:g} %)")
    if low:
        print(f"\ntoo low: {', '.join(low)}")
        print("Where a harness lacks an operation, add it; then coverage.py --grow (tests/README.md).")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
