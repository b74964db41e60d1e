# SPDX-License-Identifier: BSD-3-Clause
"""hostile.md: no number is missing, and each test that it names exists."""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
ROW = re.compile(r"^\| (?!id )([\w.-]+) \| .* \| ([^|]*) \|$")


def rows():
    """(id, text of the last column) of every row."""
    lines = (HERE / "hostile.md").read_text().splitlines()
    return [match.groups() for match in map(ROW.match, lines) if match]


def exists(name):
    """A test of pytest (file::function) or a unit test (path::function)."""
    file, _, function = name.partition("::")
    path = TOP / file if "/" in file else HERE / file
    if not path.exists():
        return False
    found = rf"^def {function}\(" if file.endswith(".py") else rf"cmocka_unit_test\w*\({function}\b"
    return re.search(found, path.read_text(), re.M) is not None


def test_every_number_is_there():
    """1 to 96, each once, and what has a name."""
    ids = [identity for identity, _ in rows()]
    assert len(ids) == len(set(ids))
    assert [number for number in range(1, 97) if str(number) not in ids] == []
    assert len([identity for identity in ids if not identity.isdigit()]) >= 45


def test_every_test_exists():
    """Each row names tests, which exist."""
    wrong = []
    for identity, text in rows():
        names = text.split()
        wrong += [f"{identity}: {name}" for name in names if not exists(name)]
        if not names:
            wrong.append(f"{identity}: no test")
    assert not wrong
