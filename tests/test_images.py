import os

import h5py
import numpy as np
import pytest

from withstand import images
from withstand.errors import WithstandError
from withstand.files import write_text
from withstand.hdf5 import Hdf5Error, fast_filter
from withstand.images import ImageFile, ImageFileError


def write(path, samples, pictures, codec="raw"):
    with images.create(path, samples, size=64, codec=codec, origin={"seed": 5}) as writer:
        writer.add("noise", [1, 3])
        for severity in (0, 1):
            writer.write("noise", severity, 0, pictures[:7] // (severity + 1))
            writer.write("noise", severity, 7, pictures[7:] // (severity + 1))


def test_raw_images_come_back_exactly(tmp_path, samples, pictures):
    write(tmp_path / "a.h5", samples, pictures)
    with ImageFile(tmp_path / "a.h5") as file:
        assert file.conditions == [("noise", 1, 0), ("noise", 3, 1)]
        assert np.array_equal(file.read("noise", 1, slice(0, 12)), pictures // 2)
        assert np.array_equal(file.read("noise", 0, np.array([11, 2])), pictures[[11, 2]])
        assert file.samples.ids == samples.ids
        assert np.array_equal(file.samples.labels, samples.labels)
        assert file.samples.class_names == samples.class_names
        assert (len(file), file.size, file.origin) == (12, 64, {"seed": 5})


def test_jpeg_images_come_back_as_encoded(tmp_path, samples, pictures):
    write(tmp_path / "a.h5", samples, pictures, codec="jpeg")
    expected = np.stack([images.decode(images.encode_jpeg(picture // 2)) for picture in pictures])
    with ImageFile(tmp_path / "a.h5") as file:
        assert np.array_equal(file.read("noise", 1, slice(3, 9)), expected[3:9])
        assert np.array_equal(file.read("noise", 1, np.array([8, 0])), expected[[8, 0]])


def test_same_content_makes_the_same_bytes(tmp_path, samples, pictures):
    for name in ("a.h5", "b.h5"):
        write(tmp_path / name, samples, pictures)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_long_lists_are_no_attributes(tmp_path, pictures):
    """Attributes end at 64 KB: ImageNet's 1,000 class names and 50,000 sample ids are longer."""
    ids = [f"ILSVRC2012_val_{number:08d}" for number in range(20_000)]
    names = [f"class number {number}, with a long name as WordNet has them" for number in range(1000)]
    many = images.Samples(ids, np.zeros(20_000, dtype=np.int64), names, np.arange(1000), "imagenet-1k")
    with images.create(tmp_path / "a.h5", many, size=8, codec="raw", origin={}) as writer:
        writer.add("clean", [0])
    with ImageFile(tmp_path / "a.h5") as file:
        assert file.samples.ids[-1] == ids[-1]


@pytest.mark.parametrize(
    ("labels", "subset", "message"),
    [
        ([0, 12], [0, 1], "sample b has label 12"),
        ([0, 1], [0, 99], "outside the 10 outputs"),
        ([0], [0], "2 sample ids"),
    ],
)
def test_labels_outside_the_label_space_are_refused(labels, subset, message):
    with pytest.raises(ImageFileError, match=message):
        images.Samples(["a", "b"], np.array(labels), [str(n) for n in range(10)], np.array(subset), "digits")


def test_wrong_shape_or_dtype_is_refused(tmp_path, samples, pictures):
    with (
        pytest.raises(ImageFileError, match="expected uint8"),
        images.create(tmp_path / "a.h5", samples, size=64, codec="raw", origin={}) as writer,
    ):
        writer.add("clean", [0])
        writer.write("clean", 0, 0, pictures.astype(np.float32))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_writer_leaves_nothing(tmp_path, samples):
    (tmp_path / "a.h5").write_text("older")
    with pytest.raises(KeyboardInterrupt), images.create(tmp_path / "a.h5", samples, size=64, codec="raw", origin={}):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert (tmp_path / "a.h5").read_text() == "older"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "not a readable HDF5 file"), (b"text", "not a readable HDF5 file"), ("half", "not a readable HDF5 file")],
)
def test_missing_foreign_and_truncated_files_are_named(tmp_path, samples, pictures, content, message):
    path = tmp_path / "a.h5"
    if content == "half":
        write(path, samples, pictures)
        os.truncate(path, path.stat().st_size // 2)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(Hdf5Error, match=message) as error:
        ImageFile(path)
    assert "a.h5" in str(error.value)


def test_another_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(Hdf5Error, match="not of the format withstand-images"):
        ImageFile(tmp_path / "a.h5")


def spoil(path) -> None:
    """Another value for one pixel of the second severity."""
    with h5py.File(path) as file:
        offset = file["noise/images"].id.get_offset() + 15 * 64 * 64 * 3
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("batch", [12, 5])
def test_damaged_pixels_are_noticed_by_who_reads_all_in_order(tmp_path, samples, pictures, batch):
    path = tmp_path / "a.h5"
    write(path, samples, pictures)

    def read_all() -> None:
        with ImageFile(path) as file:
            for corruption, _, index in file.conditions:
                for start in range(0, 12, batch):
                    file.read(corruption, index, slice(start, start + batch))

    read_all()
    spoil(path)
    with pytest.raises(Hdf5Error, match=r"noise cannot be read \(its pixels are not those that were written\)"):
        read_all()


def test_who_reads_in_another_order_gets_no_false_alarm(tmp_path, samples, pictures):
    write(tmp_path / "a.h5", samples, pictures)
    with ImageFile(tmp_path / "a.h5") as file:
        for index in (1, 0, 1, 0):
            assert np.array_equal(file.read("noise", index, slice(0, 12)), pictures // (index + 1))


def test_files_of_filtered_pieces_are_still_read(tmp_path, samples, pictures):
    path = tmp_path / "a.h5"
    write(path, samples, pictures)
    with h5py.File(path, "r+") as file:
        values = file["noise/images"][()]
        del file["noise/images"]
        file["noise"].create_dataset("images", data=values, chunks=(1, 5, 64, 64, 3), compression=fast_filter())
    with ImageFile(path) as file:
        for index in (0, 1):
            assert np.array_equal(file.read("noise", index, slice(0, 12)), values[index])
        assert np.array_equal(file.read("noise", 0, np.array([11, 2])), values[0, [11, 2]])


def test_a_full_disk_is_told_and_leaves_nothing(small_disk, samples):
    noise = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    with (
        pytest.raises(Hdf5Error, match=r"a\.h5: cannot be written \(No space left on device\)"),
        images.create(small_disk / "a.h5", samples, size=64, codec="raw", origin={}) as writer,
    ):
        writer.add("noise", list(range(40)))
        for severity in range(40):
            writer.write("noise", severity, 0, noise)
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_is_told_by_any_writer(small_disk):
    with pytest.raises(WithstandError, match=r"a\.txt: cannot be written \(No space left on device\)"):
        write_text(small_disk / "a.txt", "x" * 5_000_000)
    assert list(small_disk.iterdir()) == []
