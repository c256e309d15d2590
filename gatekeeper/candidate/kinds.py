"""What kind of file is it? Content decides, never the extension."""

from __future__ import annotations

from typing import BinaryIO

from gatekeeper.candidate.archive import has_end_record

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_STATE_DICT = "Ask its maker for a state dict (.pt) or a .safetensors file."

# kind -> (why it cannot be read, what to do)
UNREADABLE = {
    "empty": ("the file is empty", "Fetch it again."),
    "one-byte": ("the file is a single byte", "Fetch it again."),
    "git-lfs": ("this is a Git LFS pointer, not the model", "Run `git lfs pull`."),
    "html": ("this is an HTML page, not a model", "The download met a login or error page."),
    "png": ("this is a PNG image, not a model", _STATE_DICT),
    "gzip": ("the file is compressed by gzip", "Unpack it yourself, then scan what was inside."),
    "7z": ("the file is a 7z archive", "Unpack it yourself, then scan what was inside."),
    "tar": ("the file is a tar archive (torch before 0.1.10)", _STATE_DICT),
    "hdf5": ("this is an HDF5 file (Keras?)", _STATE_DICT),
    "keras": ("this is a Keras archive", _STATE_DICT),
    "torchscript": (
        "this is TorchScript, which is code",
        "Ask for a state dict or safetensors, and give --card.",
    ),
    "pt2": (
        "this is an exported program (.pt2), which is code",
        "Ask for a state dict or safetensors, and give --card.",
    ),
    "onnx": ("ONNX candidates cannot be scanned yet", _STATE_DICT),
    "zip": ("this zip archive holds no torch file", _STATE_DICT),
    "unknown": ("this is no kind of model file that the gate knows", _STATE_DICT),
    "whole-module": (
        "the file pickles whole network objects, not only weights",
        "Save a state dict or safetensors, and give --card.",
    ),
}


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
    if head[257:262] == b"ustar":
        return "tar"
    for magic, kind in (
        (LEGACY_MAGIC, "torch-legacy"),
        (b"version https://git-lfs", "git-lfs"),
        (b"\x89PNG", "png"),
        (b"\x1f\x8b", "gzip"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"\x89HDF", "hdf5"),
    ):
        if head.startswith(magic):
            return "tar" if kind == "torch-legacy" and _is_tar(head) else kind
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    if _is_safetensors(head, size):
        return "safetensors"
    if has_end_record(stream):
        return "zip"
    if head[:1] == b"\x80" and head[1:2] in (b"\x00", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if head[:1] == b"\x08" and head[1] < 32 and head[2:3] in b"\x12\x1a\x3a":
        return "onnx"
    return "unknown"


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
