from __future__ import annotations

import contextlib
import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, encapsulate_extended

from codestream_samples import SAMPLES
from slicewise.imaging.codestream import StatedImage, bare_codestream, find_frames, read_fragments, stated_image

ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
LARGEST_JPEG_2000 = struct.pack(">2sHHLLLL", b"\xff\x51", 41, 0, 2**32 - 1, 2**32 - 1, 0, 0)


def item(content: bytes) -> bytes:
    return ITEM + struct.pack("<L", len(content)) + content


def table(*offsets: int) -> bytes:
    return item(struct.pack(f"<{len(offsets)}L", *offsets))


def frames_in(content: bytes, frames: int, before: bytes = b"header") -> list[bytes]:
    stream = BytesIO(before + content)
    stream.seek(len(before))
    return [read_fragments(stream, fragments) for fragments in find_frames(stream, frames)]


def jpeg(number: int) -> bytes:
    return b"\xff\xd8" + bytes([number]) * 7 + b"\xff\xd9\0"


@pytest.mark.parametrize("has_offsets", [True, False])
@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_as_pydicom_encapsulates_them(fragments: int, has_offsets: bool) -> None:  # noqa: FBT001 - a case
    images = [jpeg(number) for number in range(4)]
    content = encapsulate(images, fragments_per_frame=fragments, has_bot=has_offsets) + END
    assert frames_in(content, 4) == images


def test_an_extended_offset_table_is_not_needed() -> None:
    images = [jpeg(number) for number in range(3)]
    content, _, _ = encapsulate_extended(images)
    assert frames_in(content + END, 3) == images


def test_one_frame_has_all_fragments_whatever_the_table_says() -> None:
    content = table(0, 16) + item(b"\xff\xd8ab") + item(b"\xff\xd8cd") + END
    assert frames_in(content, 1) == [b"\xff\xd8ab\xff\xd8cd"]


def test_one_fragment_a_frame_whatever_the_table_says() -> None:
    content = table(0, 0) + item(b"abcd") + item(b"efgh") + END
    assert frames_in(content, 2) == [b"abcd", b"efgh"]


def test_the_table_divides_fragments_that_say_nothing() -> None:
    content = table(0, 22) + item(b"ab") + item(b"cdef") + item(b"gh") + END  # items have a header of 8 bytes
    assert frames_in(content, 2) == [b"abcdef", b"gh"]


@pytest.mark.parametrize("offsets", [(), (0, 21), (0, 0), (22, 0), (0, 10, 22), (10, 22)])
def test_images_tell_where_they_begin_if_the_table_is_wrong(offsets: tuple[int, ...]) -> None:
    content = table(*offsets) + item(b"\xff\xd8") + item(b"cdef") + item(b"\xff\x4f\xff\x51gh") + END
    assert frames_in(content, 2) == [b"\xff\xd8cdef", b"\xff\x4f\xff\x51gh"]


def test_the_delimiter_at_the_end_of_the_file_may_be_missing() -> None:
    assert frames_in(table() + item(b"abcd"), 1) == [b"abcd"]


def test_what_follows_the_delimiter_plays_no_part() -> None:
    assert frames_in(table() + item(b"abcd") + END + b"\xfc\xff\xfc\xffOB", 1) == [b"abcd"]


@pytest.mark.parametrize("cut", [1, 3, 11, 12, 13, 19])
def test_data_that_end_within_a_fragment(cut: int) -> None:
    content = table() + item(b"abcd") + item(b"0123456789ab")
    with pytest.raises(EOFError, match="end within"):
        frames_in(content[:-cut], 2)


@pytest.mark.parametrize(
    ("content", "frames"),
    [
        (b"", 1),
        (table(), 1),
        (table() + END, 1),
        (bytes(64), 1),
        (table() + item(b"abcd") + b"\x28\x00\x10\x00\0\0\0\0", 1),
        (table() + item(b"abcd") + END, 2),
        (table() + item(b"abcd") + item(b"efgh") + item(b"ijkl") + END, 2),
        (table() + item(b"abcd") + item(b"\xff\xd8gh") + item(b"\xff\xd8kl") + END, 2),
        (table() + 5000 * item(b"") + END, 1),
    ],
)
def test_data_that_hold_no_such_frames(content: bytes, frames: int) -> None:
    with pytest.raises(ValueError, match=r"the pixel data are no|the pixel data have no|cannot be divided"):
        frames_in(content, frames)


@given(
    images=st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=6),
    pieces=st.lists(st.integers(1, 4), min_size=6, max_size=6),
    has_offsets=st.booleans(),
)
def test_whatever_the_fragments_the_images_come_back(
    images: list[bytes],
    pieces: list[int],
    has_offsets: bool,  # noqa: FBT001 - a case
) -> None:
    images = [b"\xff\xd8" + image.replace(b"\xff", b"\0") for image in images]
    parts, offsets = b"", []
    for image, count in zip(images, pieces, strict=False):
        offsets.append(len(parts))
        step = max(-(-len(image) // count), 4)  # the mark of the beginning stays whole
        parts += b"".join(item(image[start : start + step]) for start in range(0, len(image), step))
    content = (table(*offsets) if has_offsets else table()) + parts + END
    assert frames_in(content, len(images)) == images


@given(st.binary(max_size=200), st.integers(1, 5))
def test_any_bytes_give_frames_or_one_of_two_errors(content: bytes, frames: int) -> None:
    with contextlib.suppress(EOFError, ValueError):
        assert len(frames_in(table() + content, frames)) == frames


@pytest.mark.parametrize("name", SAMPLES)
def test_the_size_of_real_images(name: str) -> None:
    stated = stated_image(SAMPLES[name].codestream)
    assert stated is not None
    assert stated[:3] == (16, 16, 1)
    # without loss DCMTK compresses all bits that are allocated
    assert stated.bits == (16 if name.startswith("jpeg_lossless") or name == "jpeg_ls" else 12)


def test_the_size_of_a_jpeg_image_stands_in_its_frame_header() -> None:
    comment, fill = b"\xff\xfe\0\5\xff\xc0\0", b"\xff\xff\xff"
    frame = b"\xff\xc3" + struct.pack(">HBHHB", 11, 14, 300, 7, 1)
    expected = StatedImage(rows=300, columns=7, components=1, bits=14)
    assert stated_image(b"\xff\xd8" + frame + b"\1\x11\0") == expected
    assert stated_image(b"\xff\xd8" + comment + fill + frame + b"\1\x11\0") == expected
    assert stated_image(b"\xff\xd8\xff\xc4\0\4\0\0" + frame + b"\1\x11\0") == expected


def test_the_size_of_a_jpeg_2000_image_is_that_of_its_area() -> None:
    size = struct.pack(">HHHLLLL", 0xFF51, 41, 0, 100, 60, 20, 10) + bytes(16) + struct.pack(">HBBB", 3, 0x8B, 1, 1)
    expected = StatedImage(rows=50, columns=80, components=3, bits=12)
    assert stated_image(b"\xff\x4f" + size) == expected


def test_the_boxes_of_a_jp2_file_are_taken_off() -> None:
    codestream = SAMPLES["htj2k_lossless"].codestream
    boxes = struct.pack(">L4sL", 12, b"jP  ", 0x0D0A870A) + struct.pack(">L4s", 0, b"jp2c")
    assert bare_codestream(boxes + codestream) == codestream
    assert bare_codestream(codestream) == codestream
    assert bare_codestream(b"anything") == b"anything"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\x00\x10",
        b"\xff\xd8\xff\xc3\x00\x0b\x10",
        b"\xff\x4f\xff\x51",
        b"\xff\x4f" + LARGEST_JPEG_2000,
        b"GIF89a" + bytes(60),
    ],
)
def test_what_states_no_size(content: bytes) -> None:
    assert stated_image(content) is None


@given(st.sampled_from([b"", b"\xff\xd8", b"\xff\x4f\xff\x51"]), st.binary(max_size=120))
def test_any_bytes_state_a_size_or_none(start: bytes, content: bytes) -> None:
    stated = stated_image(start + content)
    assert stated is None or all(isinstance(value, int) for value in stated)
