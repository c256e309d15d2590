"""ONNX candidates: from hostile bytes to a torch network that is proved to be the same.

wire → proto → hostile, tensors → outline     in the quarantine child, no protobuf, no torch
record → ops, layers → network                in the gate: checked again, built from a list
session                                       onnxruntime, in a quarantine child of its own
parity                                        the network's answers against onnxruntime's
"""
