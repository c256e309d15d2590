"""What kind of file is it? Content decides, never the extension."""

from __future__ import annotations

import re
from typing import BinaryIO

from gatekeeper.candidate.archive import has_end_record
from gatekeeper.candidate.graph.wire import looks_like_onnx
from gatekeeper.candidate.npy import MAGIC

# A frozen graph: a node, its name, its operation.
_NODE = re.compile(rb"\n.{1,5}?\n.[\w/.-]+\x12.(Placeholder|Const)", re.DOTALL)
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# How nearly every writer begins: its version, then its name or the graph; the rest may be broken.
_ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x3a]")
# A length below 2^56, beyond the file's end or not, before an object without any tensor.
_EMPTY_HEADER = re.compile(rb".{7}\x00\{\s*\}", re.DOTALL)
_STATE_DICT = "Ask its maker for a state dict (.pt) or a .safetensors file."
_UNPACK = "Unpack it yourself, then scan what was inside."
_OF_TORCH = "The gate reads PyTorch's weights: ask its maker for a state dict or safetensors."

# kind -> (why it cannot be read, what to do)
UNREADABLE = {
    "empty": ("the file is empty", "Fetch it again."),
    "one-byte": ("the file is a single byte", "Fetch it again."),
    "git-lfs": ("this is a Git LFS pointer, not the model", "Run `git lfs pull`."),
    "html": ("this is an HTML page, not a model", "The download met a login or error page."),
    "png": ("this is a PNG image, not a model", _STATE_DICT),
    "gzip": ("the file is compressed by gzip (joblib?)", _UNPACK),
    "zlib": ("the file is compressed by zlib (joblib?)", _UNPACK),
    "bz2": ("the file is compressed by bzip2 (joblib?)", _UNPACK),
    "xz": ("the file is compressed by xz or lzma (joblib?)", _UNPACK),
    "lz4": ("the file is compressed by lz4 (joblib?)", _UNPACK),
    "zstd": ("the file is compressed by Zstandard", _UNPACK),
    "7z": ("the file is a 7z archive", _UNPACK),
    "tar": ("the file is a tar archive (torch before 0.1.10)", _STATE_DICT),
    "hdf5": ("this is an HDF5 file, such as Keras' .h5", _OF_TORCH),
    "keras": ("this is a Keras archive (.keras)", _OF_TORCH),
    "savedmodel": ("this is a TensorFlow graph (SavedModel or frozen .pb)", _OF_TORCH),
    "joblib": (
        "this is a joblib file: a pickle with raw numbers in its midst",
        "Ask its maker for a state dict, safetensors, or an .npz of named arrays.",
    ),
    "npy": (
        "this is a single numpy array without names",
        "Save all weights by name: numpy.savez(FILE, **{name: array}).",
    ),
    "torchscript": (
        "this is TorchScript, which is code",
        "Ask for a state dict or safetensors, and give --card.",
    ),
    "pt2": (
        "this is an exported program (.pt2), which is code",
        "Ask for a state dict or safetensors, and give --card.",
    ),
    "zip": ("this zip archive holds no torch file", _STATE_DICT),
    "unknown": ("this is no kind of model file that the gate knows", _STATE_DICT),
    "whole-module": (
        "the file pickles whole network objects that the gate does not know",
        "Save a state dict or safetensors, and give --card.",
    ),
}
_MAGICS = (
    (LEGACY_MAGIC, "torch-legacy"),
    (b"version https://git-lfs", "git-lfs"),
    (b"\x89PNG", "png"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "xz"),  # as Python's FORMAT_ALONE begins
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x89HDF", "hdf5"),
    *((b"\x78" + level, "zlib") for level in (b"\x01", b"\x5e", b"\x9c", b"\xda")),
)


# What one member of an archive may be packed by, apart from zip; `x^` is any text, and no zlib.
_PACKERS = {"gzip": "gzip", "bz2": "bzip2", "xz": "xz", "zstd": "zstd", "lz4": "lz4", "7z": "7z"}
_PACKED = (
    *((magic, _PACKERS[kind]) for magic, kind in _MAGICS if kind in _PACKERS),
    (b"\x78\x9c", "zlib"), (b"\x78\xda", "zlib"), (b"\x78\x01", "zlib"),
    (b"Rar!\x1a\x07", "RAR"),
)  # fmt: skip


def packer_of(head: bytes) -> str:
    """Name what packed something that begins with these up to 512 bytes; "" for nothing known."""
    for magic, packer in _PACKED:
        if head.startswith(magic):
            return packer
    return "tar" if len(head) == 512 and (head[257:262] == b"ustar" or _is_tar(head)) else ""


def kind_of(stream: BinaryIO) -> str:
    """Name the kind by the first bytes (and the last, for zip archives)."""
    size = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(512)
    if size == 0:
        return "empty"
    if size == 1:
        return "one-byte"
    # As torch does: zip, then tar, which may begin like anything, then the rest.
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head[257:262] == b"ustar" or _is_tar(head):
        return "tar"
    if head.startswith(MAGIC):
        return "npy"
    # Its first bytes are a number, which may look like any magic of two bytes.
    if _is_safetensors(head, size):
        return "safetensors"
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    if has_end_record(stream):
        return "zip"
    if head[:1] == b"\x80" and head[1:2] in (b"\x00", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if _is_tensorflow(head):
        return "savedmodel"
    if looks_like_onnx(stream, size) or _ONNX.match(head):
        return "onnx"
    # Asked last, as little else stands there: eight bytes of length, and no tensor.
    return "safetensors" if _EMPTY_HEADER.match(head) else "unknown"


def _is_tar(head: bytes) -> bool:
    """Tell by its checksum, as torch does: tar was older than its magic."""
    from tarfile import HeaderError, TarInfo

    try:
        TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except HeaderError:
        return False
    return True


def _is_safetensors(head: bytes, size: int) -> bool:
    declared = int.from_bytes(head[:8], "little")
    # A header that is too long, or cut off, is told by name where it begins like one.
    plausible = declared < max(size, 1 << 27) or head[8:10] == b'{"'
    return len(head) > 8 and head[8:9] == b"{" and plausible


def _is_tensorflow(head: bytes) -> bool:
    """Tell whether this begins like a SavedModel, or like a graph's first node."""
    if head.startswith(b"\x08\x01\x12"):  # version 1; then a graph, which opens with its own facts
        length = 3
        while head[length : length + 1] >= b"\x80":
            length += 1
        return head[length + 1 : length + 2] == b"\x0a"
    return _NODE.match(head) is not None
