# SPDX-License-Identifier: BSD-3-Clause
"""A TLS 1.3 client with a pre-shared key, over the machine's OpenSSL; and NVMe's PSKs and identities
in plain Python, independent of the daemon's code."""

import base64
import ctypes
import ctypes.util
import socket
import struct

from dhchap import HASHES, SEED, mac
from nvmetcp import HOSTNQN, Closed

SUITES = {1: b"\x13\x01", 2: b"\x13\x02", "chacha20": b"\x13\x03"}
TLS1_2, TLS1_3 = 0x0303, 0x0304
_ssl = ctypes.CDLL("libssl.so.3", use_errno=True)
_crypto = ctypes.CDLL("libcrypto.so.3")
_P, _S = ctypes.c_void_p, ctypes.c_size_t
for _name, _result, _arguments in (
        ("TLS_client_method", _P, ()), ("SSL_CTX_new", _P, (_P,)), ("SSL_CTX_free", None, (_P,)),
        ("SSL_new", _P, (_P,)), ("SSL_free", None, (_P,)),
        ("SSL_set_fd", ctypes.c_int, (_P, ctypes.c_int)), ("SSL_connect", ctypes.c_int, (_P,)),
        ("SSL_get_error", ctypes.c_int, (_P, ctypes.c_int)),
        ("SSL_read", ctypes.c_int, (_P, ctypes.c_char_p, ctypes.c_int)),
        ("SSL_write", ctypes.c_int, (_P, ctypes.c_char_p, ctypes.c_int)),
        ("SSL_shutdown", ctypes.c_int, (_P,)), ("SSL_key_update", ctypes.c_int, (_P, ctypes.c_int)),
        ("SSL_ctrl", ctypes.c_long, (_P, ctypes.c_int, ctypes.c_long, _P)),
        ("SSL_set_ciphersuites", ctypes.c_int, (_P, ctypes.c_char_p)),
        ("SSL_get_cipher_list", ctypes.c_char_p, (_P, ctypes.c_int)),
        ("SSL_get_current_cipher", _P, (_P,)), ("SSL_CIPHER_get_name", ctypes.c_char_p, (_P,)),
        ("SSL_CIPHER_find", _P, (_P, ctypes.c_char_p)), ("SSL_SESSION_new", _P, ()),
        ("SSL_SESSION_set1_master_key", ctypes.c_int, (_P, ctypes.c_char_p, _S)),
        ("SSL_SESSION_set_cipher", ctypes.c_int, (_P, _P)),
        ("SSL_SESSION_set_protocol_version", ctypes.c_int, (_P, ctypes.c_int)),
        ("SSL_SESSION_set_max_early_data", ctypes.c_int, (_P, ctypes.c_uint32)),
        ("SSL_write_early_data", ctypes.c_int, (_P, ctypes.c_char_p, _S, ctypes.POINTER(_S))),
        ("SSL_get_early_data_status", ctypes.c_int, (_P,)),
        ("SSL_set_psk_use_session_callback", None, (_P, _P))):
    getattr(_ssl, _name).restype, getattr(_ssl, _name).argtypes = _result, _arguments
_crypto.ERR_get_error.restype = ctypes.c_ulong
_crypto.ERR_reason_error_string.restype = ctypes.c_char_p
_crypto.ERR_reason_error_string.argtypes = (ctypes.c_ulong,)
_USE_SESSION = ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, ctypes.POINTER(_P), ctypes.POINTER(_S),
                                ctypes.POINTER(_P))
_SET_MIN, _SET_MAX, _SET_GROUPS = 123, 124, 92


class Refused(Exception):
    """The handshake failed; the text is OpenSSL's reason."""


def _reason():
    code, text = _crypto.ERR_get_error(), ""
    while code:
        text = (_crypto.ERR_reason_error_string(code) or b"").decode()
        code = _crypto.ERR_get_error()
    return text


class TlsSocket:
    """What Connection needs of a socket, over TLS."""

    def __init__(self, sock, identity=b"", psk=b"", hash_id=1, suites=None, version=TLS1_3,
                 groups=None, suite=None, early=b""):
        self.early = early
        self.sock, self.identity, self.psk, self.suite = sock, identity, psk, SUITES[suite or hash_id]
        self.settimeout(sock.gettimeout())
        self.ctx = _ssl.SSL_CTX_new(_ssl.TLS_client_method())
        self.ssl = _ssl.SSL_new(self.ctx)
        self.callback = _USE_SESSION(self._use_session)
        if psk:
            _ssl.SSL_set_psk_use_session_callback(self.ssl, ctypes.cast(self.callback, _P))
        _ssl.SSL_ctrl(self.ssl, _SET_MIN, version, None)
        _ssl.SSL_ctrl(self.ssl, _SET_MAX, version, None)
        if groups:
            _ssl.SSL_ctrl(self.ssl, _SET_GROUPS, len(groups), (ctypes.c_int * len(groups))(*groups))
        if suites:
            _ssl.SSL_set_ciphersuites(self.ssl, suites)
        _ssl.SSL_set_fd(self.ssl, sock.fileno())
        if early:
            assert _ssl.SSL_write_early_data(self.ssl, early, len(early), ctypes.byref(_S())) == 1
        if _ssl.SSL_connect(self.ssl) != 1:
            reason = _reason()
            self.close()
            raise Refused(reason)

    def _use_session(self, ssl, _md, identity, length, session):
        made = _ssl.SSL_SESSION_new()
        _ssl.SSL_SESSION_set1_master_key(made, self.psk, len(self.psk))
        _ssl.SSL_SESSION_set_cipher(made, _ssl.SSL_CIPHER_find(ssl, self.suite))
        _ssl.SSL_SESSION_set_protocol_version(made, TLS1_3)
        _ssl.SSL_SESSION_set_max_early_data(made, len(self.early))
        self.buffer = ctypes.create_string_buffer(self.identity, len(self.identity))
        identity[0] = ctypes.addressof(self.buffer)
        length[0] = len(self.identity)
        session[0] = made
        return 1

    def cipher(self):
        """Name of the cipher suite."""
        return _ssl.SSL_CIPHER_get_name(_ssl.SSL_get_current_cipher(self.ssl)).decode()

    def early_was_taken(self):
        """Whether the data that went before the handshake (early) counted."""
        return _ssl.SSL_get_early_data_status(self.ssl) == 2

    def settimeout(self, seconds):
        """For each read and write."""
        self.sock.settimeout(None)
        value = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)

    def setsockopt(self, *arguments):
        """The socket's."""
        self.sock.setsockopt(*arguments)

    def recv(self, size):
        """Some bytes; none at close_notify."""
        buf = ctypes.create_string_buffer(size)
        n = _ssl.SSL_read(self.ssl, buf, size)
        if n > 0:
            return buf.raw[:n]
        error = _ssl.SSL_get_error(self.ssl, n)
        if error == 2:
            raise TimeoutError("nothing came")
        _reason()
        return b""

    def sendall(self, data):
        """All bytes, in records of 16 KiB."""
        for at in range(0, len(data), 1 << 20):
            part = data[at:at + (1 << 20)]
            if _ssl.SSL_write(self.ssl, part, len(part)) != len(part):
                _reason()
                raise Closed

    def key_update(self, answer=True):
        """New keys with what is sent next; the peer's too, if it is to answer."""
        assert _ssl.SSL_key_update(self.ssl, 1 if answer else 0) == 1

    def notify(self):
        """close_notify, no FIN."""
        _ssl.SSL_shutdown(self.ssl)

    def close(self):
        """close_notify and FIN."""
        if self.ssl:
            _ssl.SSL_shutdown(self.ssl)
            _reason()
            _ssl.SSL_free(self.ssl)
            _ssl.SSL_CTX_free(self.ctx)
            self.ssl = None
        self.sock.close()


# --- PSKs (TCP transport 3.6.1) -----------------------------------------------------------------


def hkdf(hash_id, key, label, context, length, legacy=False):
    """HKDF-Extract and HKDF-Expand-Label; legacy: as older tools do it."""
    size = HASHES[hash_id]().digest_size
    prk = mac(hash_id, bytes(size), key)
    label = b"tls13 " + label
    info = struct.pack(">HB", length, len(label)) + label + bytes([len(context)]) + context
    if legacy:
        info = struct.pack("<H", length) + label + context
    out = block = b""
    for number in range(1, 3):
        block = mac(hash_id, prk, block + info + bytes([number]))
        out += block
    return out[:length]


def psk_for(text, subnqn, hostnqn=HOSTNQN, version=1, legacy=False, hash_id=None):
    """Arguments of TlsSocket for a key in the interchange format."""
    _, kind, body, _ = text.split(":")
    key = base64.b64decode(body)[:-4]
    if kind != "00":
        key = hkdf(int(kind), key, b"HostNQN", hostnqn.encode(), len(key), legacy)
    if hash_id is None:
        hash_id = int(kind) or {32: 1, 48: 2}[len(key)]
    return input_psk(key, "R", hash_id, subnqn, hostnqn, version, legacy)


def input_psk(key, kind, hash_id, subnqn, hostnqn=HOSTNQN, version=1, legacy=False):
    """The same for a retained ("R") or a generated ("G") PSK."""
    names = hostnqn.encode() + b" " + subnqn.encode()
    identity = f"NVMe{version}{kind}{hash_id:02} ".encode() + names
    context = identity
    if version == 1:
        digest = base64.b64encode(mac(hash_id, key, names + b" " + SEED))
        identity += b" " + digest
        context = f"{hash_id:02} ".encode() + digest
    size = HASHES[hash_id]().digest_size
    psk = hkdf(hash_id, key, b"nvme-tls-psk", context, size, legacy)
    return {"identity": identity, "psk": psk, "hash_id": hash_id}
