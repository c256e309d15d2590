"""The structure of a zip archive, checked before anything in it is inflated."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

MAGIC = b"PK\x03\x04"
LOCAL = struct.Struct("<4s5H3I2H")  # the header before each member
_END = struct.Struct("<4s4H2IH")
MOST_MEMBERS = 50_000
_MOST_DIRECTORY = 16 << 20  # bytes: room for that many names
_MOST_GROWTH, _FREE_GROWTH = 4, 16 << 20  # bytes inflated, by bytes of the file and beyond
_CHUNK = 1 << 16
_PLAIN_FLAGS = 0x0808  # data descriptor, UTF-8 names


class Member(NamedTuple):  # made by the thousand, and faster so
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
    """The archive cannot be read at all; `hint` says what to do."""

    def __init__(
        self,
        message: str,
        hint: str = "Fetch the file again, or ask its maker to save it again.",
    ) -> None:
        """Keep what is wrong, and what to do."""
        super().__init__(message)
        self.hint = hint


def has_end_record(stream: BinaryIO, start: int = 0, end: int | None = None) -> bool:
    """Tell whether a zip's end record stands near the end of the file, or of a part of it."""
    end = stream.seek(0, 2) if end is None else end
    stream.seek(max(start, end - 65_557))
    return b"PK\x05\x06" in stream.read(min(65_557, end - start))


def read_archive(stream: BinaryIO) -> Archive:
    """Read both directories; nothing is inflated.

    Raises:
        ArchiveError: no end record, cut in half, far too many members, or a bomb.
    """
    size = stream.seek(0, 2)
    counted, astray, trailing = _check_directory(stream, size)
    try:
        infos = zipfile.ZipFile(stream).infolist()
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError) as error:
        message = f"the zip archive is damaged: {error}"
        raise ArchiveError(message) from None
    _check_sizes(infos, size)
    odd: list[str] = []
    hostile: list[str] = []
    members = [_member(stream, info, size, odd, hostile) for info in infos]
    # Torch's own reader does not tell large letters from small ones.
    counts = Counter(info.filename.casefold() for info in infos)
    # Not `most_common`, which imports a module that the quarantine could not open.
    often = max(counts, key=lambda name: counts[name], default="")
    if counts[often] > 1:
        odd.append(f"member {often!r} stands there {counts[often]} times")
    first = min((info.header_offset for info in infos), default=0)
    if first:
        odd.append(f"{first} bytes stand before the archive")
    if trailing:
        odd.append(f"{trailing} bytes stand after the archive")
    if counted != (len(infos), len(infos)):
        # Torch's own reader goes by this number, others by the directory's length.
        odd.append(f"its end counts {max(counted)} members, its directory has {len(infos)}")
    odd += astray
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
    # What does not shrink grows by a few bytes a block.
    packed = stream.read(min(member.stored, most + (most >> 6) + 64))
    try:
        return zlib.decompressobj(-15).decompress(packed, most)
    except zlib.error as error:
        message = f"member {member.name!r} does not inflate: {error}"
        raise ArchiveError(message) from None


def is_whole(stream: BinaryIO, member: Member) -> bool:
    """Tell whether a member's bytes have the size and checksum that the directory says."""
    inflater = zlib.decompressobj(-15) if member.deflated else None
    stream.seek(member.start)
    crc = size = 0
    for place in range(0, member.stored, _CHUNK):
        piece = stream.read(min(_CHUNK, member.stored - place))
        try:
            piece = inflater.decompress(piece) if inflater else piece
        except zlib.error:
            return False
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        if size > member.size:
            return False
    return (size, crc) == (member.size, member.crc)


def _check_directory(stream: BinaryIO, size: int) -> tuple[tuple[int, int], list[str], int]:
    """Refuse a directory that is too long to read; tell of one that is not all readers' own.

    Gives how many members it counts, on this disk and in all, what is odd, and the bytes behind it.

    They go to it by an offset, or by its length from its end: where the two differ, one file holds
    two archives.
    """
    # The zip64 record stands before the end record, which a long comment keeps from the end.
    stream.seek(max(0, size - 65_557 - 76))
    tail = stream.read(65_557 + 76)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < _END.size:
        message = "the zip archive has no end record (cut in half?)"
        raise ArchiveError(message)
    here, declared, length, offset, comment = _END.unpack_from(tail, place)[3:8]
    end = led = size - len(tail) + place
    # Where there is one, it stands before its locator, which stands here.
    if tail[place - 20 : place - 16] == b"PK\x06\x07" and place >= 76:
        here, declared, length, offset = struct.unpack_from("<4Q", tail, place - 76 + 24)
        end, led = end - 76, struct.unpack_from("<Q", tail, place - 20 + 8)[0]
    if declared > MOST_MEMBERS or length > _MOST_DIRECTORY:
        message = (
            f"the archive declares {declared:,} members in a directory of {length:,} bytes, more "
            f"than {MOST_MEMBERS:,} or {_MOST_DIRECTORY:,}"
        )
        raise ArchiveError(message)
    odd = []
    if (offset + length, led) != (end, end):
        odd.append("its directory is not where its end says")
    if comment:
        odd.append(f"a comment of {comment} bytes stands at its end")
    return (here, declared), odd, max(0, len(tail) - place - _END.size - comment)


def _check_sizes(infos: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse bombs by what they declare; `content` gives nobody more than that."""
    if len(infos) > MOST_MEMBERS:
        message = f"the archive has {len(infos):,} members, more than {MOST_MEMBERS:,}"
        raise ArchiveError(message)
    if sum(info.compress_size for info in infos) > size:
        message = "the members of the archive overlap"
        raise ArchiveError(message)
    inflated = sum(info.file_size for info in infos)
    if inflated > most_inflated(size):
        message = f"the archive would inflate to {inflated:,} bytes from {size:,}: a zip bomb?"
        raise ArchiveError(message, "If you trust it, save it again without compression.")


def most_inflated(size: int) -> int:
    """Bound the bytes that all members of an archive of `size` bytes may inflate to."""
    return _MOST_GROWTH * size + _FREE_GROWTH


def _leaves(name: str) -> bool:
    """Tell whether a member would be written outside of the folder that it is unpacked into."""
    if name[:1] in ("/", "\\") or name[1:2] == ":":
        return True
    return ".." in name and ".." in name.replace("\\", "/").split("/")


def _member(
    stream: BinaryIO, info: zipfile.ZipInfo, size: int, odd: list[str], hostile: list[str]
) -> Member | None:
    name = info.filename
    if _leaves(name):
        hostile.append(f"member {name!r} leaves the archive")
    if (info.external_attr >> 16) & 0o170000 == 0o120000:
        hostile.append(f"member {name!r} is a link")
    # An archive whose end lies about its beginning puts members before the file.
    stream.seek(max(0, info.header_offset))
    header = stream.read(LOCAL.size)
    if info.header_offset < 0 or len(header) < LOCAL.size or header[:4] != MAGIC:
        odd.append(f"member {name!r} has no local header")
        return None
    fields = LOCAL.unpack(header)
    local = stream.read(fields[9])
    if local != name.encode("utf-8", "replace") and local != name.encode("cp437", "replace"):
        odd.append(f"member {name!r} is called {local[:80]!r} in its local header")
    if (info.flag_bits | fields[2]) & ~_PLAIN_FLAGS:
        odd.append(f"member {name!r} is encrypted or has odd flags")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        odd.append(f"member {name!r} is compressed by method {info.compress_type}")
    start = info.header_offset + LOCAL.size + fields[9] + fields[10]
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
