"""Small compressed images by encoders that slicewise does not use, and what independent decoders make of lossy ones.

The images are 16 x 16 pixels of 12 bits. The encoders: DCMTK 3.6.7 (dcmcjpeg, dcmcjpls) and OpenJPH 0.9.0
(ojph_compress), as named with each sample; all of them have permissive licences.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.uid import (
    HTJ2K,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

_ROWS, _COLUMNS = np.mgrid[:16, :16]
IMAGE: npt.NDArray[np.uint16] = (37 * _COLUMNS + 101 * _ROWS + _COLUMNS * _ROWS % 7).astype(np.uint16)
SIGNED_IMAGE: npt.NDArray[np.int16] = IMAGE.astype(np.int16) - 1024


@dataclass(frozen=True, eq=False)
class Sample:
    """One compressed image.

    Attributes:
        made_by: The program that made it.
        syntax: Its transfer syntax.
        codestream: The image.
        error: What an independent decoder gives less IMAGE, 0 for lossless ones.
    """

    made_by: str
    syntax: UID
    codestream: bytes
    error: npt.NDArray[np.int8]


def _sample(made_by: str, syntax: UID, codestream: str, error: str = "") -> Sample:
    known = np.frombuffer(b64decode(error), np.int8) if error else np.zeros(256, np.int8)
    return Sample(made_by, syntax, b64decode(codestream), known.reshape(16, 16))


SAMPLES = {
    "jpeg_lossless_sv1": _sample(
        "dcmcjpeg +e1",
        JPEGLosslessSV1,
        "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAAQABABAREA/8QAFwABAQEBAAAAAAAAAAAAAAAABgcFEP/aAAgBAQABAADkqVKlSpUqVKlS"
        "pUqVLZUyZMmTJt9MmTJkybfTWVOnToE6dAnTp0CdOgT2VQoQqEKhCoUIVCFQhUWVSiUolKJEpRKUSlEiU2VUjRqkaNGqRo1SNGjVWVWk"
        "SJEiRIrSJEiRIkV2VKlSpUqVKlSpUqVKlS2VMmTJkybfTJkyZMm301lTp06BOnQJ06dAnToE9lUKEKhCoQqFCFQhUIVFlUolKJSiRKUS"
        "lEpRIlNlVI0apGjRqkaNUjRo1VlVpEiRIkSK0iRIkSJFdlSpUqVKlSpUqVKlSpUtlTJkyZMm30yZMmTJt9N////Z",
    ),
    "jpeg_lossless_sv7": _sample(
        "dcmcjpeg +el +sv 7",
        JPEGLossless,
        "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAAQABABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAABwYQ/9oACAEBAAcAANS0tLS0tLS0tLS0"
        "tLS0tKyoyOjpCQkoSMjo6QkJKEjMqOjpCCioyGjo6QgoqMho7KjpCCkoSMho6QgpKEjIaOypCCkoSUhoiQgpKElIaIkMqQioSUhoiIkI"
        "qElIaIiJDKkoyMhoiIipKMjIaIiIqSyoSGhoiIioqEhoaIiIqKhMqMjo6QkJKEjI6OkJCShIzKjo6QgoqMho6OkIKKjIaOyo6QgpKEjI"
        "aOkIKShIyGjsqQgpKElIaIkIKShJSGiJDKkIqElIaIiJCKhJSGiIiQypKMjIaIiIqSjIyGiIiKksqEhoaIiIqKhIaGiIiKioTKjI6OkJ"
        "CShIyOjpCQkoSN///9k=",
    ),
    "jpeg_lossless_signed": _sample(
        "dcmcjpeg +e1, of SIGNED_IMAGE",
        JPEGLosslessSV1,
        "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALEAAQABABAREA/8QAFwABAQEBAAAAAAAAAAAAAAAABgcFD//aAAgBAQABAADvgAlSpUqVKlSp"
        "UqVKlSpbKmTJkyZNvpkyZMmTb6ayp06dAnToE6dOgTp0CeyqFCFQhUIVChCoQqEKiyqUSlEpRIlKJSiUokSmyqkaNUjRo1SNGqRo0aqy"
        "q0iRIkSJFaRIkSJEiuypUqVKlSpUqVKlSpUqWypkyZMmTb6ZMmTJk2+msqdOnQJ06BOnToE6dAnsqhQhUIVCFQoQqEKhCosqlEpRKUSJ"
        "SiUolKJEpsqpGjVI0aNUjRqkaNGqsqtIkSJEiRWkSJEiRIrsqVKlSpUqVKlSpUqVKlsqZMmTJk2+mTJkyZNvpv/Z",
    ),
    "jpeg_extended": _sample(
        "dcmcjpeg +ee +q 95, decoded by dcmdjpeg",
        JPEGExtended12Bit,
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoK"
        "BggLDAsKDAkKCgr/wQALDAAQABABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAACwwN/8QAKRAAAQIDBwIHAAAAAAAAAAAAAQIRAwYSAAQF"
        "CAoLISJiFShBRVGB8P/aAAgBAQAAPwDHk9K7sZ0BECXPJ8iqiF7ECSSB28fvpKHSwbGbdwmW4Yyfo5MEP4GD6jl6bUAGlc2NIC7y4EZP"
        "ieiE9OAH4Dv02Si0sGxpIolxKcnxpeCCRgBZnHbb/9k=",
        "AP/+Af3/Av8BAAAAAAD9AAH/AAAC/wEA/v8BAAAAAQD+Av8B/wH+AP8A/wEAAAH/AAACAP//AQAC/wP9Af8BAAAB/wAAAgEA/wH/A/8A"
        "AAAA/gEAAf8C/gD/Av7//wAAAAH/AgAB/wECAAAAAAEBAAAC//4B/wAA/wACAAAA/gEBAP8BAAAB//8AAv//AAL//wEA/wH//wAB//4B"
        "AP8B/wAC/wP/Av8CAv4D/wMAAQH//wD8Av7/AP8B/gL+////AQD/Af8AAQAAAAP+AAEBAAH/AAAA/wEAAP///wABAf/+AQEC//8B/QIA"
        "AAAAAf4BAQD/Af8AAQAA/wAAAP8BAA==",
    ),
    "jpeg_ls": _sample(
        "dcmcjpls +el",
        JPEGLSLossless,
        "/9j/9wALEAAQABABAREA//gADQH//wASAEMBFABA/9oACAEBAAAAAKJMSYkxHkWQ6DP4kxHkWQ6DP57MqJkSpIkaiUKZT6eTq4trSkiZ"
        "MqysK6eqqiYpKKiksF6dEyZF69OuTLUy1YlWJVaRJljWJViRWkSK0itGqRo0mWJWkSK0aabSabSaSSmWFpNNNNNNpJJJJJJTOBNNNNNN"
        "NNNNJJJJPt9a1rWte1rWpTM+3lrWva17Wte1rz7dYxXFcVxiuK4rPtxqatVuo1Go3b7bKu1Xdqu1Xd320ZMzMyyZmZm+2URERERESSWG"
        "w222PttsewD/2Q==",
    ),
    "jpeg_ls_near": _sample(
        "dcmcjpls +en +md 2, decoded by dcmdjpls",
        JPEGLSNearLossless,
        "/9j/9wALDAAQABABAREA/9oACAEBAAIAALv+9/3fe/7vq2mEPe97ymMYpikeMKUrkIxHIzupBR3Z1ZmdWVlIKOpMmyZImiChNkmyTJNE"
        "EyabTJNJogm2mm0UpXEyUpakq/JlLVSqXxMqWtLWpiRVL1ZVyQ5actckC+hfXJP/epJzvOqA/9k=",
        "AP4BAP4CAv4A/gIC/gD+Av8B//7+/wEBAAAB/gEAAv/+/v8BAQAA/gD+AQIBAf8B/v7+AQIB/gL/AgIAAP8AAv8CAgABAAECAQIC//8B"
        "/gABAAECAf4AAgL/AQH+AP4A//8B/gAC/wEB/wIA/gH/Af4AAv8B/gAC/wH+AP4B//7+AAL/Af4A/wH+AAIA/v4C/wH+AP8B/gL/Af4C"
        "/wEA/wEC/gECAAH/AAH/AP7/AgH//wL+AQIA/v8C/gECAP4C/v4AAgL/Af7+AAIC/wH+Av4C/v8AAQL+Av7/AAEC/gL/////////////"
        "//////8AAQD//gIBAAEA//4CAQABAg==",
    ),
    "htj2k_lossless": _sample(
        "ojph_compress -reversible true -num_decomps 2 -prog_order LRCP",
        HTJ2KLossless,
        "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABCwEB/1AACAACAAAAB/9SAAwAAAABAAIEBEAB/1wACiBweHh4"
        "cHB4/2QAFgABT3BlbkpQSCBWZXIgMC45LjAu/5AACgAAAAAA3QAB/5PAAW8A/Y/maC/dav90ii1pzYP9oZxb/10Ct+kEZyEAMbcAwACv"
        "gAFowACrSACRCBYEQKBDOLiFNpcAwoAEhAGABYCBQEIAWPSVmAAgCgGKFPUA3Om1AMABdLAAXVwAC3zVBBCEIWEbAEgKnxAE4gCBfARQ"
        "mU/MZynOpoV8lXE1wis9feEBESMIUDYuCxYmCUAimACotAFpcFIDlGAEICOCIQAscPFluhZUKvTym49VAZvmqEjkKKWiLFrSpbWNOe/y"
        "7f06htuqfq7yH/ukUQH/2Q==",
    ),
    "htj2k_lossless_rpcl": _sample(
        "ojph_compress -reversible true -num_decomps 2",
        HTJ2KLosslessRPCL,
        "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABCwEB/1AACAACAAAAB/9SAAwAAgABAAIEBEAB/1wACiBweHh4"
        "cHB4/2QAFgABT3BlbkpQSCBWZXIgMC45LjAu/5AACgAAAAAA3QAB/5PAAW8A/Y/maC/dav90ii1pzYP9oZxb/10Ct+kEZyEAMbcAwACv"
        "gAFowACrSACRCBYEQKBDOLiFNpcAwoAEhAGABYCBQEIAWPSVmAAgCgGKFPUA3Om1AMABdLAAXVwAC3zVBBCEIWEbAEgKnxAE4gCBfARQ"
        "mU/MZynOpoV8lXE1wis9feEBESMIUDYuCxYmCUAimACotAFpcFIDlGAEICOCIQAscPFluhZUKvTym49VAZvmqEjkKKWiLFrSpbWNOe/y"
        "7f06htuqfq7yH/ukUQH/2Q==",
    ),
    "htj2k_lossy": _sample(
        "ojph_compress -reversible false -qstep 0.001 -num_decomps 2, decoded by ojph_expand",
        HTJ2K,
        "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABCwEB/1AACAACAAAAJP9SAAwAAgABAAIEBEAA/1wAESJv5mA1"
        "YDVgeFgaWBpnv/9kABYAAU9wZW5KUEggVmVyIDAuOS4wLv+QAAoAAAAAAJsAAf+TwALeGz/kE59cRPtUvaEsJsYu8dPAn/DI7foEZyEA"
        "MbcAwAVsAFqQARhMSMt75rS8MktIOXYAJCBJQD6yj+wj+8j+BCAdxyRU2AAAQwDAC1oAW5ABMBo7jIBQ3dEI6P4hepPzO3qP0jkrfAAq"
        "UqI+aKEeddSCinrYUQgABTpgABTdDJ616j4A+QEQCEUA/9k=",
        "AP8A/v3+///9/wEA/v7+AQAAAAEAAQEBAAAAAAAAAAABAP//AAAA/gL//gD/AgAA/wH//QEEAQEA/P8DAAEAAv4AAQEB/gED/gH+AP8A"
        "AAL+AP8E/v7/A/8AAf0A//7//gD/AAD//gL///8AAf/9/P8B/gEEAgEBAgMDAP0A/gL/AQMB//79Av//AAD+Af8AAAAA/gMB/gP//v0D"
        "/wP//wEA/wAAA/8DAP0BAAADAP8AAAADAP0BAQADAP4AAwAA/wD/AP4AA/8AAAD/AAEAAf//AP//AAEBAQEAAQEAAP4AAP8AAAD/AAEA"
        "//8AAP4A/wABAf/+/AL///8AAv8BAQ==",
    ),
}
