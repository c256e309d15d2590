"""Builds hostile model files byte by byte; all that any of them would run is `touch WITNESS`."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile

WITNESS = "/tmp/gatekeeper-evasion-ran"
COMMAND = f"touch {WITNESS}".encode()
PAYLOAD = b"cos\nsystem\n(S'" + COMMAND + b"'\ntR."
HARMLESS = pickle.dumps({"epoch": 3, "losses": [0.5, 0.25]}, protocol=2)
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
FLOATS = struct.pack("<4f", 1, 2, 3, 4)


def text(value: bytes | str) -> bytes:
    """Push a string (BINUNICODE)."""
    raw = value.encode() if isinstance(value, str) else value
    return b"X" + struct.pack("<I", len(raw)) + raw


def called(name: str, *, way: str = "GLOBAL") -> bytes:
    """Call a name with the command, by one of the ways to import."""
    module, _, attribute = name.rpartition(".")
    lines = f"{module}\n{attribute}\n".encode()
    stacked = b"\x80\x04" + text(module) + text(attribute) + b"\x93"
    return {
        "GLOBAL": b"c" + lines + text(COMMAND) + b"\x85R.",
        "STACK_GLOBAL": stacked + text(COMMAND) + b"\x85R.",
        "INST": b"(" + text(COMMAND) + b"i" + lines + b".",
        "OBJ": b"(c" + lines + text(COMMAND) + b"o.",
        "NEWOBJ": b"\x80\x02c" + lines + text(COMMAND) + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04c" + lines + text(COMMAND) + b"\x85}\x92.",
    }[way]


def frame(content: bytes) -> bytes:
    """Put a frame around opcodes, or around a part of one."""
    return b"\x95" + struct.pack("<Q", len(content)) + content


def zipped(members: dict[str, bytes], *, deflated: bool = False, prefix: str = "m/") -> bytes:
    """Write an honest zip archive."""
    out = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(prefix + name), content, method)
    return out.getvalue()


def checkpoint(pickled: bytes, **others: bytes) -> bytes:
    """Write a zip such as torch writes it, around any pickle."""
    return zipped({"data.pkl": pickled, "version": b"3\n", **others})


def tensor(size: str = "K\x02K\x02\x86", stride: str = "K\x02K\x01\x86", offset: int = 0) -> bytes:
    """Pickle one tensor over four floats, as the caller describes it."""
    place = b"\x8a\x08" + offset.to_bytes(8, "little", signed=True)
    kind = text("storage") + b"ctorch\nFloatStorage\n"
    storage = b"(" + kind + text("0") + text("cpu") + b"K\x04tQ"
    shape = size.encode("latin-1") + stride.encode("latin-1")
    words = b"(" + storage + place + shape + b"\x89ccollections\nOrderedDict\n)Rt"
    return b"\x80\x02}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n" + words + b"Rs."


def stored(pickled: bytes) -> bytes:
    """Write a checkpoint with the four floats of `tensor`."""
    return checkpoint(pickled, **{"data/0": FLOATS})


def patched(archive: bytes, entry: int, patch: bytes, *, number: int = 0) -> bytes:
    """Overwrite bytes of the central directory, `entry` bytes into the member `number`."""
    place = -1
    for _ in range(number + 1):
        place = archive.index(b"PK\x01\x02", place + 1)
    return archive[: place + entry] + patch + archive[place + entry + len(patch) :]


def without_end(archive: bytes) -> bytes:
    """Take the end record away."""
    return archive[: archive.index(b"PK\x05\x06")]


def twins(first: bytes, second: bytes) -> bytes:
    """Write two members of one name."""
    return zipped({"data0.pkl": first, "data1.pkl": second}).replace(b"data1", b"data0")


def crowd(count: int, declared: int) -> bytes:
    """Let `count` entries of a directory name one empty member."""
    archive = zipped({"x": b""})
    start, end = archive.index(b"PK\x01\x02"), archive.index(b"PK\x05\x06")
    body, entry = archive[:start], archive[start:end]
    sizes = (min(declared, 65_535),) * 2 + (len(entry) * count, len(body))
    return body + entry * count + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, *sizes, 0)


def lied(archive: bytes, name: bytes) -> bytes:
    """Give the first member another name in its local header."""
    return archive.replace(b"m/data.pkl", name, 1)


def tarred(content: bytes, name: str = "pickle", *, link: str = "") -> bytes:
    """Write a tar archive, as torch did long ago."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.size, info.linkname = len(content), link
        info.type = tarfile.SYMTYPE if link else tarfile.REGTYPE
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def old_tar() -> bytes:
    """Write a tar without its magic, whose first bytes are a legacy torch file."""
    forged = bytearray(MAGIC + b"\x80\x02}X\xdc\x03\x00\x00").ljust(1024, b"\0")
    forged += b"0.\x80\x02}.\x80\x02]."
    for place, octal in ((100, b"0000644"), (124, b"00000000000"), (136, b"00000000000")):
        forged[place : place + len(octal)] = octal
    forged[148:156] = b" " * 8
    forged[148:156] = b"%06o\0 " % sum(forged[:512])
    return bytes(forged)


def gzipped(content: bytes) -> bytes:
    """Compress without a date."""
    return gzip.compress(content, mtime=0)


def bomb() -> bytes:
    """Deflate 64 MB of zeros."""
    return zipped({"data.pkl": HARMLESS, "data/0": bytes(64 << 20)}, deflated=True)


def headed(header: object, body: bytes = b"") -> bytes:
    """Write a safetensors file around any header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + body


def entry(shape: object, offsets: object, dtype: object = "F32") -> dict[str, object]:
    """Describe one tensor of a safetensors file."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def npz(header: bytes, content: bytes) -> bytes:
    """Write one array as numpy.savez does, under any header."""
    padded = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    array = b"\x93NUMPY\x01\0" + struct.pack("<H", len(padded)) + padded + content
    return zipped({"w.npy": array}, prefix="")
