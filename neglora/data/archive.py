"""Published archives: found, fetched, checked against their published checksums, and read in memory."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import logging
import os
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from neglora.data.dataset import DataError, DataOptions

logger = logging.getLogger(__name__)

#: Where archives are looked for when no folder is given.
DEFAULT_ROOT = "data"
#: Bytes that an archive may have, packed or not: five times the published ones.
MOST_BYTES = 2**30
CHUNK = 2**20
TIMEOUT_SECONDS = 30
#: A download is mentioned in the log each time so much more of it has come.
REPORTED_SHARE = 0.1


@dataclass(frozen=True)
class Published:
    """What a publisher says of an archive.

    Attributes:
        dataset: the name of its dataset here.
        address: where it is published.
        archive: file name of the packed archive (`.tar.gz`).
        checksum: MD5 of that file, in hexadecimal.
        folder: the folder that is in it.
        files: of that folder, MD5 by file name.
    """

    dataset: str
    address: str
    archive: str
    checksum: str
    folder: str
    files: dict[str, str]


def locate(published: Published, options: DataOptions) -> Path:
    """The packed archive, or else its folder, under the data's root. A missing one is fetched if that was asked for.

    Raises:
        DataError: it is nowhere, or could not be fetched.
    """
    root = (options.folder or Path(DEFAULT_ROOT)).absolute()
    archive, folder = root / published.archive, root / published.folder
    if archive.is_file():
        return archive
    if folder.is_dir():
        return folder
    if any((root / name).is_file() for name in published.files):
        return root
    if options.download:
        return download(published, archive, verify=options.verify)
    raise DataError(
        f"{published.dataset} was not found. Looked for {archive}, for the folder {folder}, and for that folder's "
        f"files ({', '.join(published.files)}) in {root} itself. Wanted is the published {published.archive} with the "
        f"MD5 {published.checksum}, or the folder that is in it. Fetch it with --download (in a space: "
        f"`data: {{download: true}}`), or get it from {published.address} and put it into {root}. Another folder is "
        "named with --data-root (in a space: `data: {root: FOLDER}`)"
    )


def read_files(published: Published, place: Path, *, verify: bool) -> Iterator[tuple[str, bytes]]:
    """The files of an archive, by name, in the order of `published.files`. Nothing is unpacked to disk.

    Args:
        published: what is expected.
        place: the packed archive, or its folder.
        verify: refuse what does not have the published checksums.

    Raises:
        DataError: a file is missing, is no plain file, is too large, is damaged or does not have its checksum.
    """
    try:
        if place.is_dir():
            yield from _files_of_folder(published, place, verify)
        else:
            yield from _files_of_tar(published, place, verify)
    except OSError as error:
        raise DataError(f"{place} cannot be read: {error}") from error


def download(published: Published, target: Path, *, verify: bool) -> Path:
    """Fetch an archive: under a temporary name, checked, and only then under its own.

    Raises:
        DataError: there is no network, the transfer broke off, the disk is full, or the checksum is another.
    """
    by_hand = (
        f"Where there is no network, get {published.archive} from {published.address} on another machine and put it "
        f"into {target.parent}"
    )
    partial: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        partial = Path(name)
        with os.fdopen(handle, "wb") as file:
            found = _fetch(published.address, file)
        if verify:
            _check(published.address, found, published.checksum, published)
        # A temporary file is its owner's alone; an archive may be anybody's.
        partial.chmod(0o644)
        partial.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{published.address} could not be fetched to {target}: {error}. {by_hand}") from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    logger.info("fetched %s", target)
    return target


def _fetch(address: str, file: BinaryIO) -> str:
    """Copy what is at an address into a file; returns its MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    # The address is a constant of torchvision, not a user's.
    with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        length = answer.headers.get("Content-Length")
        expected = int(length) if length and length.isdecimal() else None
        logger.info("fetching %s (%s)", address, f"{expected / 1e6:.0f} MB" if expected else "of unknown size")
        received, reported = 0, 0.0
        while chunk := answer.read(CHUNK):
            received += len(chunk)
            if received > MOST_BYTES:
                raise OSError(f"it has more than the {MOST_BYTES} bytes that are accepted")
            digest.update(chunk)
            file.write(chunk)
            if expected and received / expected >= reported + REPORTED_SHARE:
                reported = received / expected
                logger.info("fetched %.0f%% of %s", 100 * reported, address)
    if expected is not None and received != expected:
        raise OSError(f"the transfer broke off after {received} of {expected} bytes")
    return digest.hexdigest()


def _files_of_folder(published: Published, folder: Path, verify: bool) -> Iterator[tuple[str, bytes]]:
    for name, checksum in published.files.items():
        file = folder / name
        if not file.is_file():
            raise DataError(
                f"{published.dataset} is incomplete: {file} is missing or no plain file; expected are "
                f"{', '.join(published.files)}. Unpack {published.archive} again, from {published.address}"
            )
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise DataError(f"{file} has more than the {MOST_BYTES} bytes that are accepted")
        if verify:
            _check(str(file), hashlib.md5(content, usedforsecurity=False).hexdigest(), checksum, published)
        yield name, content


def _files_of_tar(published: Published, archive: Path, verify: bool) -> Iterator[tuple[str, bytes]]:
    with archive.open("rb") as packed:
        if verify:
            digest = hashlib.md5(usedforsecurity=False)
            while chunk := packed.read(CHUNK):
                digest.update(chunk)
            _check(str(archive), digest.hexdigest(), published.checksum, published)
            packed.seek(0)
        try:
            with tarfile.open(fileobj=_unpacked(packed, archive), mode="r:") as tar:
                for name in published.files:
                    yield name, _member(tar, f"{published.folder}/{name}", archive)
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DataError(
                f"{archive} is damaged: it cannot be unpacked ({error}). Get it anew from {published.address}"
            ) from error


def _unpacked(packed: BinaryIO, archive: Path) -> io.BytesIO:
    """The tar in memory. Its size is bounded before tarfile sees it, since a small file may unpack to a huge one."""
    unpacked = io.BytesIO()
    with gzip.GzipFile(fileobj=packed) as stream:
        while chunk := stream.read(CHUNK):
            unpacked.write(chunk)
            if unpacked.tell() > MOST_BYTES:
                raise DataError(f"{archive} unpacks to more than the {MOST_BYTES} bytes that are accepted")
    unpacked.seek(0)
    return unpacked


def _member(tar: tarfile.TarFile, path: str, archive: Path) -> bytes:
    try:
        member = tar.getmember(path)
    except KeyError:
        raise DataError(f"{archive} has no {path}: it is incomplete, or another archive") from None
    if not member.isreg():
        raise DataError(f"{path} in {archive} is no plain file: it is not read")
    opened = tar.extractfile(member)
    content = opened.read() if opened else b""
    if len(content) != member.size:
        raise DataError(f"{archive} is damaged: {path} has {len(content)} of {member.size} bytes")
    return content


def _check(place: str, found: str, expected: str, published: Published) -> None:
    if found != expected:
        raise DataError(
            f"{place} has the MD5 {found}, expected is the published {expected}: it is damaged, or another archive. "
            f"Get {published.archive} anew from {published.address}, or accept this one with --no-verify (in a space: "
            "`data: {verify: false}`)"
        )
