"""The structure of a zip archive, checked before anything in it is inflated."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

_LOCAL = struct.Struct("<4s5H3I2H")
_END = struct.Struct("<4s4H2IH")
_MOST_MEMBERS = 50_000
_PLAIN_FLAGS = 0x0808  # data descriptor, UTF-8 names


@dataclass(frozen=True, kw_only=True)
class Member:
    """One member as both directories of the archive have it."""

    name: str
    start: int  # of its bytes in the file
    stored: int  # bytes in the file
    size: int  # bytes when inflated
    crc: int
    deflated: bool


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Members, what is odd about them (undecided) and what is hostile (blocked)."""

    members: tuple[Member, ...]
    odd: tuple[str, ...]
    hostile: tuple[str, ...]


class ArchiveError(Exception):
    """The archive cannot be read at all."""


def has_end_record(stream: BinaryIO) -> bool:
    """Tell whether a zip's end record stands near the end of the file."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 65_557))
    return b"PK\x05\x06" in stream.read(65_557)


def read_archive(stream: BinaryIO) -> Archive:
    """Read both directories; nothing is inflated.

    Raises:
        ArchiveError: no end record, cut in half, or far too many members.
    """
    size = stream.seek(0, 2)
    if _declared(stream, size) > _MOST_MEMBERS:
        message = f"the archive declares more than {_MOST_MEMBERS:,} members"
        raise ArchiveError(message)
    try:
        infos = zipfile.ZipFile(stream).infolist()
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError) as error:
        message = f"the zip archive is damaged: {error}"
        raise ArchiveError(message) from None
    odd: list[str] = []
    hostile: list[str] = []
    members = [_member(stream, info, size, odd, hostile) for info in infos]
    names = [info.filename for info in infos]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        odd.append(f"member {twice!r} stands twice")
    first = min((info.header_offset for info in infos), default=0)
    if first:
        odd.append(f"{first} bytes stand before the archive")
    trailing = _trailing(stream, size)
    if trailing:
        odd.append(f"{trailing} bytes stand after the archive")
    kept = tuple(member for member in members if member is not None)
    return Archive(members=kept, odd=tuple(odd), hostile=tuple(hostile))


def content(stream: BinaryIO, member: Member, most: int) -> bytes:
    """Read at most `most` bytes of a member.

    Raises:
        ArchiveError: it does not inflate.
    """
    stream.seek(member.start)
    if not member.deflated:
        return stream.read(min(member.stored, most))
    try:
        return zlib.decompressobj(-15).decompress(stream.read(min(member.stored, most)), most)
    except zlib.error as error:
        message = f"member {member.name!r} does not inflate: {error}"
        raise ArchiveError(message) from None


def _declared(stream: BinaryIO, size: int) -> int:
    stream.seek(max(0, size - 65_557))
    tail = stream.read(65_557)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < _END.size:
        message = "the zip archive has no end record (cut in half?)"
        raise ArchiveError(message)
    declared = int(_END.unpack_from(tail, place)[4])
    # 0xFFFF sends to the zip64 record.
    wide = tail.rfind(b"PK\x06\x06")
    if declared == 0xFFFF and 0 <= wide <= len(tail) - 40:
        declared = int.from_bytes(tail[wide + 32 : wide + 40], "little")
    return declared


def _trailing(stream: BinaryIO, size: int) -> int:
    stream.seek(max(0, size - 65_557))
    tail = stream.read(65_557)
    place = tail.rfind(b"PK\x05\x06")
    comment = int(_END.unpack_from(tail, place)[7])
    return max(0, len(tail) - place - _END.size - comment)


def _member(
    stream: BinaryIO, info: zipfile.ZipInfo, size: int, odd: list[str], hostile: list[str]
) -> Member | None:
    name = info.filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or (len(name) > 1 and name[1] == ":"):
        hostile.append(f"member {name!r} leaves the archive")
    if (info.external_attr >> 16) & 0o170000 == 0o120000:
        hostile.append(f"member {name!r} is a link")
    stream.seek(info.header_offset)
    header = stream.read(_LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        odd.append(f"member {name!r} has no local header")
        return None
    fields = _LOCAL.unpack(header)
    local = stream.read(fields[9])
    if local not in (name.encode("utf-8", "replace"), name.encode("cp437", "replace")):
        odd.append(f"member {name!r} is called {local[:80]!r} in its local header")
    if (info.flag_bits | fields[2]) & ~_PLAIN_FLAGS:
        odd.append(f"member {name!r} is encrypted or has odd flags")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        odd.append(f"member {name!r} is compressed by method {info.compress_type}")
    start = info.header_offset + _LOCAL.size + fields[9] + fields[10]
    if start + info.compress_size > size:
        odd.append(f"member {name!r} reaches beyond the end of the file")
        return None
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    if not deflated and info.file_size != info.compress_size:
        odd.append(f"member {name!r} lies about its size")
    return Member(
        name=name,
        start=start,
        stored=info.compress_size,
        size=info.file_size,
        crc=info.CRC,
        deflated=deflated,
    )
