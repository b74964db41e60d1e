# SPDX-License-Identifier: BSD-3-Clause
"""TLS with the records in the kernel (kTLS): the machine that the tests run on may have none."""

SCRIPT = """
WHAT="identities or data or slow_reader or key_update or protocol_error or cut_records or leaving or rotation"
export NVMETD_BUILD=$BUILD NVMETD_KTLS=1
cd "$SOURCE" && /usr/bin/python3 -m pytest -q -p no:cacheprovider -rs --basetemp=/run/pytest tests/py/test_tls.py -k "$WHAT"
"""


def test_ktls(boot):
    """Everything that the wire-level tests show of TLS, over kTLS."""
    result = boot(SCRIPT)
    assert " passed" in result.output and "records in OpenSSL" not in result.output
