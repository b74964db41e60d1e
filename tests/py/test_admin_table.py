# SPDX-License-Identifier: BSD-3-Clause
"""docs/admin-commands.md, row by row: every identifier there could be ends as the document says."""

import re
from pathlib import Path

import pytest

from daemon import NQN, Daemon
from nvmetcp import DISCOVERY_NQN, Host

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "admin-commands.md"
INVALID_OPCODE, INVALID_FIELD, INVALID_LOG_PAGE = 0x001, 0x002, 0x109
PERMISSIONS = ["format", "sanitize", "firmware", "security", "self-test", "telemetry", "vendor"]


def table(title):
    """The rows below a heading: {identifier: cells}."""
    text = DOCUMENT.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        found = re.fullmatch(r"([0-9A-F]{2})h(?:-([0-9A-F]{2})h)?", cells[0]) if cells else None
        if found:
            first, last = int(found[1], 16), int(found[2] or found[1], 16)
            for number in range(first, last + 1):
                assert number not in rows
                rows[number] = cells
    assert rows
    return rows


def cell(rows, number, column):
    """What the document says; refused when it says nothing."""
    return rows[number][column] if number in rows else "refused"


@pytest.fixture(scope="module")
def permitted(tmp_path_factory):
    """A daemon whose subsystem permits everything."""
    folder = tmp_path_factory.mktemp("permitted")
    conf = folder / "nvmet.conf"
    names = ", ".join(f'"{name}"' for name in PERMISSIONS)
    conf.write_text(f"""listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; allow_commands = ( {names} );
                 namespaces = ( {{ nsid = 1; ssd = "a"; }} ); }} );
""")
    instance = Daemon(folder, "-c", conf)
    yield instance
    instance.stop()


@pytest.fixture(params=["plain", "permitted", "discovery"])
def case(request, target, permitted):
    """A host of each kind of controller, and the column that is about it."""
    address = (permitted if request.param == "permitted" else target).address
    nqn = DISCOVERY_NQN if request.param == "discovery" else NQN
    with Host(address, nqn, queues=0) as host:
        yield host, request.param


def expectation(kind, rows, number, io=2, discovery=3):
    """answered, forwarded or refused."""
    text = cell(rows, number, discovery if kind == "discovery" else io)
    if text.startswith("permission"):
        assert text.split()[1] in PERMISSIONS
        return "forwarded" if kind == "permitted" else "refused"
    assert text.split()[0] in ("answered", "forwarded", "refused"), text
    return text


def test_opcodes(case):
    """Every opcode, without data: Invalid Opcode or anything else."""
    host, kind = case
    rows = table("Admin commands")
    for opcode in range(256):
        if opcode in (0x0C, 0x7F):  # waits; fabrics
            continue
        expected = expectation(kind, rows, opcode)
        if 0xC0 <= opcode and (opcode & 3 == 3 or kind == "permitted" and opcode > 0xC2):
            expected = "refused"  # both directions; or the emulated SSD has no such command
        code = host.admin.status(opcode, nsid=1)
        assert (code == INVALID_OPCODE) == (expected == "refused"), f"opcode {opcode:02x}h: {code:03x}"


def test_identify(case):
    """Every CNS."""
    host, kind = case
    rows = table("Identify")
    for cns in range(256):
        expected = expectation(kind, rows, cns)
        code = host.admin.status(6, nsid=0 if cns in (2, 7, 0x10, 0x1A) else 1, read=4096,
                                 cdw10=cns | (0xFFFF0000 if cns == 0x1C else 0))
        assert code == (INVALID_FIELD if expected == "refused" else 0), f"CNS {cns:02x}h"


def test_log_pages(case):
    """Every LID: a refusal, or its first bytes; the Supported Log Pages page says the same."""
    host, kind = case
    rows = table("Log pages")
    supported = host.log_page(0, 1024)
    for lid in range(256):
        expected = expectation(kind, rows, lid)
        code = host.admin.status(2, nsid=0xFFFFFFFF, read=64, cdw10=lid | 15 << 16)
        assert code == (INVALID_LOG_PAGE if expected == "refused" else 0), f"LID {lid:02x}h"
        assert (supported[4 * lid] & 1) == (expected != "refused"), f"LID {lid:02x}h"


def test_features(case):
    """Every FID, Get and Set; the effects page says the same."""
    host, kind = case
    rows = table("Features")
    effects = host.log_page(0x12, 1024)
    column = {"get": 4, "set": 4} if kind == "discovery" else {"get": 2, "set": 3}
    for fid in range(256):
        size = 16 if fid == 0x81 else 0
        expected = cell(rows, fid, column["get"])
        code = host.admin.status(0x0A, nsid=1 if fid == 5 else 0, read=size, cdw10=fid, cdw11=1)
        # The emulated SSD in memory has no volatile write cache: it refuses by itself.
        assert code == (INVALID_FIELD if expected == "refused" or fid == 6 else 0), f"{fid:02x}h"
        assert (effects[4 * fid] & 1) == (expected != "refused"), f"FID {fid:02x}h"
        expected = cell(rows, fid, column["set"])
        number = re.fullmatch("refused ([0-9A-F]{3})h", expected)
        refusal = int(number[1], 16) if number else INVALID_FIELD
        value = {0x07: 0, 0x0F: 5000}.get(fid, 0)
        code = host.admin.status(0x09, cdw10=fid, cdw11=value)
        assert code == (refusal if expected.startswith("refused") else 0), f"FID {fid:02x}h"
        if not expected.startswith("refused"):
            saved = host.admin.status(0x09, cdw10=fid | 1 << 31, cdw11=value)
            assert saved == 0x10D  # not saveable


def test_fabrics_types(target):
    """Every fabrics command type, on both kinds of queue."""
    rows = table("Fabrics commands")
    with Host(target.address, NQN) as host:
        for fctype in range(256):
            for column, queue in ((2, host.admin), (3, host.io[0])):
                if fctype in (0x01, 0x08) and column == 3:
                    continue  # Connect and Disconnect have tests of their own
                code = queue.status(0x7F, nsid=fctype, cdw11=0x14, cdw12=0x00460001)
                answered = cell(rows, fctype, column) == "answered"
                if fctype in (0x01, 0x05, 0x06):  # malformed as they are
                    assert code != INVALID_OPCODE
                else:
                    assert (code == 0) == answered, f"type {fctype:02x}h: {code:03x}"


def test_effects(case):
    """The effects log page lists exactly the commands that the document lists."""
    host, kind = case
    rows = table("Admin commands")
    effects = host.log_page(5, 4096)
    for opcode in range(256):
        expected = expectation(kind, rows, opcode)
        if 0xC0 <= opcode and opcode & 3 == 3:
            expected = "refused"
        assert (effects[4 * opcode] & 1) == (expected != "refused"), f"opcode {opcode:02x}h"


@pytest.mark.parametrize("cns", [5, 6, 7, 0x1A, 0x1B])
def test_other_command_sets(host, cns):
    """There is the NVM command set only."""
    for csi in (1, 2, 0xFF):
        assert host.admin.status(6, nsid=1, read=4096, cdw10=cns, cdw11=csi << 24) == INVALID_FIELD


def test_log_page_cdw14(host):
    """Index offsets are refused; a command set is ignored while CC.CSS does not offer a choice."""
    for cdw14, status in ((1 << 23, INVALID_FIELD), (0x81 << 23, INVALID_FIELD), (1 << 24, 0), (2 << 24, 0), (0, 0)):
        assert host.admin.status(2, read=64, cdw10=5 | 15 << 16, cdw14=cdw14) == status
    assert host.admin.status(2, read=64, cdw10=5 | 15 << 16, cdw14=5) == 0  # a UUID index
