"""Clean images: class folders, an .npz, or a set of torchvision on disk."""

from gatekeeper.data.folders import read_loose
from gatekeeper.data.reading import look, read_images
from gatekeeper.data.splitting import split, without
from gatekeeper.data.writing import write_folders

__all__ = ["look", "read_images", "read_loose", "split", "without", "write_folders"]
