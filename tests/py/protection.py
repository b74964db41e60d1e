# SPDX-License-Identifier: BSD-3-Clause
"""Protection information with 16-bit guards, as a host makes it (NVM Command Set 5.2)."""

import struct

PRACT, GUARD, APP, REF = 1 << 29, 1 << 28, 1 << 27, 1 << 26  # CDW12
BAD_GUARD, BAD_APP, BAD_REF, INVALID_PI = 0x282, 0x283, 0x284, 0x181


def crc16(data):
    """The guard: CRC-16 of T10 DIF."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x8BB7 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def protected(data, slba, app=0, more=0):
    """Blocks of 512 bytes, each with its protection information and `more` zeroes behind it."""
    parts = [data[at:at + 512] for at in range(0, len(data), 512)]
    return b"".join(part + struct.pack(">HHI", crc16(part), app, slba + index) + bytes(more)
                    for index, part in enumerate(parts))


def pattern(seed, blocks):
    """Blocks of 512 bytes that tell where they belong."""
    return bytes((index * 31 + seed * 7 + index // 512) & 0xFF for index in range(blocks * 512))
