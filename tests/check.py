# SPDX-License-Identifier: BSD-3-Clause
"""Builds the project in every variant and runs every test suite; the last line counts the tests.

A suite is a function that returns a Count. Output of long steps goes to build/check/*.log and is
shown when a step fails. Suites that wait more than they compute run beside each other (STAGES). Run
through ./check, which installs what is needed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
import threading
import time
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
OUT = TOP / "build" / "check"
SANITIZE = ["-Db_sanitize=address,undefined", "-Db_lundef=false", "--buildtype=debugoptimized"]
VARIANTS = {
    "gcc": ({"CC": "gcc"}, ["--buildtype=debugoptimized"]),
    "clang": ({"CC": "clang"}, ["--buildtype=debugoptimized"]),
    # As it is installed. Of gcc's warnings some need -O3 to see through more functions at once; of
    # clang's none depends on the level.
    "optimized": ({"CC": "gcc"}, ["--buildtype=release", "-Dtests=false"]),
    "asan": ({"CC": "gcc"}, SANITIZE),
    # The fence of shadow doorbells orders the SSD, not a thread: TSan need not know it.
    "tsan": ({"CC": "gcc"}, ["-Db_sanitize=thread", "-Db_lundef=false", "-Dc_args=-Wno-tsan"]),
    # Threads count in the same places.
    "coverage": ({"CC": "gcc"}, ["-Db_coverage=true", "--buildtype=debug",
                                 "-Dc_args=-fprofile-update=atomic"]),
    "fuzz": ({"CC": "clang"}, ["-Dfuzz=true", *SANITIZE]),
}
UNIT_VARIANTS = ("gcc", "clang", "asan", "tsan")
FUZZ_SECONDS = 60  # of new inputs, for each target
COVERED = {"line": 95, "branch": 88}  # percent of transport/ and target/, at least
NOT_COVERED = ["transport/ktls.c"]  # needs the kernel's tls module: only a guest's test could
MAX_FILE_LINES = 600
WIRE_HEADERS = {"pcie/nvme.h"}


@dataclass
class Count:
    """Tests that ran; `+` adds up."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other):
        return Count(self.passed + other.passed, self.failed + other.failed,
                     self.skipped + other.skipped)


held = threading.local()  # .lines: what a suite says while another runs beside it, for its end
building = threading.Lock()  # a build uses all CPUs, and two suites may want the same one


def log(text):
    lines = getattr(held, "lines", None)
    if lines is None:
        print(text, flush=True)
    else:
        lines.append(text)


def run(name, command, env=None, tail=60, timeout=3600):
    """Runs a command with its output in a log; shows the end of it on failure."""
    path = OUT / f"{name}.log"
    with path.open("wb") as out:
        try:
            result = subprocess.run(command, cwd=TOP, env={**os.environ, **(env or {})},
                                    stdout=out, stderr=subprocess.STDOUT, timeout=timeout,
                                    stdin=subprocess.DEVNULL, check=False)
            code = result.returncode
        except subprocess.TimeoutExpired:
            code = -1
            out.write(f"\n{name}: no end after {timeout} s\n".encode())
    if code != 0:
        lines = path.read_text(errors="replace").splitlines()
        log("\n".join(f"    {line}" for line in lines[-tail:]))
        log(f"    ({name} failed: {' '.join(map(str, command))})")
    return code == 0


def build(variant):
    """Configures and builds one variant, warnings being errors; returns its folder or None."""
    env, options = VARIANTS[variant]
    folder = TOP / "build" / variant
    with building:
        if not (folder / "build.ninja").exists():
            command = ["meson", "setup", str(folder), "--werror", *options]
            if not run(f"setup-{variant}", command, env):
                return None
        return folder if run(f"build-{variant}", ["ninja", "-C", str(folder)]) else None


# --- style: the tree itself -----------------------------------------------------------------------


def tracked(*patterns):
    """Files of the project: those git knows and new ones it does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    output = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True).stdout
    return [name for name in output.splitlines() if (TOP / name).exists()]


def check_format():
    """clang-format has nothing to change, and has put no comment's end on a line of its own."""
    sources = tracked("*.c", "*.h")
    good = run("format", ["clang-format", "--dry-run", "-Werror", *sources], tail=15)
    for path in sources:
        text = (TOP / path).read_text()
        for match in re.finditer(r"^[ \t]*/\* .*[^/\n]\n[ \t]*\*/$", text, re.MULTILINE):
            number = text.count("\n", 0, match.start()) + 1
            log(f"    {path}:{number}: shorten this comment to one line, or move words to its second")
            good = False
    return good


def check_layers():
    """util <- security <- pcie <- target <- transport <- config: nobody includes upwards."""
    layers = ["util", "security", "pcie", "target", "transport", "config"]
    good = True
    for name in tracked("*.c", "*.h"):
        folder = name.split("/")[0]
        if folder not in layers:
            continue
        for number, line in enumerate((TOP / name).read_text().splitlines(), 1):
            match = re.match(r'#include "(\w+)/', line)
            if match and match[1] in layers and layers.index(match[1]) > layers.index(folder):
                log(f"    {name}:{number}: {folder}/ may not include {match[1]}/")
                good = False
    return good


def check_sizes():
    """No file grows past what one sitting reads."""
    good = True
    for name in tracked("*.c", "*.h", "*.py"):
        lines = len((TOP / name).read_text().splitlines())
        if lines > MAX_FILE_LINES and name not in WIRE_HEADERS:
            log(f"    {name}: {lines} lines (at most {MAX_FILE_LINES})")
            good = False
    return good


def check_headers():
    """Each header compiles on its own."""
    good = True
    for name in tracked("*.h"):
        if name.startswith("tests/"):
            continue
        command = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-I.",
                   "-fsyntax-only", "-x", "c", name]
        good = run("header", command) and good
    return good


def check_arm64():
    """The daemon compiles for arm64, with the C library's headers alone: nothing else differs there."""
    folder = build("clang")  # for version.h
    root = "/usr/aarch64-linux-gnu/include"
    command = ["clang", "--target=aarch64-linux-gnu", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra",
               "-Werror", "-nostdlibinc", "-isystem", root, "-idirafter", "/usr/include",
               "-idirafter", f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}", "-I.", f"-I{folder}",
               "-c", "-o", "/dev/null"]
    sources = [name for name in tracked("*.c") if not name.startswith("tests/")]
    jobs = os.cpu_count() or 1

    def part(index):
        return all([run(f"arm64-{index}", [*command, name]) for name in sources[index::jobs]])

    with ThreadPoolExecutor(jobs) as pool:
        return bool(folder) and all(list(pool.map(part, range(jobs))))


def check_licences():
    """Every file says under which licence it is, but for prose, pictures and inputs of fuzzers."""
    others = ["*.md", "*.svg", "LICENSE", ".gitignore", "tests/fuzz/corpus/*"]
    missing = [name for name in tracked(".", *(f":!{pattern}" for pattern in others))
               if "SPDX-License-Identifier: BSD-3-Clause" not in (TOP / name).read_text()[:400]]
    for name in missing:
        log(f"    {name}: no SPDX line")
    return not missing


def check_manuals():
    """The manual pages are well-formed."""
    return run("manuals", ["mandoc", "-T", "lint", "-W", "warning", *tracked("docs/*.[158]")])


def check_tidy():
    """clang-tidy, with the checks and size limits of .clang-tidy."""
    folder = build("clang")
    sources = [name for name in tracked("*.c") if not name.startswith("tests/")]
    jobs = os.cpu_count() or 1

    def part(index):
        return run(f"tidy{index}", ["clang-tidy", "--quiet", "-p", str(folder),
                                    *sources[index::jobs]])

    with ThreadPoolExecutor(jobs) as pool:
        return bool(folder) and all(list(pool.map(part, range(jobs))))


def check_release():
    """The release build has no warning."""
    return bool(build("optimized"))


def style():
    """Format, layers, sizes, stand-alone headers, arm64, licences, manuals, clang-tidy, the release build."""
    count = Count()
    for check in (check_format, check_layers, check_sizes, check_headers, check_arm64,
                  check_licences, check_manuals, check_tidy, check_release):
        good = check()
        log(f"  {'ok  ' if good else 'FAIL'} {check.__doc__}")
        count += Count(passed=int(good), failed=int(not good))
    return count


# --- programs and suites --------------------------------------------------------------------------


def meson_count(folder):
    """Results of the last `meson test` in a build folder: cases inside a program where it names them. Logs why
    any were skipped."""
    count = Count()
    for line in (folder / "meson-logs" / "testlog.json").read_text().splitlines():
        entry = json.loads(line)
        stdout = entry.get("stdout") or ""
        for why in re.findall(r"^skipped: (.*)", stdout, re.M):
            log(f"  skipped in {entry['name']}: {why}")
        cases = re.findall(r"^\[\s+(OK|FAILED|SKIPPED)\s+\] \w", stdout, re.M)
        passed, skipped = cases.count("OK"), cases.count("SKIPPED")
        if entry["result"] == "OK":
            count += Count(max(passed, 1 if not skipped else 0), 0, skipped)
        else:
            count += Count(passed, 1, skipped)
    return count


def unit_in(variant):
    """The unit tests in one variant."""
    folder = build(variant)
    if not folder:
        return Count(failed=1)
    log_file = folder / "meson-logs" / "testlog.json"
    log_file.unlink(missing_ok=True)
    env = {"ASAN_OPTIONS": "abort_on_error=0:exitcode=99", "TSAN_OPTIONS": "exitcode=99",
           "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    good = run(f"unit-{variant}", ["meson", "test", "-C", str(folder), "--print-errorlogs"], env)
    count = meson_count(folder) if log_file.exists() else Count()
    if not good and not count.failed:
        count.failed = 1
    log(f"  {variant}: {count.passed} passed, {count.failed} failed, {count.skipped} skipped")
    return count


def unit():
    """Unit tests: gcc, clang, ASan+UBSan, TSan."""
    count = Count()
    for variant in UNIT_VARIANTS:
        count += unit_in(variant)
    return count


def pytest(name, variant, paths, timeout, extra=()):
    """A pytest run against the daemon of one variant."""
    folder = build(variant)
    if not folder:
        return Count(failed=1)
    report = OUT / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs",
               f"--junitxml={report}", *extra, *paths]
    env = {"NVMETD_BUILD": str(folder), "TSAN_OPTIONS": "exitcode=99"}
    good = run(name, command, env, tail=150, timeout=timeout)
    if not report.exists():
        return Count(failed=1)
    suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite")
    total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    if (not good and not failed) or total == skipped:
        failed += 1  # a suite of which nothing ran is no green suite
    for case in suite.iter("testcase"):
        for skip in case.iter("skipped"):
            log(f"  skipped {case.get('name')}: {skip.get('message')}")
    count = Count(max(total - failed - skipped, 0), failed, skipped)
    log(f"  {name}: {count.passed} passed, {count.failed} failed, {count.skipped} skipped")
    return count


def wire_level(name, variant):
    """All wire-level tests; those of the sandbox need a build without sanitizers, too."""
    return pytest(name, variant, ["tests/py"], timeout=2400) if build("gcc") else Count(failed=1)


def py():
    """The daemon on the emulated SSD, wire level, over loopback, under ASan+UBSan."""
    return wire_level("py", "asan")


def threads():
    """The daemon with several workers under load, under TSan."""
    return pytest("threads", "tsan", ["tests/py/test_load.py", "tests/py/test_fabrics.py",
                                       "tests/py/test_faults.py", "tests/py/test_history.py",
                                       "tests/py/test_tls.py", "tests/py/test_auth.py"],
                  timeout=1800)


def coverage_figures(folder):
    """Per cent of the lines and branches of transport/ and target/ that ran; prints each file's."""
    report = OUT / "coverage.json"
    # The failing side of must() is no branch of ours: it says that there is none.
    command = ["gcovr", "-r", TOP, "--filter", "transport/", "--filter", "target/", folder,
               *(word for name in NOT_COVERED for word in ("--exclude", name)),
               "--exclude-branches-by-pattern", r"\s*must\(", "--json-summary", report,
               "--txt", OUT / "coverage.txt", "--html-details", OUT / "coverage.html"]
    if not run("gcovr", command):
        return None
    figures = json.loads(report.read_text())
    for name in figures["files"]:
        log(f"  {name['filename']:24} {name['line_percent'] or 0:5.1f} % of {name['line_total']:4} lines, "
            f"{name['branch_percent'] or 0:5.1f} % of {name['branch_total']:4} branches")
    return figures


def coverage():
    """What the unit and wire-level tests run of transport/ and target/ (gcovr)."""
    folder = build("coverage")
    if not folder:
        return Count(failed=1)
    for old in folder.rglob("*.gcda"):
        old.unlink()
    count = unit_in("coverage") + wire_level("coverage", "coverage")
    figures = coverage_figures(folder)
    for kind, least in COVERED.items():
        percent = figures[f"{kind}_percent"] if figures else 0
        log(f"  {kind} coverage: {percent} % (at least {least} %)")
        count += Count(passed=int(percent >= least), failed=int(percent < least))
    return count


def fuzz_target(folder, name):
    """A target's own inputs, once each; then new ones for a while. Each is a test."""
    program, corpus = folder / "tests" / "fuzz" / f"fuzz_{name}", TOP / "tests/fuzz/corpus" / name
    found = folder / "found" / name  # inputs that reach something new: the next run begins there
    found.mkdir(parents=True, exist_ok=True)
    options = ["-max_len=4096", "-timeout=60", "-rss_limit_mb=3000", "-print_final_stats=1",
               f"-artifact_prefix={OUT}/fuzz-{name}-"]
    env = {"ASAN_OPTIONS": "abort_on_error=0", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    replay = run(f"fuzz-{name}-corpus", [program, "-runs=0", *options, corpus], env)
    new = run(f"fuzz-{name}", [program, f"-max_total_time={FUZZ_SECONDS}", *options, found, corpus],
              env)
    text = (OUT / f"fuzz-{name}.log").read_text(errors="replace")
    runs = re.findall(r"number_of_executed_units: (\d+)", text)
    covered = re.findall(r"cov: (\d+)", text)
    log(f"  {name}: {runs[-1] if runs else 0} inputs, {covered[-1] if covered else 0} edges covered"
        f"{'' if new else '; the input that failed is in ' + str(OUT)}")
    return Count(passed=replay + new, failed=2 - replay - new)


def fuzz():
    """Each fuzz target on its corpus, and a minute on new inputs, under ASan+UBSan."""
    folder = build("fuzz")
    if not folder:
        return Count(failed=1)
    targets = sorted(path.name for path in (TOP / "tests" / "fuzz" / "corpus").iterdir())
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda name: fuzz_target(folder, name), targets), Count())


def vm():
    """A Linux guest: VFIO, the kernel's own NVMe/TCP host, nvme-cli, fio."""
    return pytest("vm", "gcc", ["tests/vm"], timeout=2700)


# One stage after the other; in a stage the lanes run beside each other, the suites of a lane in turn.
# Wire-level tests wait for deadlines most of the time: on two CPUs, two lanes of them take little
# longer than one. Fuzzers and the guest, which is emulated, compute.
STAGES = (((style, unit),), ((py, threads), (coverage,)), ((fuzz, vm),))
SUITES = {suite.__name__: suite for stage in STAGES for lane in stage for suite in lane}


def run_lane(suites, hold):
    """Runs suites in turn. `hold`: other lanes run meanwhile, so each suite's lines come at its end, together."""
    total = Count()
    for suite in suites:
        start = time.monotonic()
        held.lines = [] if hold else None
        log(f"{suite.__name__}: {suite.__doc__}")
        try:
            total += suite()
        finally:
            log(f"  ({time.monotonic() - start:.0f} s)")
            lines, held.lines = held.lines, None
            if lines:
                log("\n".join(lines))
    return total


def run_stage(lanes):
    """Runs the lanes of a stage beside each other."""
    lanes = [lane for lane in lanes if lane]
    with ThreadPoolExecutor(max(len(lanes), 1)) as pool:
        return sum(pool.map(lambda lane: run_lane(lane, len(lanes) > 1), lanes), Count())


def main():
    """Runs the suites that were asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", nargs="*", help=f"of {', '.join(SUITES)}; default: all")
    parser.add_argument("--list", action="store_true", help="say what each suite is")
    args = parser.parse_args()
    if args.list:
        for name, suite in SUITES.items():
            log(f"{name:8} {suite.__doc__}")
        return 0
    for name in args.suite:
        if name not in SUITES:
            parser.error(f"no suite {name}; there are {', '.join(SUITES)}")
    OUT.mkdir(parents=True, exist_ok=True)
    wanted = args.suite or list(SUITES)
    total = Count()
    for stage in STAGES:
        total += run_stage([[suite for suite in lane if suite.__name__ in wanted] for lane in stage])
    log(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
