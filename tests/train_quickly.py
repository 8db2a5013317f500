"""`slicewise` for tests in processes of their own: without the export to ONNX, which takes longer than the training.

The environment variable LARGEST_FILE makes a disk that is full: no file may grow beyond so many bytes.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

import safetensors.torch

from slicewise.cli.main import main
from slicewise.models.encoder import DescriptorNetwork
from slicewise.models.fusion import FusionHead
from slicewise.training import packing


def weights(network: DescriptorNetwork | FusionHead, **_: int) -> bytes:
    return safetensors.torch.save(network.state_dict())


if __name__ == "__main__":
    if "LARGEST_FILE" in os.environ:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["LARGEST_FILE"]),) * 2)
    vars(packing).update(export_encoder=weights, export_fusion=weights)
    raise SystemExit(main(sys.argv[1:]))
