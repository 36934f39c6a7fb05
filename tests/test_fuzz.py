"""A few hundred damaged inputs for each reader, the same ones in every run; tests/slow/fuzz.py tries more."""

import resource
import sys
from pathlib import Path

import pytest
from fuzz_edits import EDITS, TOKENS, damaged
from fuzz_targets import targets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TABLES = ("train", "pseudo", "pairs", "labels", "retrieval", "similarities")
INPUTS = dict.fromkeys(TABLES, 150) | {"image": 250, "png": 250, "weights": 100, "weights header": 200}
INPUTS |= {"weights tensors": 100, "published": 200, "published pickle": 200, "state": 200, "state pickle": 200}
INPUTS |= {"calibration": 500, "options": 60}  # numbers that take a second or two each
MEMORY = 3 * 2**30
EDIT = st.tuples(
    st.sampled_from(EDITS),
    st.integers(0, 2**24),
    st.integers(0, 2**24),
    st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=8),
)
NAMES = ("a.jpg", "b.jpg", "c d.jpg", "é.jpg", "A.JPG", "../a.jpg", "/a.jpg", ".", "a.jpg ")
FIELDS = st.sampled_from((*NAMES, "0", "1", "-0.5", "nan", "1e999", "")) | st.text(max_size=6)


@pytest.fixture(scope="module")
def all_targets(tmp_path_factory):
    return targets(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(autouse=True)
def bounded_memory():
    """Limit the memory, so that a reader that trusts a size in a damaged file gets a MemoryError."""
    if sys.platform != "linux":
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def inputs(number):
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def test_every_target_is_tested(all_targets):
    assert set(all_targets) == set(INPUTS)


@pytest.mark.parametrize("name", INPUTS)
def test_undamaged_input_is_accepted(all_targets, name):
    assert all_targets[name].read(all_targets[name].seeds[0])


@pytest.mark.parametrize("name", INPUTS)
def test_damaged_input_raises_only_documented_errors(all_targets, name):
    @inputs(INPUTS[name])
    @given(seed=st.sampled_from(all_targets[name].seeds), edits=st.lists(EDIT, min_size=1, max_size=4))
    def check(seed, edits):
        all_targets[name].read(damaged(seed, edits))

    check()


@st.composite
def csv_bytes(draw, header):
    """Rows as a spreadsheet, an editor or a script may write them."""
    comma = draw(st.sampled_from(",,,;\t"))
    end = draw(st.sampled_from(("\n", "\r\n", "\r")))
    rows = draw(st.lists(st.lists(FIELDS, min_size=len(header) - 1, max_size=len(header) + 1), max_size=6))
    if draw(st.booleans()):
        rows = [['"' + field.replace('"', '""') + '"' for field in row] for row in rows]
    text = end.join(comma.join(row) for row in [header, *rows])
    encoding = draw(st.sampled_from(("utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16")))
    return text.encode(encoding, "replace" if encoding != "utf-16" else "surrogatepass")


@pytest.mark.parametrize("name", TABLES)
def test_odd_tables_raise_only_documented_errors(all_targets, name):
    header = all_targets[name].seeds[0].decode().partition("\n")[0].split(",")

    @inputs(INPUTS[name])
    @given(content=csv_bytes(header))
    def check(content):
        all_targets[name].read(content)

    check()
