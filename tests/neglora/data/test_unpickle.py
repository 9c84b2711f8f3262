import functools
import os
import pickle
import pickletools
import struct
import types

import numpy as np
import pytest

from neglora.data import DataError
from neglora.data.unpickle import OPCODES, unpickle
from tests.archives import python2_pickle

IMAGES = np.arange(24, dtype=np.uint8).reshape(4, 6)
BATCH = {
    b"batch_label": b"training batch 1 of 5",
    b"labels": [3, 0, 300, 70000],
    b"data": IMAGES,
    b"filenames": [b"a.png"],
}


def in_python3(protocol, keys=bytes):
    return pickle.dumps({(key if keys is bytes else key.decode()): value for key, value in BATCH.items()}, protocol)


@pytest.mark.parametrize(
    "content",
    [python2_pickle(BATCH), *(in_python3(protocol, keys) for protocol in (2, 3, 4) for keys in (bytes, str))],
)
def test_a_batch_is_read_however_it_was_written(content):
    read = unpickle(content, "batch")
    assert list(read) == ["batch_label", "labels", "data", "filenames"]
    assert read["batch_label"] == b"training batch 1 of 5"
    assert read["labels"] == [3, 0, 300, 70000]
    assert read["filenames"] == [b"a.png"]
    assert read["data"].dtype == np.uint8
    np.testing.assert_array_equal(read["data"], IMAGES)


def test_python2s_way_is_read_by_pickle_too():
    read = pickle.loads(python2_pickle(BATCH), encoding="bytes")
    np.testing.assert_array_equal(read.pop(b"data"), IMAGES)
    assert read == {key: value for key, value in BATCH.items() if key != b"data"}


def test_an_array_by_columns():
    content = pickle.dumps({"data": np.asfortranarray(IMAGES)}, 2)
    np.testing.assert_array_equal(unpickle(content, "batch")["data"], IMAGES)


def test_many_values_and_long_numbers():
    labels = [*range(-5, 3000), 2**40]
    assert unpickle(pickle.dumps({"labels": labels}, 2), "batch")["labels"] == labels


class Call:
    """Pickled as the call of a function."""

    def __init__(self, function, *given):
        self.call = (function, given)

    def __reduce__(self):
        return self.call


HOSTILE = {
    "system": (os.system, "touch {marker}"),
    "eval": (eval, "open({marker!r}, 'w')"),
    "exec": (exec, "open({marker!r}, 'w')"),
    "open": (open, "{marker}", "w"),
    "partial": (functools.partial, print),
    "getattr": (getattr, "numpy", "load"),
    "import": (__import__, "os"),
    "namespace": (types.SimpleNamespace,),
    "load": (np.load, "{marker}"),
    "fromfile": (np.fromfile, "{marker}"),
    "bytearray": (bytearray, 2**62),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_called_and_the_global_is_named(name, protocol, tmp_path):
    marker = tmp_path / "was_here"
    function, *given = HOSTILE[name]
    given = [part.format(marker=str(marker)) if isinstance(part, str) else part for part in given]
    content = pickle.dumps({"data": IMAGES, "labels": Call(function, *given)}, protocol)
    with pytest.raises(DataError, match=r"evil_batch holds the global \S+\.\w+, which no batch") as raised:
        unpickle(content, "evil_batch")
    assert function.__name__ in str(raised.value) or function is os.system
    assert not marker.exists()


@pytest.mark.parametrize(
    "values",
    [
        np.array(["x", 1], dtype=object),
        np.arange(4.0),
        np.arange(4),
        np.array([(1, 2)], dtype=[("a", "u1"), ("b", "u1")]),
        np.array(["a"]),
    ],
)
def test_only_arrays_of_bytes(values):
    with pytest.raises(DataError, match="batch is damaged, or no batch of images: images should be bytes"):
        unpickle(pickle.dumps({"data": values}, 2), "batch")


def reconstructed(state: bytes) -> bytes:
    """`{"data": array}` with a state of its own; `D` in it stands for the type u1."""
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    return b"\x80\x02}U\x04data" + array + state.replace(b"D", kind) + b"bs."


def test_a_state_written_by_hand_is_read():
    assert unpickle(reconstructed(b"(K\x01K\x02\x85D\x89U\x02xyt"), "batch")["data"].tolist() == [120, 121]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (b"(K\x01J\x00\x00\x00\x7fJ\x00\x00\x00\x7f\x86D\x89U\x02xyt", "should have 4539909899366170624 bytes, got 2"),
        (b"(K\x01K\x03\x85D\x89U\x02xyt", "should have 3 bytes, got 2"),
        (b"(K\x01J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86D\x89U\x02xyt", "whole numbers"),
        (b"(K\x01\x88\x85D\x89U\x01xt", "whole numbers"),
        (b"(K\x01U\x02xyD\x89U\x02xyt", "whole numbers"),
        (b"(K\x01K\x02\x85D\x89]t", "images should be bytes"),
        (b"(K\x01K\x02\x85N\x89U\x02xyt", "images should be bytes"),
        (b"K\x01", "int"),
        (b"]", "not enough values"),
    ],
)
def test_a_state_that_does_not_fit_its_bytes(state, said):
    with pytest.raises(DataError, match=said):
        unpickle(reconstructed(state), "batch")


def test_an_array_without_content():
    with pytest.raises(DataError, match="array without content"):
        unpickle(reconstructed(b"").replace(b"bs.", b"s."), "batch")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x80\x02}r\xff\xff\xff\x7f.", "notes value 2147483647"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "damaged"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1) + b"x.", "instruction BYTEARRAY8"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.", "damaged"),
        (b"\x80\x02}(ios\nsystem\nU\x04true0.", "instruction INST"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"\x80\x02U\x01xQ.", "instruction BINPERSID"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "instruction NEWOBJ"),
        (b"\x80\x02cnumpy\nndarray\nK\x09\x85R.", "not called"),
        (b"\x80\x02cnumpy\nndarray\n}U\x01xK\x01sb.", "no state"),
        (b"\x80\x02c_codecs\nencode\nN}U\x08__code__K\x01s\x86b.", "no state"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x05\x00\x00\x00rot13\x86R.", "latin1, got 'rot13'"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nc_codecs\nencode\n\x85R.", "only numpy.ndarray"),
        (b"\x80\x02h\x07.", "damaged"),
        (b"\x80\x02]K\x01a.", "should hold a mapping, got a list"),
        (b"\x80\x02}]K\x01s.", "damaged"),
        (b"", "damaged"),
        (b"\x80\x02}", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged|instruction"),
        (b"\x80\x63}.", "damaged"),
    ],
)
def test_damaged_and_hostile_files(content, said):
    with pytest.raises(DataError, match=said) as raised:
        unpickle(content, "the_file")
    assert str(raised.value).startswith("the_file ")


def test_a_broken_batch_is_never_another_error():
    """Every cut and a flip at every place: it is read, or is a DataError."""
    content = python2_pickle(BATCH)
    broken = [content[:end] for end in range(len(content))]
    broken += [content[:at] + bytes([content[at] ^ 0x15]) + content[at + 1 :] for at in range(len(content))]
    refused = 0
    for each in broken:
        try:
            unpickle(each, "batch")
        except DataError:
            refused += 1
    assert refused >= len(content)


def test_the_instructions_exist():
    assert set(OPCODES.split()) <= {opcode.name for opcode in pickletools.opcodes}
    assert not {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "PERSID", "BINPERSID"} & set(OPCODES.split())
