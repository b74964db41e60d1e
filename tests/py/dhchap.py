# SPDX-License-Identifier: BSD-3-Clause
"""The host's side of DH-HMAC-CHAP (Base 2.0, 8.13.5) in plain Python, independent of the daemon's code."""

import base64
import hashlib
import hmac
import secrets
import struct
import zlib

from nvmetcp import AUTH_RECV, AUTH_SEND, FABRICS, HOSTNQN, need

HASHES = {1: hashlib.sha256, 2: hashlib.sha384, 3: hashlib.sha512}
SEED = b"NVMe-over-Fabrics"
NEGOTIATE, CHALLENGE, REPLY, SUCCESS1, SUCCESS2, FAILURE2, FAILURE1 = 0, 1, 2, 3, 4, 0xF0, 0xF1
FAILED, NOT_USABLE, CONCAT, HASH, GROUP, PAYLOAD, MESSAGE = 1, 2, 3, 4, 5, 6, 7
GROUP_BYTES = {0: 0, 1: 256, 2: 384, 3: 512, 4: 768, 5: 1024}
# RFC 7919, appendix A: p = 2^b - 2^(b-64) + (floor(2^(b-130) e) + X) 2^64 - 1.
GROUP_X = {1: 560316, 2: 2625351, 3: 5736041, 4: 15705020, 5: 10965728}


def _prime(group):
    bits = GROUP_BYTES[group] * 8
    precision = bits + 64
    term = total = 1 << precision
    count = 0
    while term:
        count += 1
        term //= count
        total += term
    e_part = total >> (precision - (bits - 130))
    return (1 << bits) - (1 << (bits - 64)) + ((e_part + GROUP_X[group]) << 64) - 1


PRIMES = {group: _prime(group) for group in GROUP_X}


def mac(hash_id, key, data):
    """HMAC."""
    return hmac.new(key, data, HASHES[hash_id]).digest()


def key_text(key, hash_id=0, prefix="DHHC-1"):
    """A key as it is exchanged."""
    body = base64.b64encode(key + struct.pack("<I", zlib.crc32(key))).decode()
    return f"{prefix}:{hash_id:02}:{body}:"


def transform(text, nqn):
    """The key that `nqn` uses."""
    _, hash_id, body, _ = text.split(":")
    key = base64.b64decode(body)[:-4]
    return key if hash_id == "00" else mac(int(hash_id), key, nqn.encode() + SEED)


class Failure(Exception):
    """AUTH_Failure1; `code` is the explanation."""

    def __init__(self, code):
        super().__init__(f"authentication failed: {code}")
        self.code = code


class Chap:
    """One authentication on a queue, message by message."""

    def __init__(self, queue, subnqn, key, ctrl_key=None, hashes=(1, 2, 3), groups=(0, 1, 2, 3, 4, 5),
                 hostnqn=HOSTNQN, sc_c=0, t_id=None):
        self.queue, self.hostnqn, self.subnqn, self.sc_c = queue, hostnqn, subnqn, sc_c
        self.key = transform(key, hostnqn)
        self.ctrl_key = ctrl_key and transform(ctrl_key, subnqn)
        self.hashes, self.groups = hashes, groups
        self.t_id = secrets.randbits(16) if t_id is None else t_id
        self.hash = self.group = self.session = self.psk = None
        self.c1 = self.c2 = self.challenge = None

    def send(self, message, length=None, **fields):
        """Authentication Send; returns the status code."""
        cdw10 = fields.get("cdw10", 0xE9010100)
        return self.queue.status(FABRICS, nsid=AUTH_SEND, write=message, inline=True, cdw10=cdw10,
                                 cdw11=len(message) if length is None else length)

    def receive(self, size=4096):
        """Authentication Receive."""
        return self.queue.run(FABRICS, nsid=AUTH_RECV, read=size, cdw10=0xE9010100, cdw11=size).data

    def negotiate_message(self, napd=1, halen=None, dhlen=None, authid=1):
        """AUTH_Negotiate."""
        hashes, groups = bytes(self.hashes), bytes(self.groups)
        protocol = struct.pack("<BxBB30s30s", authid, len(hashes) if halen is None else halen,
                               len(groups) if dhlen is None else dhlen, hashes, groups)
        return struct.pack("<BBxxHBB", 0, NEGOTIATE, self.t_id, self.sc_c, napd) + protocol

    def expect(self, data, kind):
        """Checks a message's header; raises Failure."""
        auth_type, auth_id, t_id = struct.unpack_from("<BBxxH", data)
        if (auth_type, auth_id) == (0, FAILURE1):
            need(data[6] == 1 and data[8:] == bytes(len(data) - 8), "AUTH_Failure1")
            raise Failure(data[7])
        need((auth_type, auth_id) == (1, kind), f"message {auth_type:x}/{auth_id:x}")
        need(t_id == self.t_id, "T_ID")

    def take_challenge(self, data):
        """Challenge: chosen hash and group, challenge, public value."""
        self.expect(data, CHALLENGE)
        hl, self.hash, self.group, dhvlen, seqnum = struct.unpack_from("<BxBBHI", data, 6)
        need(self.hash in self.hashes and self.group in self.groups, "not what was offered")
        need(hl == HASHES[self.hash]().digest_size and dhvlen == GROUP_BYTES[self.group], "lengths")
        need(seqnum, "sequence number 0")
        need(data[16 + hl + dhvlen:] == bytes(len(data) - 16 - hl - dhvlen), "bytes behind it")
        self.c1 = data[16:16 + hl]
        self.challenge = (seqnum, int.from_bytes(data[16 + hl:16 + hl + dhvlen], "big"))

    def respond(self, role, key, challenge, seqnum):
        """Either side's response."""
        if self.session:
            challenge = mac(self.hash, self.session, challenge)
        names = [self.hostnqn.encode(), self.subnqn.encode()]
        text = [b"HostHost", *names] if role == "host" else [b"Controller", *names[::-1]]
        return mac(self.hash, key, challenge + struct.pack("<IHB", seqnum, self.t_id, self.sc_c)
                   + text[0] + text[1] + b"\0" + text[2])

    def reply_message(self, public=None):
        """Reply; asks for proof when there is a controller's key."""
        size = GROUP_BYTES[self.group]
        dhv = b""
        if self.group:
            prime, secret = PRIMES[self.group], secrets.randbits(256)
            need(2 <= self.challenge[1] <= prime - 2, "public value")
            shared = pow(self.challenge[1], secret, prime).to_bytes(size, "big")
            self.session = HASHES[self.hash](shared).digest()
            dhv = pow(2, secret, prime).to_bytes(size, "big") if public is None else public
        response = self.respond("host", self.key, self.c1, self.challenge[0])
        valid = bool(self.ctrl_key) or bool(self.sc_c)
        self.c2 = secrets.token_bytes(len(response)) if valid else bytes(len(response))
        self.seqnum = 0x01020304 if self.ctrl_key else 0
        if self.sc_c:
            self.psk = mac(self.hash, self.session, self.c1 + self.c2)
        return struct.pack("<BBxxHBxBxHI", 1, REPLY, self.t_id, len(response), valid, len(dhv),
                           self.seqnum) + response + self.c2 + dhv

    def take_success1(self, data):
        """Success1, with proof when there is a controller's key."""
        self.expect(data, SUCCESS1)
        hl, valid = data[6], data[8]
        need(valid == bool(self.ctrl_key), "RVALID")
        if valid:
            proof = self.respond("controller", self.ctrl_key, self.c2, self.seqnum)
            need(data[16:16 + hl] == proof, "the controller's response")

    def success2_message(self):
        """Success2."""
        return struct.pack("<BBxxH10x", 1, SUCCESS2, self.t_id)

    def challenged(self):
        """Up to the Challenge."""
        need(self.send(self.negotiate_message()) == 0, "Negotiate")
        self.take_challenge(self.receive())
        return self

    def replied(self):
        """Up to the Reply."""
        self.challenged()
        need(self.send(self.reply_message()) == 0, "Reply")
        return self

    def run(self):
        """All of it."""
        self.replied().take_success1(self.receive())
        if self.ctrl_key:
            need(self.send(self.success2_message()) == 0, "Success2")
        return self
