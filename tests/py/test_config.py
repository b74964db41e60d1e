# SPDX-License-Identifier: BSD-3-Clause
"""Configuration and command line: what is wrong is named with file and line, and what was expected."""

import contextlib
import os
import re
import socket
import subprocess

import pytest

from daemon import BUILD, ENV, NQN, TOP, run_nvmetd
from nvmetcp import Host, Queue, Status, read, write

GOOD = """listen = ( "127.0.0.1:0" );
ssds = ( { name = "a"; spec = "emulated:size=16M"; }, { name = "b"; spec = "emulated:size=16M"; } );
subsystems = ( { nqn = "nqn.2026-11.io.nvmetd:one"; allow_any_host = true;
  namespaces = ( { nsid = 1; ssd = "a"; }, { nsid = 2; ssd = "b"; } ); } );
"""


def check(tmp_path, text):
    """nvmetd -n on this text."""
    path = tmp_path / "nvmet.conf"
    path.write_text(text)
    return run_nvmetd("-n", "-c", path)


def test_example():
    """The example is a valid configuration."""
    assert run_nvmetd("-n", "-c", TOP / "nvmet.conf.example") == (0, "")


def test_nothing_exported(tmp_path):
    """A daemon that would serve nobody does not start."""
    status, message = check(tmp_path, GOOD.split("subsystems")[0])
    assert (status, message) == (1, f"{tmp_path}/nvmet.conf:1: nothing is exported: no subsystem is named: "
                                 "subsystems = ( … )\n")


def test_no_such_user(tmp_path):
    """Whom to become is a matter of the configuration: a service must not try it again and again."""
    (tmp_path / "c").write_text(GOOD + 'user = "nobody-of-this-name";\n')
    for arguments, status in ((), 78), (("-n",), 1):
        assert run_nvmetd(*arguments, "-c", tmp_path / "c") == (status, "nvmetd: user nobody-of-this-name: there is "
                                                                "no such user (systemd-sysusers makes nvmetd)\n")


@pytest.mark.parametrize("spec, text", [
    ("file=there/not,size=1M", "its folder does not exist"), ("file=not", "no such file (with size= it is made)"),
    ("file=/dev/null", "neither a file nor a block device"), ("file=empty", "it is empty; give size="),
    ("file=.,size=1M", "Is a directory"),
])
def test_files_of_ssds(tmp_path, monkeypatch, spec, text):
    """What is wrong with the file of an emulated SSD, and what would help."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    status, log = run_nvmetd("--ssd", f"emulated:{spec}", "--listen", "127.0.0.1:0")
    assert status == 1 and text in log and spec[5:].split(",")[0] in log


def test_documented():
    """Every key is in nvmet.conf(5) and in the example, every option in nvmetd(8) and --help, every key of an
    emulated SSD in nvmetd(8) and in its header."""
    manual, example = ((TOP / name).read_text() for name in ("docs/nvmet.conf.5", "nvmet.conf.example"))
    source = (TOP / "config/conf_file.c").read_text() + (TOP / "config/conf_hosts.c").read_text()
    keys = set(re.findall(r'^\t+{ "(\w+)",\s+CONF_', source, re.M))
    assert {"workers", "pdu_timeout", "prefer_incoming_cpu", "ssd_nsid"} <= keys
    for key in keys:
        assert re.search(rf"^\.(It )?Cm {key}\b", manual, re.M), key
        assert re.search(rf"\b{key} = ", example), key
    manual = (TOP / "docs/nvmetd.8").read_text()
    usage = subprocess.run([BUILD / "nvmetd", "--help"], capture_output=True, text=True, env=ENV,
                           check=True).stdout
    options = re.findall(r'^\t{ "([\w-]+)", \w+_argument', (TOP / "config/args.c").read_text(), re.M)
    assert {"ssd", "dma-memory", "help"} <= set(options)
    for option in options:
        assert f".It Fl -{option} " in manual or f", Fl -{option}" in manual, option
        assert f"--{option}" in usage, option
    keys = set(re.findall(r'^\t{ "([\w.]+)", KEY_', (TOP / "pcie/emul/spec.c").read_text(), re.M))
    assert {"size", "wzsl", "fault.hang"} <= keys
    for key in keys:
        assert re.search(rf"^\.Ql (emulated:)?{re.escape(key)}\b", manual, re.M), key
        assert f"{key}=" in (TOP / "pcie/emul/emul.h").read_text(), key


def test_good(tmp_path):
    """Nothing to say."""
    assert check(tmp_path, GOOD) == (0, "")


@pytest.mark.parametrize("old, new, line, text", [
    ("listen", "lisen", 1, "lisen: there is no such key here"),
    ('"127.0.0.1:0"', '"localhost:0"', 1, 'expected "192.0.2.1:4420"'),
    ('"127.0.0.1:0"', '"127.0.0.1:70000"', 1, 'expected "192.0.2.1:4420"'),
    *(('"127.0.0.1:0"', f'"{address}:0"', 1, 'expected "192.0.2.1:4420"')
      for address in ("", "[]", "[::1", "[::1]]", "1" * 500)),
    ('"127.0.0.1:0"', "4420", 1, 'expected "192.0.2.1:4420"'),
    ("emulated:size=16M", "emulated:size=x", 2, "size=x: expected a size from 1M"),
    ("emulated:size=16M", "emulated:sise=1M", 2, '"sise" is not a key of an emulated SSD'),
    ("emulated:size=16M", "/dev/nvme0", 2, "expected a PCI address"),
    ('name = "a"; ', "", 2, "name is missing"),
    ('"b"; spec', '"a"; spec', 2, 'two SSDs are called "a"'),
    ("true", '"yes"', 3, "allow_any_host: expected true or false"),
    ("allow_any_host = true;", "", 3, "expected either hosts"),
    ("allow_any_host = true", 'hosts = ( "bob" )', 3, 'hosts: expected "nqn.'),
    ("nqn.2026-11.io.nvmetd:one", "iqn.x:yy", 3, 'nqn: expected "nqn.'),
    ('nqn = "nqn.2026-11.io.nvmetd:one"; ', "", 3, "nqn is missing"),
    ("nsid = 2", "nsid = 1", 4, "nsid 1 is there twice"),
    ("nsid = 2", "nsid = 0", 4, "nsid: expected a number from 1 to 1024"),
    ('ssd = "b"', 'ssd = "c"', 4, 'no SSD is called "c"'),
    ("} ); } );", "} ); ", 5, "syntax error"),
    ('"127.0.0.1:0"', '"0.0.0.0:1", "0.0.0.0:1"', 1, "the address is there twice"),
    ('"127.0.0.1:0"', '"[%eth0]:1"', 1, 'expected "192.0.2.1:4420"'),
    ('"127.0.0.1:0"', '"[fe80::1%]:1"', 1, 'expected "192.0.2.1:4420"'),
    ("emulated:size=16M", " 1: 1.0", 2, "expected a PCI address"),
    ("emulated:size=16M", "0x1:00:0.0", 2, "expected a PCI address"),
    ('ssd = "b"', 'ssd = "a"', 4, "nsid 1 is this namespace already"),
    ("true;", 'true; serial = "\\x07";', 3, "serial: expected printable ASCII"),
    ("true;", 'true; model = "ü";', 3, "model: expected printable ASCII"),
    ("true;", 'true; serial = "123456789012345678901";', 3, "a text of 1 to 20 characters"),
    ("allow_any_host = true", 'hosts = ( { nqn = "nqn.a:b"; tls = "x"; } )', 3, "tls: there is no such key here"),
    ("allow_any_host = true", 'hosts = ( { tls_key = "x"; } )', 3, 'or { nqn = "nqn.'),
    ("allow_any_host = true", 'hosts = ( { nqn = "nqn.a:b"; tls_key = 1; } )', 3, "a file with keys"),
    ("allow_any_host = true", 'hosts = ( "nqn.a:b", { nqn = "nqn.a:b"; } )', 3, "is there twice"),
    ("allow_any_host = true", 'hosts = ( { nqn = "nqn.a:b"; dhchap_ctrl_key = "x"; } )', 3,
     "of use only beside dhchap_key"),
    ("listen", 'dhchap = { hashes = ( "md5" ); };\nlisten', 1, 'each of "sha256" to "sha512"'),
    ("listen", 'dhchap = { groups = ( "null", "null" ); };\nlisten', 1, 'at most once'),
    ("listen", 'dhchap = { groups = ( ); };\nlisten', 1, "groups: expected a list"),
    ('"127.0.0.1:0"', '{ address = "127.0.0.1:0"; tls = "yes"; }', 1, 'tls: expected "required"'),
    ('"127.0.0.1:0"', '{ address = "127.0.0.1:0"; tsl = "off"; }', 1, "tsl: there is no such key here"),
    ('"127.0.0.1:0"', '{ tls = "off"; }', 1, 'expected "192.0.2.1:4420"'),
    ('"127.0.0.1:0"', '{ address = "127.0.0.1:0"; tls = "required"; }', 1,
     'a port requires TLS, but no host has a tls_key'),
    ("allow_any_host = true", 'hosts = ( { nqn = "nqn.a:b"; namespaces = 1; } )', 3, "namespaces: expected a list"),
    ("allow_any_host = true", 'hosts = ( { nqn = "nqn.a:b"; namespaces = ( 0 ); } )', 3, "from 1 to 1024"),
    ("allow_any_host = true", 'hosts = ( { nqn = "nqn.a:b"; read_only = 1; } )', 3, "read_only: expected true"),
    ("allow_any_host = true", 'hosts = ( { nqn = "nqn.a:b"; max_queues = 0; } )', 3, "max_queues: expected"),
    ("listen", 'hosts = ( { nqn = "nqn.a:b"; read_only = true; } );\nlisten', 1, "read_only: there is no such key here"),
    ("nsid = 1;", 'nsid = 1; read_only = 0;', 4, "read_only: expected true or false"),
    ("listen", 'dhchap = { discovery = 1; };\nlisten', 1, "discovery: expected true or false"),
    ("listen", "max_transfer = \"100K\";\nlisten", 1, 'max_transfer: expected a power of two from "8K" to "1M"'),
    ("} ); } );", "} ); } );\n\ndma_memory = \"16M\";\nworkers = 2;", 7, "too small for 2 workers: at least 24M"),
    ("} ); } );", "} ); } );\nworker_cpus = ( 0, 1 );", 5, "worker_cpus names 2 CPUs for 1 workers"),
    ("ssds = ( {", 'ssds = ( "x", {', 2, "ssds: expected a group"),
    ('"127.0.0.1:0"', '{ addr = "127.0.0.1:0"; }', 1, "addr: there is no such key here, but address, tls"),
    ("nsid = 1;", "nssid = 1;", 4, "nssid: there is no such key here, but nsid, ssd, ssd_nsid, read_only"),
    ("allow_any_host = true", 'hosts = ( "nqn.a:a",\n{ nqn = "nqn.a:b"; namespaces = ( 1, 3 ); } )', 4,
     "namespaces: the subsystem has no nsid 3"),
    ('( { nsid = 1; ssd = "a"; }, { nsid = 2; ssd = "b"; } )', "( )", 4, "namespaces: expected at least one"),
    ("listen", 'dhchap = { keys = 1; };\nlisten', 1, "keys: there is no such key here"),
])
def test_bad(tmp_path, old, new, line, text):
    """One mistake each."""
    status, message = check(tmp_path, GOOD.replace(old, new, 1))
    assert status == 1
    assert message.startswith(f"{tmp_path}/nvmet.conf:{line}: ") and text in message


def listed(n, text):
    """A list of `n` such elements; # becomes the number of each."""
    return "( " + ", ".join(text.replace("#", str(index)) for index in range(n)) + " )"


@pytest.mark.parametrize("most, old, element, text", [
    (32, '( "127.0.0.1:0" )', '"127.0.0.1:0"', "listen: there are too many addresses"),
    (64, "GROUPS", '{ nqn = "nqn.a:#"; allow_any_host = true; namespaces = ( { nsid = 1; ssd = "a"; } ); }',
     "more than 64 subsystems"),
    (64, "SSDS", '{ name = "#"; spec = "emulated:size=1M"; }', "more than 64 SSDs"),
    (64, "CPUS", "#", "worker_cpus: more than 64 CPUs"),
])
def test_too_many(tmp_path, most, old, element, text):
    """What there is room for; one more is refused."""
    plain = {"GROUPS": '( { nqn = "nqn.a:b"; allow_any_host = true; namespaces = ( { nsid = 1; ssd = "a"; } ); } )',
             "SSDS": '( { name = "a"; spec = "emulated:size=1M"; } )', "CPUS": "( )"}
    for n in (most, most + 1):
        conf = """listen = ( "127.0.0.1:0" ); worker_cpus = CPUS;
ssds = SSDS; subsystems = GROUPS;"""
        conf = conf.replace(old, listed(n, element))
        if old == "SSDS":
            conf = conf.replace('"0"', '"a"')
        for key, value in plain.items():
            conf = conf.replace(key, value)
        status, message = check(tmp_path, conf)
        assert (text in message) == (n > most), message
        assert status == 0 or n > most or old == "CPUS", message  # there may be fewer CPUs


GOOD_KEY = "DHHC-1:00:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAl7OaH:"


@pytest.mark.parametrize("text, mode, wrong", [
    (GOOD_KEY, 0o600, None),
    (f"# rotated in May\n\n{GOOD_KEY}  \n{GOOD_KEY}", 0o640, None),
    (f" \t\r\n{GOOD_KEY}\r\n", 0o600, None),
    ("#".ljust(4094 - len(GOOD_KEY)) + f"\n{GOOD_KEY}", 0o600, None),
    ("#".ljust(4095 - len(GOOD_KEY)) + f"\n{GOOD_KEY}", 0o600, "keys: it is too long"),
    (GOOD_KEY, 0o644, "keys: others may read or change it"),
    (GOOD_KEY, 0o620, "keys: others may read or change it"),
    (f"{GOOD_KEY}\n{GOOD_KEY[:-2]}:\n", 0o600, "keys:2: "),
    (GOOD_KEY.replace("AQID", "AQIE"), 0o600, "keys:1: its checksum is wrong"),
    (GOOD_KEY.replace("DHHC", "NVMeTLSkey"), 0o600, "keys:1: it does not begin with DHHC-1:"),
    ("# nothing\n", 0o600, "keys: there is no key in it"),
    (f"{GOOD_KEY}\n" * 5, 0o600, "keys:5: more keys than"),
    ("x" * 5000, 0o600, "keys: it is too long"),
    (None, 0o600, "keys: No such file or directory"),
])
def test_key_files(tmp_path, text, mode, wrong):
    """Files with keys: contents and permissions. No message has the key in it."""
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    hosts = f'hosts = ( {{ nqn = "nqn.a:b"; dhchap_key = "{path}"; }} )'
    status, message = check(tmp_path, GOOD.replace("allow_any_host = true", hosts))
    assert status == (1 if wrong else 0)
    assert wrong is None or wrong in message
    assert GOOD_KEY[10:40] not in message


def test_key_files_elsewhere(tmp_path, monkeypatch):
    """A credential of systemd; a folder; somebody else's file."""
    (tmp_path / "secret").write_text(GOOD_KEY)
    (tmp_path / "secret").chmod(0o400)
    text = GOOD.replace("allow_any_host = true", 'hosts = ( { nqn = "nqn.a:b"; dhchap_key = "secret"; } )')
    monkeypatch.setitem(ENV, "CREDENTIALS_DIRECTORY", str(tmp_path))
    assert check(tmp_path, text) == (0, "")
    monkeypatch.delitem(ENV, "CREDENTIALS_DIRECTORY")
    assert "there are none" in check(tmp_path, text)[1]
    folder = text.replace('"secret"', f'"{tmp_path}"')
    assert "it is no regular file" in check(tmp_path, folder)[1]
    if os.geteuid() == 0:
        os.chown(tmp_path / "secret", 12345, 0)
        other = text.replace('"secret"', f'"{tmp_path}/secret"')
        assert "it belongs to another user" in check(tmp_path, other)[1]


def test_same_names(tmp_path):
    """Two subsystems with one name, two SSDs at one address."""
    subsystem = GOOD.splitlines(keepends=True)[2:]
    twice = GOOD.replace("} ); } );", "} ); }, " + "".join(subsystem)[len("subsystems = ( "):])
    status, message = check(tmp_path, twice)
    assert status == 1
    assert "nvmet.conf:4: two subsystems are called nqn.2026-11.io.nvmetd:one" in message
    pci = GOOD.replace("emulated:size=16M", "0000:01:00.0", 1).replace("emulated:size=16M", "1:0.0")
    status, message = check(tmp_path, pci)
    assert status == 1 and "nvmet.conf:2: spec: another SSD has this PCI address" in message


def test_too_many_ssds(tmp_path):
    """A subsystem has at most 16."""
    ssds = ", ".join(f'{{ name = "s{n}"; spec = "emulated:size=1M"; }}' for n in range(17))
    spaces = ", ".join(f'{{ nsid = {n + 1}; ssd = "s{n}"; }}' for n in range(17))
    text = (f'listen = ( "127.0.0.1:0" );\nssds = ( {ssds} );\nsubsystems = ( {{ nqn = "nqn.x:y"; '
            f'allow_any_host = true;\nnamespaces = ( {spaces} ); }} );\n')
    status, message = check(tmp_path, text)
    assert status == 1 and "nvmet.conf:4: more than 16 SSDs in one subsystem" in message


def test_include(tmp_path):
    """What is wrong in a file that is included is told with that file's name."""
    other = tmp_path / "other.conf"
    for text, message in (("\nworkers = 0;", "workers: expected"),
                          ("\nworkers = ;", "syntax error")):
        other.write_text(text)
        status, error = check(tmp_path, f'@include "{other}"\n{GOOD}')
        assert status == 1 and error.startswith(f"{other}:2: ") and message in error


@pytest.mark.parametrize("text, message", [
    ("workers = 0;", "workers: expected a number from 1 to 64"),
    ("workers = true;", "workers: expected a number"),
    ('dma_memory = "1M";', "dma_memory: expected a size"),
    ("dma_memory = 134217728;", 'dma_memory: expected a size from "16M"'),
    ('dma_memory = "16M"; workers = 16;', "too small for 16 workers"),
    ('max_transfer = "48K";', "expected a power of two"),
    ('max_transfer = "4K";', "max_transfer: expected a size from \"8K\" to \"1M\""),  # MDTS 0 is no limit
    ('log_level = "loud";', 'expected "error", "warning"'),
    ('limits = { handshake_timeout = "1h"; };', 'handshake_timeout: expected a time from "100ms" to "10m"'),
    ("limits = { conections = 1; };", "conections: there is no such key here"),
    ("limits = 3;", "expected a group"),
])
def test_bad_globals(tmp_path, text, message):
    """Globals and limits."""
    status, error = check(tmp_path, GOOD + text)
    assert status == 1 and message in error


@pytest.mark.parametrize("number", ["4294967298", "-4294967294", "0x100000002", "18446744073709551618",
                                    "000000000000000000000000000000000000000000000000000000000000000000000000002",
                                    "0" * 66 + "4294967298", "0x" + "0" * 66 + "100000002", "2147483648"])
def test_numbers_that_libconfig_cuts(tmp_path, number):
    """Each but the last would be a 2 to it. With an L they are what they are."""
    cut = int(number, 0 if "x" in number else 10) != 2
    told = re.sub("^(0x)?0{60,}", r"\1", number)
    status, error = check(tmp_path, f"{GOOD}\nworkers =\n  {number};\n")
    assert (status, "from -2147483648 to 2147483647: beyond, it needs an L behind it" in error) == (int(cut), cut)
    if cut:
        assert error.startswith(f"{tmp_path}/nvmet.conf:7: {told}: ")
        assert "workers: expected a number from 1 to 64" in check(tmp_path, f"{GOOD}workers = {number}L;")[1]


def test_numbers_that_it_does_not_cut(tmp_path):
    """In comments, texts and names, with an L; and a file that is included is looked at, too."""
    other = tmp_path / "other.conf"
    other.write_text("workers = 2147483647;")
    fine = GOOD.replace("nsid = 2;", "nsid = 2; ssd_nsid = 4294967294L; # 4294967298\n// 4294967298\n/* 4294967298 * / */")
    fine = fine.replace('"a"', '"4294967298 \\" 4294967298"')
    assert check(tmp_path, fine) == (0, "")
    status, error = check(tmp_path, fine + f'@include "{other}"\n')
    assert status == 1 and "workers: expected" in error
    other.write_text("\nworkers = 4294967298;")
    status, error = check(tmp_path, fine + f'@include "{other}"\n')
    assert status == 1 and error.startswith(f"{other}:2: 4294967298: ")


@pytest.mark.parametrize("arguments, text", [
    (["-c", "/nonexistent/file"], "No such file"), (["-c", "/"], "/: Is a directory"),
    (["--ssd", "emulated:size=16M"], "no address to listen on"),
    (["--listen", "127.0.0.1:0"], "no SSD is named"),
    (["--ssd", "emulated:size=16M", "--listen", "nowhere"], 'expected "192.0.2.1:4420"'),
    (["--ssd", "emulated:size=16M", "--listen", "[127.0.0.1]:1"], 'expected "192.0.2.1:4420"'),
    (["--ssd", "emulated:size=16M", "--ssd", "emulated:size=16M"], "only one SSD"),
    (["--listen", "127.0.0.1:9", "--listen", "127.0.0.1:9"], "the address is there twice"),
    (["--ssd", "emulated:", "--listen", "127.0.0.1:0"], "needs size= or file="),
    (["--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "--nqn", "x"], "expected nqn."),
    (["--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "--workers", "0"], "1 to 64"),
    (["--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "-c", "x"], "either -c FILE"),
    (["--bogus"], "usage:"), (["extra"], "is not an option"),
])
def test_bad_arguments(arguments, text):
    """The command line. With -n, which says whether it is right, 1; else what keeps systemd from trying again."""
    status, error = run_nvmetd(*arguments)
    assert status == os.EX_CONFIG and text in error
    status, error = run_nvmetd("-n", *arguments)
    assert status == 1 and text in error


def test_bad_configuration(tmp_path):
    """No start can help, and the unit knows the status by which the daemon says so."""
    path = tmp_path / "nvmet.conf"
    path.write_text(GOOD + "nonsense = 1;")
    status, error = run_nvmetd("-c", path)
    assert status == os.EX_CONFIG and "nvmet.conf:5: nonsense: there is no such key" in error
    path.write_text(GOOD.replace("allow_any_host = true", 'hosts = ( { nqn = "nqn.a:b"; dhchap_key = "/none"; } )'))
    status, error = run_nvmetd("-c", path)
    assert status == os.EX_CONFIG and "not started" in error
    unit = (TOP / "config" / "systemd" / "nvmetd.service.in").read_text().splitlines()
    assert {f"RestartPreventExitStatus={os.EX_CONFIG}", "Restart=on-failure", "StartLimitIntervalSec=0"} <= set(unit)
    assert not [line for line in unit if line.startswith("ExecStartPre")]  # its status would not count


def test_port_in_use():
    """Listening fails: said so, exit status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, error = run_nvmetd("--ssd", "emulated:size=16M", "--listen", f"127.0.0.1:{port}")
    assert status == 1 and "not started: Address already in use" in error
    assert (f"cannot listen on 127.0.0.1 port {port}: Address already in use (another program"
            in error)


def test_refusals_are_explained(start):
    """What most often goes wrong at first: the log says it in words."""
    daemon = start("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--allow-host", "nqn.2014-08.org.nvmexpress:another")
    for nqn, text in ((NQN, "refused: the subsystem is not for this host (hosts, --allow-host)"),
                      (NQN + "x", "refused: there is no such subsystem (status 1/82h")):
        with pytest.raises(Status), Host(daemon.address, nqn):
            pass
        assert text in daemon.log()
    assert daemon.counters()["connects_refused"] == 2


def test_no_such_address():
    """An address of another machine: the message says where to look."""
    status, error = run_nvmetd("--ssd", "emulated:size=16M", "--listen", "192.0.2.1:4420")
    assert status == 1 and "cannot listen on 192.0.2.1 port 4420: " in error
    assert "no interface of this machine has the address: ip address" in error


def test_control_socket_in_use(start, tmp_path):
    """A second daemon with the control socket of the first, a file of that name, no such folder."""
    daemon = start("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0")
    (tmp_path / "file").write_text("precious")
    for path, text in ((daemon.control, "another nvmetd has it"),
                       (tmp_path / "file", "there is something else of this name"),
                       (tmp_path / "none" / "control", "its folder does not exist")):
        status, error = run_nvmetd("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0",
                                   "--control", str(path))
        assert status == 1 and f"control socket {path}: {text}" in error
    assert (tmp_path / "file").read_text() == "precious"


def test_control_socket_of_another(start, tmp_path):
    """Whoever takes a name that has become free keeps it: the daemon that had it before removes only its own."""
    first = start("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", folder=tmp_path)
    first.control.unlink()
    second = start("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", folder=tmp_path)
    first.stop()
    assert second.ctl("status")["pid"] == second.process.pid
    second.stop()
    assert not second.control.exists()


def test_medium_in_use(start, tmp_path):
    """A second daemon does not write to the file of the first."""
    spec = f"emulated:file={tmp_path}/disk,size=16M"
    start("--ssd", spec, "--listen", "127.0.0.1:0")
    status, error = run_nvmetd("--ssd", spec, "--listen", "127.0.0.1:0")
    assert status == 1 and f"cannot open {tmp_path}/disk: it is in use" in error


@pytest.mark.skipif(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") >= 1 << 40,
                    reason="this machine has the memory")
def test_more_memory_than_there_is():
    """Refused before the kernel has to kill somebody for it."""
    status, error = run_nvmetd("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0",
                               "--dma-memory", "1T")
    assert status == 1 and "dma_memory is 1048576M, but the machine has only" in error


def test_missing_namespace(tmp_path):
    """The file is fine, the SSD is not what it says."""
    path = tmp_path / "conf"
    path.write_text(GOOD.replace('ssd = "b"', 'ssd = "b"; ssd_nsid = 9'))
    status, error = run_nvmetd("-c", path)
    assert status == 1 and "the SSD has no such namespace" in error


def test_two_ssds_in_one_subsystem(start, tmp_path):
    """Each namespace is on its own SSD; one queue reaches both."""
    path = tmp_path / "conf"
    path.write_text(GOOD)
    daemon = start("-c", path)
    with Host(daemon.address, "nqn.2026-11.io.nvmetd:one") as host:
        for nsid in (1, 2):
            write(host.io[0], 5, bytes([nsid]) * 4096, nsid=nsid)
        for nsid in (1, 2):
            assert read(host.io[0], 5, 8, nsid=nsid) == bytes([nsid]) * 4096
        assert daemon.counters()["queue_pairs"] == 2
        assert host.identify(3, 1) != host.identify(3, 2)
    daemon.expect_clean()


@pytest.mark.parametrize("limit, device", [("8K", ""), ("1M", ",mdts=8K"), ("64K", "")])
def test_max_transfer(start, tmp_path, limit, device):
    """What Identify tells hosts is what is taken."""
    path = tmp_path / "conf"
    path.write_text(GOOD.replace("size=16M", f"size=16M{device}") + f'max_transfer = "{limit}";')
    daemon = start("-c", path)
    with Host(daemon.address, "nqn.2026-11.io.nvmetd:one") as host:
        most = 4096 << host.identify(1)[77]
        assert most == (65536 if limit == "64K" else 8192)
        write(host.io[0], 0, bytes(most))
        assert read(host.io[0], 0, most // 512) == bytes(most)
        assert host.io[0].status(2, nsid=1, read=most + 512, cdw12=most // 512) == 2
    daemon.expect_clean()


def test_several_workers(start):
    """Connections are spread; each worker's counters add up."""
    daemon = start("--ssd", "emulated:size=64M,queues=8", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--workers", "4")
    with Host(daemon.address, NQN, queues=8) as host:
        for index, queue in enumerate(host.io):
            write(queue, index * 8, bytes([index]) * 4096)
        for index, queue in enumerate(host.io):
            assert read(host.io[7 - index], index * 8, 8) == bytes([index]) * 4096
        used = [worker["connections"] for worker in daemon.ctl("status")["workers"]]
        assert sum(used) == 9 and min(used) >= 2
        ctrls = daemon.ctl("list")["subsystems"][1]["controllers"]
        assert len(ctrls) == 1 and len(ctrls[0]["queues"]) == 9
    daemon.expect_clean()


def test_control_socket(start):
    """Mode 0600; garbage is answered; a dead socket file is replaced, a live one is not."""
    daemon = start("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0")
    assert daemon.control.stat().st_mode & 0o777 == 0o600
    for raw in (b"\n", b"{}\n", b"[1\n", b'{"request": "nothing"}\n', b'{"request": 5}\n'):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(daemon.control))
            client.sendall(raw)
            assert b'"error"' in client.recv(4096)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon.control))
        client.sendall(b"x" * 10000)
        client.settimeout(60)
        try:
            assert client.recv(10) == b""
        except ConnectionResetError:
            pass
    status, error = run_nvmetd("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "--control",
                               str(daemon.control))
    assert status == 1 and "Address already in use" in error
    daemon.process.kill()
    daemon.process.wait()
    again = start("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", folder=daemon.folder)
    again.stop()
    assert not again.control.exists()


def test_control_path_is_a_file(tmp_path):
    """What is no socket is left alone."""
    path = tmp_path / "precious"
    path.write_text("data")
    status, error = run_nvmetd("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "--control",
                               path)
    assert status == 1 and "File exists" in error and path.read_text() == "data"


def test_control_long_answer(start):
    """An answer longer than a socket's buffer arrives whole, though the client ended its side."""
    daemon = start("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with contextlib.ExitStack() as stack:
        for number in range(450):
            queue = stack.enter_context(Queue(daemon.address))
            queue.connect(NQN, hostnqn=f"nqn.{'x' * 200}{number}",
                          hostid=number.to_bytes(16, "little"))
        assert len(daemon.ctl("list")["subsystems"][1]["controllers"]) == 450
    daemon.expect_clean()


def test_control_odd_names(start):
    """A host whose NQN is not ASCII is listed with it."""
    daemon = start("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Queue(daemon.address) as queue:
        queue.connect(NQN, hostnqn="nqn.zażółć")
        ctrl, = daemon.ctl("list")["subsystems"][1]["controllers"]
        assert ctrl["hostnqn"] == "nqn.zażółć"
    daemon.expect_clean()


def test_ssd_fails_while_stopping(start, tmp_path):
    """The SSD answers nothing any more, which shows when its queue pairs are deleted."""
    path = tmp_path / "conf"
    path.write_text(GOOD.replace('size=16M"', 'size=16M,fault.cfs_after=5"; command_timeout = "1s"',
                                 1))
    daemon = start("-c", path)
    with Host(daemon.address, "nqn.2026-11.io.nvmetd:one") as host:
        for _ in range(10):
            host.io[0].start(2, nsid=1, read=512)
        host.admin.property_get(0x1C)
        daemon.stop()
    assert "resetting it" in daemon.log()


def test_journal_prefix(tmp_path):
    """Priorities for the journal; times when the variable was only inherited."""
    path = tmp_path / "log"
    with path.open("wb") as log:
        own = f"{os.fstat(log.fileno()).st_dev}:{os.fstat(log.fileno()).st_ino}"
        for stream in (own, "1:1", ""):
            subprocess.run([str(BUILD / "nvmetd"), "--ssd", "emulated:size=16M,file=/", "--listen",
                            "127.0.0.1:0"], stderr=log, check=False, timeout=60,
                           env={**ENV, "JOURNAL_STREAM": stream})
    first, *lines = [line for line in path.read_text().splitlines() if "nvmetd 0" in line]
    assert first.startswith("<6>nvmetd ") and len(lines) == 2
    assert all(line.startswith("20") for line in lines)


def test_systemd_is_told(tmp_path):
    """READY=1 once hosts can connect, STOPPING=1 at the end."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(60)
        process = subprocess.Popen([str(BUILD / "nvmetd"), "--ssd", "emulated:size=16M", "--listen",
                                    "127.0.0.1:0"], stderr=subprocess.DEVNULL,
                                   env={**ENV, "NOTIFY_SOCKET": str(path)})
        try:
            assert b"READY=1" in notify.recv(4096)
            process.terminate()
            assert b"STOPPING=1" in notify.recv(4096)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
