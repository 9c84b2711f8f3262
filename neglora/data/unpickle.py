"""Read the pickles of published archives without running what they hold: arrays of bytes, lists, numbers and texts."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy
from numpy.typing import NDArray

from neglora.data.dataset import DataError

#: What a batch is written with, by Python 2 or 3. Among those left out are the instructions that make an object of a
#: class (INST, OBJ, NEWOBJ), name one by number (EXT) or reserve memory before its content is there (BYTEARRAY8).
OPCODES = """
PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1
BINSTRING SHORT_BINSTRING BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES BINBYTES8
EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD
"""
#: Names that numpy's 8-bit unsigned type has in pickles.
BYTE_TYPES = ("u1", "|u1", "uint8")


def unpickle(content: bytes, name: str) -> dict[str, Any]:
    """The mapping that a pickle holds, with text keys, whether they were written as text or as bytes.

    Args:
        content: the pickle.
        name: of its file, for messages.

    Returns:
        Its values: arrays are uint8 and read-only; texts of Python 2 are bytes.

    Raises:
        DataError: it is damaged, is no mapping, or holds anything but arrays of bytes, lists, numbers and texts.
    """
    try:
        _check_opcodes(content, name)
        value = _Unpickler(content, name).load()
    except DataError:
        raise
    except (
        pickle.UnpicklingError,
        ValueError,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        raise DataError(f"{name} is damaged, or no batch of images: {error or type(error).__name__}") from error
    if not isinstance(value, dict):
        raise DataError(f"{name} should hold a mapping, got a {type(value).__name__}")
    return {text_of(key): _plain(item, name) for key, item in value.items()}


def text_of(value: Any) -> Any:
    """A text that Python 2 wrote as bytes; anything else stays itself."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _check_opcodes(content: bytes, name: str) -> None:
    """Refuse other instructions, and notes that point far beyond the file: memory would be reserved for them."""
    known = frozenset(OPCODES.split())
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name not in known:
            raise DataError(f"{name} holds the pickle instruction {opcode.name}, which no batch of images needs")
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > len(content):
            raise DataError(f"{name} is damaged: it notes value {argument} in {len(content)} bytes")


class _Unpickler(pickle.Unpickler):
    """Gives stand-ins for the few names of numpy that batches hold, made anew for each file; any other is refused."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._name = name
        array, byte_type = _StandIn("numpy.ndarray", None), _StandIn("numpy.dtype", _byte_type)
        reconstruct = _StandIn("_reconstruct", lambda kind, *shape: _PickledArray(kind is array))
        self._known: dict[tuple[str, str], Any] = {
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): reconstruct,
            ("numpy", "ndarray"): array,
            ("numpy", "dtype"): byte_type,
            ("_codecs", "encode"): _StandIn("_codecs.encode", _encode),
        }

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in self._known:
            raise DataError(
                f"{self._name} holds the global {module}.{name}, which no batch of images needs: nothing was run, "
                "and the file is not read"
            )
        return self._known[module, name]


class _StandIn:
    """What a pickle gets for a name. It can be called where the name is a function here, and cannot be changed."""

    __slots__ = ("_call", "_name")

    def __init__(self, name: str, call: Callable[..., Any] | None) -> None:
        self._name, self._call = name, call

    def __call__(self, *given: Any) -> Any:
        if self._call is None:
            raise TypeError(f"{self._name} is not called in batches of images")
        return self._call(*given)

    def __setstate__(self, state: Any) -> None:
        raise TypeError(f"{self._name} has no state in batches of images")


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes for readers of protocol 2."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes are written as latin1, got {encoding!r}")
    return text.encode("latin-1")


def _byte_type(kind: Any, *flags: Any) -> _ByteType:
    if text_of(kind) not in BYTE_TYPES:
        raise ValueError(f"images should be bytes (numpy's u1), got an array of {text_of(kind)!r}")
    return _ByteType()


class _ByteType:
    """Stands for numpy's uint8, whatever state (byte order and alignment) is written with it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        return None


class _PickledArray:
    """Stands for an array of bytes. numpy's own code sees its content once it has been checked."""

    __slots__ = ("array",)

    def __init__(self, is_array: bool) -> None:
        if not is_array:
            raise TypeError("only numpy.ndarray is made anew in batches of images")
        self.array: NDArray[numpy.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, raw = state
        if not isinstance(kind, _ByteType) or not isinstance(raw, bytes):
            raise ValueError(f"images should be bytes (numpy's u1), got {type(raw).__name__} of {type(kind).__name__}")
        if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"an array has the shape {shape!r}: expected a tuple of whole numbers")
        count = 1
        for size in shape:
            count *= size
        if count != len(raw):
            raise ValueError(f"an array of shape {shape} should have {count} bytes, got {len(raw)}")
        self.array = numpy.frombuffer(raw, numpy.uint8).reshape(shape, order="F" if by_columns else "C")


def _plain(value: Any, name: str) -> Any:
    if not isinstance(value, _PickledArray):
        return value
    if value.array is None:
        raise DataError(f"{name} is damaged: it holds an array without content")
    return value.array
