# SPDX-License-Identifier: BSD-3-Clause
"""A small NVMe/TCP host in plain Python: PDUs, a connection for raw access, and a queue.

Everything that the target sends is checked by the rules that a strict host has (TCP transport 1.0, and
what the Linux host insists on); a broken rule raises Violation.
"""

import socket
import struct
import time

ICREQ, ICRESP, H2C_TERM, C2H_TERM, CMD, RESP, H2C_DATA, C2H_DATA, R2T = 0, 1, 2, 3, 4, 5, 6, 7, 9
HDGST, DDGST, LAST, SUCCESS = 1, 2, 4, 8
FABRICS = 0x7F  # the opcode; FCTYPE lies where other commands have their NSID
PROPERTY_SET, CONNECT, PROPERTY_GET, AUTH_SEND, AUTH_RECV, DISCONNECT = 0, 1, 4, 5, 6, 8  # FCTYPE
GET_LOG_PAGE, IDENTIFY, SET_FEATURES = 0x02, 0x06, 0x09
FLUSH, WRITE, READ = 0, 1, 2
NUMBER_OF_QUEUES = 0x07  # FID
CC, CSTS = 0x14, 0x1C  # properties
DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
HOSTNQN = "nqn.2014-08.org.nvmexpress:uuid:11111111-1111-4111-8111-111111111111"
HOSTID = bytes.fromhex("11111111111141118111111111111111")
SGL_IN_CAPSULE, SGL_TRANSPORT = 0x01, 0x5A
FIN_WAIT1 = 4  # tcpi_state
ALLOWED_FLAGS = {RESP: HDGST, R2T: HDGST, C2H_DATA: HDGST | DDGST | LAST | SUCCESS}


class Violation(AssertionError):
    """The target sent something that no host may be sent."""


class Closed(Exception):
    """The target closed the connection."""


class Term(Exception):
    """The target sent C2HTermReq."""

    def __init__(self, fes, fei, header):
        super().__init__(f"FES {fes} FEI {fei}")
        self.fes, self.fei, self.header = fes, fei, header


class Status(Exception):
    """A command ended with an error: `code` is SCT and SC as one number."""

    def __init__(self, cqe):
        self.cqe = cqe
        self.code = cqe.code
        super().__init__(f"status {cqe.code >> 8:x}/{cqe.code & 255:02x}h, DW0 {cqe.dw0:08x}h")


def _crc_table():
    table = []
    for index in range(256):
        crc = index
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC = _crc_table()


def crc32c(data):
    """CRC32C of bytes, as digests have it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def need(condition, text):
    """A rule for what the target sends."""
    if not condition:
        raise Violation(text)


class Cqe:
    """A completion queue entry."""

    def __init__(self, raw):
        self.dw0, self.dw1, self.sqhd, self.sqid, self.cid, status = struct.unpack("<IIHHHH", raw)
        need(status & 1 == 0, "phase bit in a response")
        need(self.sqid == 0, "SQID in a response")
        self.status = status >> 1
        self.code = self.status & 0x7FF
        self.dnr = bool(self.status & 0x4000)


class Pdu:
    """A received PDU: common header fields, header behind it, data."""

    def __init__(self, header, data):
        self.type, self.flags, self.hlen, self.pdo, self.plen = struct.unpack("<BBBBI", header[:8])
        self.header, self.data = header, data


def sqe(opcode, cid=0, nsid=0, sgl=(0, 0, SGL_TRANSPORT), flags=0x40, **cdw):
    """A 64-byte command; cdw2=, cdw3=, cdw10= … cdw15=."""
    address, length, kind = sgl
    return struct.pack("<BBHIIIQQI3xB6I", opcode, flags, cid, nsid, cdw.get("cdw2", 0),
                       cdw.get("cdw3", 0), cdw.get("mptr", 0), address, length, kind,
                       *(cdw.get(f"cdw{n}", 0) for n in range(10, 16)))


class Connection:
    """One TCP connection, from the address `source` if it is given. Use as a context manager, or close()."""

    def __init__(self, address, timeout=60, tls=None, source=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.settimeout(timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(address)
        if tls:
            self.sock = tls(self.sock)
        self.hdgst = self.ddgst = False
        self.hpda = 0
        self.maxh2cdata = 4096
        self.established = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """FIN."""
        self.sock.close()

    def leave(self):
        """FIN, and back when the target has it; it need not have read a byte."""
        self.sock.shutdown(socket.SHUT_WR)
        end = time.monotonic() + 20
        while self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == FIN_WAIT1:
            assert time.monotonic() < end, "FIN is not acknowledged"
            time.sleep(0.001)
        self.sock.close()

    def abort(self):
        """RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, data):
        """Raw bytes."""
        self.sock.sendall(data)

    def read(self, size):
        """Exactly `size` bytes."""
        data = b""
        while len(data) < size:
            try:
                part = self.sock.recv(size - len(data))
            except ConnectionResetError as error:
                raise Closed from error
            if not part:
                raise Closed
            data += part
        return data

    def pdu(self):
        """The next PDU, checked. Raises Term, Closed or Violation."""
        header = self.read(8)
        kind, flags, hlen, pdo, plen = struct.unpack("<BBBBI", header)
        need(kind in (ICRESP, C2H_TERM, RESP, C2H_DATA, R2T), f"PDU type {kind:02x}h to a host")
        need(hlen == (128 if kind == ICRESP else 24), f"HLEN {hlen} in a PDU of type {kind:02x}h")
        need(hlen <= plen < 1 << 24, f"PLEN {plen}")
        header += self.read(hlen - 8)
        need(flags & ~ALLOWED_FLAGS.get(kind, 0) == 0, f"flags {flags:02x}h in type {kind:02x}h")
        need(pdo == 0 or kind == C2H_DATA, "PDO of a PDU without data")
        if kind == C2H_TERM:
            need(24 <= plen <= 152, f"PLEN {plen} of a C2HTermReq")
            rest = self.read(plen - 24)
            raise Term(*struct.unpack_from("<HI", header, 8), rest)
        if kind == ICRESP:
            need(plen == 128 and header[16:] == bytes(112), "ICResp")
            return Pdu(header, b"")
        return self._rest(header, kind, flags, pdo, plen)

    def _rest(self, header, kind, flags, pdo, plen):
        at = 24
        need(bool(flags & HDGST) == self.hdgst, "HDGST flag")
        if self.hdgst:
            need(struct.unpack("<I", self.read(4))[0] == crc32c(header), "header digest")
            at += 4
        need(kind == RESP or header[20:] == bytes(4), "reserved bytes")
        if kind != C2H_DATA:
            need(plen == at, f"PLEN {plen} of a PDU without data")
            return Pdu(header, b"")
        need(bool(flags & DDGST) == self.ddgst, "DDGST flag")
        need(pdo >= at and pdo % ((self.hpda + 1) * 4) == 0, f"PDO {pdo} with HPDA {self.hpda}")
        need(self.read(pdo - at) == bytes(pdo - at), "padding")
        data = self.read(plen - pdo - (4 if self.ddgst else 0))
        if self.ddgst:
            need(struct.unpack("<I", self.read(4))[0] == crc32c(data), "data digest")
        return Pdu(header, data)

    def icreq(self, hdgst=False, ddgst=False, hpda=0, maxr2t=0, pfv=0):
        """The handshake."""
        dgst = hdgst | ddgst << 1
        self.send(struct.pack("<BBBBIHBBI112x", ICREQ, 0, 128, 0, 128, pfv, hpda, dgst, maxr2t))
        answer = self.pdu()
        need(answer.type == ICRESP, "something else than ICResp")
        got_pfv, cpda, got_dgst, self.maxh2cdata = struct.unpack_from("<HBBI", answer.header, 8)
        need(got_pfv == 0 and cpda == 0, "PFV or CPDA of ICResp")
        need(got_dgst == dgst, "digests other than those asked for")
        need(self.maxh2cdata >= 4096 and self.maxh2cdata % 4 == 0, f"MAXH2CDATA {self.maxh2cdata}")
        self.hdgst, self.ddgst, self.hpda = hdgst, ddgst, hpda
        self.established = True
        return self

    def build(self, kind, body, data=b"", flags=0, ddgst=None):
        """A whole PDU: `body` follows the common header."""
        hlen = 8 + len(body)
        pdo = hlen + (4 if self.hdgst else 0) if data else 0
        plen = (pdo or hlen + (4 if self.hdgst else 0)) + len(data)
        if data and self.ddgst:
            plen += 4
        flags |= (HDGST if self.hdgst else 0) | (DDGST if self.ddgst and data else 0)
        header = struct.pack("<BBBBI", kind, flags, hlen, pdo, plen) + body
        if self.hdgst:
            header += struct.pack("<I", crc32c(header))
        if data and self.ddgst:
            data += struct.pack("<I", crc32c(data) if ddgst is None else ddgst)
        return header + data

    def command(self, raw, data=b"", ddgst=None):
        """Sends a CapsuleCmd."""
        self.send(self.build(CMD, raw, data, ddgst=ddgst))

    def h2c(self, cid, ttag, offset, data, last=True, ddgst=None):
        """Sends an H2CData."""
        body = struct.pack("<HHII4x", cid, ttag, offset, len(data))
        self.send(self.build(H2C_DATA, body, data, LAST if last else 0, ddgst))

    def expect_close(self, timeout=60):
        """The target closes; what it sends before does not matter."""
        self.sock.settimeout(timeout)
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionResetError:
            pass


class Command:
    """A command under way."""

    def __init__(self, cid, write, read_len):
        self.cid, self.write, self.read_len = cid, write, read_len
        self.data = b""
        self.asked = self.sent = 0
        self.cqe = None
        self.ttag = None
        self.auto = True


class Queue:
    """An admin or I/O queue on a connection of its own."""

    def __init__(self, address, timeout=60, tls=None, source=None, **icreq):
        self.conn = Connection(address, timeout, tls, source)
        self.conn.icreq(**icreq)
        self.commands = {}
        self.next_cid = 1
        self.flow_control = True
        self.entries = 0
        self.sqhd = 0
        self.cntlid = 0xFFFF

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.conn.close()

    def start(self, opcode, nsid=0, write=b"", read=0, inline=False, cid=None, **kwargs):
        """Sends a command; returns the Command."""
        if cid is None:
            cid = self.next_cid
            self.next_cid = self.next_cid % 0xFFF0 + 1
        command = Command(cid, write, read)
        self.commands[cid] = command
        command.asked = len(write) if inline else 0
        length = len(write) or read
        sgl = kwargs.pop("sgl", (0, length, SGL_IN_CAPSULE if inline else SGL_TRANSPORT))
        ddgst = kwargs.pop("ddgst", None)
        self.conn.command(sqe(opcode, cid, nsid, sgl, **kwargs), write if inline else b"", ddgst)
        return command

    def pump(self):
        """Takes one PDU and does what it asks for."""
        pdu = self.conn.pdu()
        if pdu.type == RESP:
            self._finish(Cqe(pdu.header[8:24]))
        elif pdu.type == C2H_DATA:
            self._data(pdu)
        elif pdu.type == R2T:
            self._r2t(pdu)
        else:
            raise Violation(f"PDU type {pdu.type:02x}h")
        return pdu

    def _find(self, cid):
        need(cid in self.commands, f"CID {cid:04x}h, which no command under way has")
        return self.commands[cid]

    def _finish(self, cqe):
        command = self._find(cqe.cid)
        if cqe.status == 0 and command.read_len:
            need(len(command.data) == command.read_len, "success with less data than asked for")
        if cqe.status == 0:
            need(command.asked == len(command.write), "success before all data was asked for")
        if cqe.status:
            need(not command.data, "data for a command that failed")
        if self.flow_control and self.entries:
            self.sqhd = (self.sqhd + 1) % self.entries
            need(cqe.sqhd == self.sqhd, f"SQHD {cqe.sqhd}, expected {self.sqhd}")
        elif self.entries:
            need(cqe.sqhd == 0, f"SQHD {cqe.sqhd} without flow control")
        command.cqe = cqe
        del self.commands[cqe.cid]

    def _data(self, pdu):
        cid, ttag, offset, length = struct.unpack_from("<HHII", pdu.header, 8)
        command = self._find(cid)
        need(command.read_len, "C2HData for a command that does not read")
        need(ttag == 0, "TTAG in C2HData")
        need(offset == len(command.data) and length == len(pdu.data), "DATAO or DATAL")
        command.data += pdu.data
        need(len(command.data) <= command.read_len, "more data than asked for")
        whole = len(command.data) == command.read_len
        need(bool(pdu.flags & LAST) == whole, "LAST flag")
        if pdu.flags & SUCCESS:
            need(whole and not self.flow_control, "SUCCESS flag")
            self._finish(Cqe(struct.pack("<IIHHHH", 0, 0, 0, 0, cid, 0)))

    def _r2t(self, pdu):
        cid, ttag, offset, length = struct.unpack_from("<HHII", pdu.header, 8)
        command = self._find(cid)
        need(command.write and not command.read_len, "R2T for a command that does not write")
        need(command.ttag is None, "a second R2T while MAXR2T is 0")
        need(length and offset == command.asked, "R2TO or R2TL")
        need(offset + length <= len(command.write), "R2T beyond the data")
        command.ttag = ttag
        command.asked += length
        if command.auto:
            self.send_data(command, length)

    def send_data(self, command, length):
        """Answers an R2T, in PDUs of at most MAXH2CDATA."""
        end = command.sent + length
        while command.sent < end:
            part = min(end - command.sent, self.conn.maxh2cdata)
            data = command.write[command.sent:command.sent + part]
            self.conn.h2c(command.cid, command.ttag, command.sent, data, command.sent + part == end)
            command.sent += part
        command.ttag = None

    def wait(self, *commands):
        """Until they have ended; returns the last one's CQE, whatever its status."""
        while any(command.cqe is None for command in commands):
            self.pump()
        return commands[-1].cqe

    def run(self, *args, **kwargs):
        """A command from start to end; raises Status. Returns the Command."""
        command = self.start(*args, **kwargs)
        cqe = self.wait(command)
        if cqe.status:
            raise Status(cqe)
        return command

    def status(self, *args, **kwargs):
        """The status code (SCT and SC) that a command ends with."""
        return self.wait(self.start(*args, **kwargs)).code

    def connect(self, subnqn, qid=0, entries=32, cntlid=0xFFFF, kato=0, hostnqn=HOSTNQN,
                hostid=HOSTID, no_flow_control=True, inline=True, **changes):
        """Fabrics Connect. Raises Status."""
        data = struct.pack("<16sH238x256s256s256x", hostid, cntlid,
                           changes.get("raw_subnqn", subnqn.encode()),
                           changes.get("raw_hostnqn", hostnqn.encode()))
        data = data[:changes.get("length", 1024)].ljust(changes.get("length", 1024), b"\0")
        self.flow_control = not no_flow_control
        cattr = changes.get("cattr", 4 if no_flow_control else 0)
        sqsize = changes.get("sqsize", entries - 1)
        command = self.run(FABRICS, nsid=CONNECT, write=data, inline=inline,
                           cdw10=changes.get("recfmt", 0) | qid << 16,
                           cdw11=sqsize | cattr << 16, cdw12=kato)
        if no_flow_control:
            need(command.cqe.sqhd == 0xFFFF, "SQHD of Connect without flow control")
        else:
            self.sqhd = command.cqe.sqhd
        self.entries = entries
        self.cntlid = command.cqe.dw0 & 0xFFFF
        return self

    def property_get(self, offset, size=4):
        """A property's value."""
        command = self.run(FABRICS, nsid=PROPERTY_GET, cdw10=1 if size == 8 else 0, cdw11=offset)
        return command.cqe.dw0 | command.cqe.dw1 << 32

    def property_set(self, offset, value):
        """Writes a 4-byte property."""
        self.run(FABRICS, nsid=PROPERTY_SET, cdw11=offset, cdw12=value)


class Host:
    """A controller: an admin queue and I/O queues."""

    def __init__(self, address, subnqn, queues=1, entries=128, kato=0, hostnqn=HOSTNQN,
                 hostid=HOSTID, no_flow_control=True, enable=True, **icreq):
        self.address, self.subnqn = address, subnqn
        self.identity = {"hostnqn": hostnqn, "hostid": hostid, "no_flow_control": no_flow_control}
        self.icreq = icreq
        self.admin = Queue(address, **icreq)
        self.io = []
        try:
            self.admin.connect(subnqn, kato=kato, **self.identity)
            if enable:
                self.enable()
                if queues:
                    self.set_queues(queues)
                for qid in range(1, queues + 1):
                    self.io.append(self.queue(qid, entries))
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes all connections."""
        for queue in [*self.io, self.admin]:
            queue.conn.close()

    def enable(self):
        """CC.EN = 1, waits for CSTS.RDY."""
        self.admin.property_set(CC, 0x00460001)  # queue entries of 64 and 16 bytes
        self.wait_csts(1, 1)

    def wait_csts(self, mask, value, seconds=60):
        """Until CSTS & mask == value."""
        end = time.monotonic() + seconds
        while self.admin.property_get(CSTS) & mask != value:
            assert time.monotonic() < end, "CSTS"
            time.sleep(0.005)

    def set_queues(self, number):
        """Set Features, Number of Queues; returns what was granted."""
        value = number - 1 | number - 1 << 16
        return (self.admin.run(SET_FEATURES, cdw10=NUMBER_OF_QUEUES, cdw11=value).cqe.dw0 & 0xFFFF) + 1

    def queue(self, qid, entries=128, **changes):
        """Connects an I/O queue."""
        queue = Queue(self.address, **self.icreq)
        arguments = {"subnqn": self.subnqn, "cntlid": self.admin.cntlid, **self.identity, **changes}
        try:
            return queue.connect(qid=qid, entries=entries, **arguments)
        except BaseException:
            queue.conn.close()
            raise

    def identify(self, cns, nsid=0):
        """4096 bytes."""
        return self.admin.run(IDENTIFY, nsid=nsid, read=4096, cdw10=cns).data

    def active(self):
        """The active namespace list."""
        return [nsid for nsid in struct.unpack("<1024I", self.identify(2)) if nsid]

    def log_page(self, lid, length, nsid=0xFFFFFFFF, offset=0, rae=False):
        """Get Log Page."""
        numd = length // 4 - 1
        return self.admin.run(GET_LOG_PAGE, nsid=nsid, read=length,
                              cdw10=lid | rae << 15 | (numd & 0xFFFF) << 16, cdw11=numd >> 16,
                              cdw12=offset & 0xFFFFFFFF, cdw13=offset >> 32).data


def io_fields(slba, blocks, flags=0):
    """CDW10-12 of a command on blocks."""
    return {"cdw10": slba & 0xFFFFFFFF, "cdw11": slba >> 32, "cdw12": blocks - 1 | flags}


def block(lba, generation):
    """A block that tells where and when it was written."""
    return struct.pack("<QQ", lba, generation) * 32


def read(queue, slba, blocks, size=512, nsid=1, flags=0, **kwargs):
    """Reads blocks; `flags` are those of CDW12."""
    return queue.run(READ, nsid=nsid, read=blocks * size, **io_fields(slba, blocks, flags), **kwargs).data


def write(queue, slba, data, size=512, nsid=1, flags=0, **kwargs):
    """Writes blocks; in the capsule when it fits and inline= is not given."""
    kwargs.setdefault("inline", len(data) <= 8192)
    queue.run(WRITE, nsid=nsid, write=data, **io_fields(slba, len(data) // size, flags), **kwargs)
