"""Reading files.

Exact: what was written comes back, by name and in order. Properties: names and patterns. Refusals: pickles, damage,
cells that are neither numbers nor labels.
"""

import builtins
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

import miest
from miest.files import load, matching, names

ARRAYS = {
    "layer1": np.arange(12, dtype=np.float32).reshape(4, 3),
    "layer2": np.linspace(0, 1, 4),
    "layer10": np.array([[True], [False], [True], [True]]),
    "labels": np.array([0, 1, 1, 0]),
}


def write(path: Path, arrays: dict[str, Any]) -> Path:
    """Arrays in the format of the suffix, tensors where it is torch's."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        safetensors.numpy.save_file(arrays, path)
    elif path.suffix in (".h5", ".hdf5"):
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    elif path.suffix in (".pt", ".pth"):
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    else:
        columns = {name: list(array) if array.ndim > 1 else array for name, array in arrays.items()}
        pq.write_table(pa.table(columns), path)
    return path


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


# --- exact


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5", ".hdf5", ".parquet", ".pt", ".pth"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"acts{suffix}", ARRAYS)
    found = load(path)
    assert set(names(path)) == set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".pt"])
def test_the_order_of_writing_is_kept(tmp_path: Path, suffix: str) -> None:
    assert names(write(tmp_path / f"acts{suffix}", ARRAYS)) == list(ARRAYS)


@pytest.mark.parametrize("suffix", [".safetensors", ".h5"])
def test_natural_order_where_writing_order_is_lost(tmp_path: Path, suffix: str) -> None:
    assert names(write(tmp_path / f"acts{suffix}", ARRAYS)) == ["labels", "layer1", "layer2", "layer10"]


def test_hdf5_that_tracks_order(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "acts.h5", "w", track_order=True) as file:
        for name in ("conv", "fc/2", "fc/1", "act"):
            file[name] = np.ones(3)
    assert names(tmp_path / "acts.h5") == ["conv", "fc/2", "fc/1", "act"]


def test_hdf5_groups_text_and_links(tmp_path: Path) -> None:
    path = tmp_path / "acts.h5"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones(3)
    with h5py.File(path, "w") as file:
        file["net/b"] = np.ones((3, 2))
        file["net/loop"] = file["/"]
        file["label"] = ["à", "b", "c"]
        file["other"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
    assert names(path) == ["label", "net/b"]
    assert load(path)["label"].tolist() == ["à", "b", "c"]
    assert load(path)["label"].dtype.kind == "U"


def test_npy_is_mapped_and_named_by_its_stem(tmp_path: Path) -> None:
    np.save(tmp_path / "layer3.npy", ARRAYS["layer1"])
    found = load(tmp_path / "layer3.npy")
    assert list(found) == ["layer3"] == names(tmp_path / "layer3.npy")
    assert isinstance(found["layer3"], np.memmap)
    assert not found["layer3"].flags.writeable
    np.testing.assert_array_equal(found["layer3"], ARRAYS["layer1"])


def test_npy_larger_than_the_disk_it_takes(tmp_path: Path) -> None:
    # A sparse file of 64 GiB: only a memory map can open it.
    array = np.lib.format.open_memmap(tmp_path / "huge.npy", mode="w+", dtype=np.float64, shape=(2**26, 128))
    array[-1] = 1.0
    del array
    assert load(tmp_path / "huge.npy")["huge"][-1].sum() == 128


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_narrow_floats_are_widened(tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
    tensor = torch.tensor([[1.5, -2.0], [0.25, 3.0]]).to(dtype)  # exact in both
    held = {"a": torch.arange(2), "t": tensor}
    path = tmp_path / f"acts{suffix}"
    safetensors.torch.save_file(held, path) if suffix == ".safetensors" else torch.save(held, path)
    found = load(path)
    assert found["t"].dtype == np.float32
    np.testing.assert_array_equal(found["t"], [[1.5, -2.0], [0.25, 3.0]])
    assert found["a"].dtype == np.int64


def test_pt_nested_bare_and_old(tmp_path: Path) -> None:
    x = torch.arange(6.0).reshape(3, 2).requires_grad_()
    torch.save({"epoch": 3, "acts": {"fc1": x, 2: x.T}, "list": [x, "text", (x,)]}, tmp_path / "nested.pt")
    assert names(tmp_path / "nested.pt") == ["acts.fc1", "acts.2", "list.0", "list.2.0"]
    np.testing.assert_array_equal(load(tmp_path / "nested.pt")["acts.2"], x.detach().numpy().T)
    torch.save(x, tmp_path / "bare.pt", _use_new_zipfile_serialization=False)
    assert names(tmp_path / "bare.pt") == ["bare"]


def test_parquet_lists_categories_and_names_with_dots(tmp_path: Path) -> None:
    table = pa.table(
        {
            "layer.0": [[1.0, 2.0], [3.0, 4.0]],
            "fixed": pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)),
            "class": pa.array(["a", "b"]).dictionary_encode(),
            "holes": [1.0, None],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    found = load(tmp_path / "t.parquet")
    assert found["layer.0"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert found["fixed"].dtype == np.int8
    assert found["class"].tolist() == ["a", "b"]
    assert np.isnan(found["holes"][1])


def csv_file(tmp_path: Path, text: str, suffix: str = ".csv") -> Path:
    path = tmp_path / f"data{suffix}"
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_columns_and_their_types(tmp_path: Path) -> None:
    text = '\ufeffn, x ,who,"a, b",ok\r\n1,0.5,ann,1e3,True\r\n-2, ,bob,-.5,false\r\n3,NaN,"o, x",inf,TRUE\r\n\r\n'
    found = load(csv_file(tmp_path, text))
    assert list(found) == ["n", "x", "who", "a, b", "ok"]
    assert found["n"].dtype == np.int64
    assert found["n"].tolist() == [1, -2, 3]
    np.testing.assert_array_equal(found["x"], [0.5, np.nan, np.nan])
    assert found["who"].tolist() == ["ann", "bob", "o, x"]
    assert found["a, b"].tolist() == [1000.0, -0.5, np.inf]
    assert found["ok"].tolist() == [True, False, True]


@pytest.mark.parametrize(("separator", "suffix"), [(";", ".csv"), ("\t", ".csv"), ("\t", ".tsv")])
def test_csv_separators(tmp_path: Path, separator: str, suffix: str) -> None:
    found = load(csv_file(tmp_path, f"a{separator}b\n1{separator}x\n2{separator}y\n", suffix))
    assert found["a"].tolist() == [1, 2]
    assert found["b"].tolist() == ["x", "y"]


def test_csv_needs_no_pandas_and_reads_no_digit_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.partition(".")[0] in ("pandas", "pyarrow", "polars"):
            raise ImportError(name)
        return plain(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    huge = str(10**30)
    found = load(csv_file(tmp_path, f"code,id\n1_0,{huge}\n2_0,{huge[:-1]}1\n"))
    assert found["code"].tolist() == ["1_0", "2_0"]
    assert len(set(found["id"].tolist())) == 2  # float64 would merge them


def test_csv_without_rows_is_for_the_gate_to_refuse(tmp_path: Path) -> None:
    assert load(csv_file(tmp_path, "a,b\n"))["a"].shape == (0,)


# --- properties


def test_patterns_keep_file_order_and_give_each_name_once(tmp_path: Path) -> None:
    path = write(tmp_path / "acts.npz", ARRAYS)
    assert list(load(path, "layer*")) == ["layer1", "layer2", "layer10"]
    assert list(load(path, ["labels", "l*"])) == ["labels", "layer1", "layer2", "layer10"]
    assert list(load(path, "layer?")) == ["layer1", "layer2"]


@given(st.lists(st.text(st.characters(codec="ascii"), min_size=1), min_size=1, unique=True))
def test_every_name_selects_itself_alone(known: list[str]) -> None:
    for name in known:  # also where it has *, ? and brackets
        assert matching(known, name, "here") == [name]


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    path = tmp_path / "acts.npz"
    np.savez(path, good=np.ones(3), bad=np.array([None], object))
    assert names(path) == ["good", "bad"]
    assert load(path, "good")["good"].sum() == 3


def test_load_is_public() -> None:
    assert miest.load is load


# --- refusals


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.pt", "a.pth", "a.safetensors", "a.h5", "a.parquet"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_bare_pickle_is_refused_and_not_run(tmp_path: Path, name: str, protocol: int) -> None:
    target = tmp_path / "ran"
    (tmp_path / name).write_bytes(pickle.dumps({"x": Bomb(target)}, protocol=protocol))
    with pytest.raises(miest.DataError, match=r"unpickling runs code.*safetensors"):
        load(tmp_path / name)
    assert not target.exists()


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.pt", "old.pt"])
def test_pickles_inside_a_format_are_refused_and_not_run(tmp_path: Path, name: str) -> None:
    target, path = tmp_path / "ran", tmp_path / name
    objects = np.array([Bomb(target)], object)
    if name == "a.npy":
        np.save(path, objects, allow_pickle=True)
    elif name == "a.npz":
        np.savez(path, x=objects)
    else:
        torch.save({"x": Bomb(target)}, path, _use_new_zipfile_serialization=name == "a.pt")
    with pytest.raises(miest.DataError, match=r"unpickling runs code.*safetensors"):
        load(path)
    assert not target.exists()


def test_a_saved_model_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(miest.DataError, match=r"type torch\.nn\.modules\.linear\.Linear"):
        load(tmp_path / "model.pt")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".h5", ".parquet", ".pt"])
@pytest.mark.parametrize("damage", ["half", "garbage"])
def test_damaged_files(tmp_path: Path, suffix: str, damage: str) -> None:
    path = write(tmp_path / f"acts{suffix}", ARRAYS)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "half" else b"no such format\n" * 99)
    with pytest.raises(miest.DataError, match=r"cannot be read as .*damaged or incomplete") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_damage_inside_a_member(tmp_path: Path) -> None:
    path = write(tmp_path / "acts.npz", ARRAYS)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("layer2.npy").header_offset
    whole = bytearray(path.read_bytes())
    whole[start + 190] ^= 0xFF
    path.write_bytes(whole)
    assert list(load(path, "labels")) == ["labels"]
    with pytest.raises(miest.DataError, match="damaged"):
        load(path, "layer2")


def test_truncated_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(1000))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:500])
    with pytest.raises(miest.DataError, match=r"mmap length is greater than file size\. It is damaged"):
        load(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".h5", ".csv", ".parquet", ".pt"])
def test_empty_missing_and_directory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(FileNotFoundError, match=f"there is no file .*a{suffix}"):
        load(path)
    path.touch()
    with pytest.raises(miest.DataError, match=r"is empty \(0 bytes\)"):
        names(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError, match="is a directory: pass one of the files"):
        load(path)


@pytest.mark.parametrize("name", ["a.mat", "a", "a.pkl"])
def test_unknown_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(miest.DataError, match=r"miest reads \.npy, \.npz, \.safetensors") as caught:
        load(tmp_path / name)
    assert ("unpickling" in str(caught.value)) == (name == "a.pkl")


def test_unknown_name(tmp_path: Path) -> None:
    path = write(tmp_path / "acts.npz", ARRAYS | {f"w{i}": np.ones(2) for i in range(30)})
    with pytest.raises(miest.DataError, match=r"named 'lables'\. Did you mean 'labels'.*It has: layer1,.*and 14 more"):
        load(path, "lables")
    with pytest.raises(miest.DataError, match=r"named 'conv\*'\. It has"):
        load(path, "conv*")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3,4\n", "holds numbers, not names of columns"),
        ("a,a\n1,2\n", "several columns named 'a'"),
        ("a,b\n1,2\n3\n", "line 3 of .* has 1 cells and the first line 2"),
        ("a\n1\n?\n3\n", r"mixes 2 numbers and 1 cells that are not, the first in sample 1: '\?'"),
        ("a\nx\nNA\n", "1 missing labels, the first in sample 1"),
        ("a;b\n1,5;2,5\n", r"decimal commas \('1,5'\)"),
        ('a\n"x\n', "cannot be read as .csv: unexpected end of data"),
    ],
)
def test_csv_refusals(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(miest.DataError, match=message):
        load(csv_file(tmp_path, text))


def test_csv_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("naïve\n1\n".encode("latin-1"))
    with pytest.raises(miest.DataError, match="utf-8"):
        load(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1, None], "1 missing values"),
        (["a", None], "1 missing values"),
        ([[1], [1, 2]], "rows of 1 to 2 values"),
        ([{"q": 1}, {"q": 2}], "is of type struct"),
    ],
)
def test_parquet_refusals(tmp_path: Path, column: list[Any], message: str) -> None:
    pq.write_table(pa.table({"a": column}), tmp_path / "t.parquet")
    with pytest.raises(miest.DataError, match=message):
        load(tmp_path / "t.parquet")


def test_tensors_without_numbers_in_rows(tmp_path: Path) -> None:
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "sparse.pt")
    with pytest.raises(miest.DataError, match="sparse or quantised"):
        load(tmp_path / "sparse.pt")
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    with pytest.raises(miest.DataError, match="holds no tensor"):
        load(tmp_path / "none.pt")
    with h5py.File(tmp_path / "ragged.h5", "w") as file:
        file.create_dataset("a", (2,), dtype=h5py.vlen_dtype(np.int32))
    with pytest.raises(miest.DataError, match="rows of different lengths"):
        load(tmp_path / "ragged.h5")


@pytest.mark.parametrize(
    ("suffix", "module", "extra"),
    [
        (".h5", "h5py", "data"),
        (".parquet", "pyarrow.parquet", "data"),
        (".safetensors", "safetensors", "data"),
        (".pt", "torch", "torch"),
    ],
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str, extra: str
) -> None:
    path = write(tmp_path / f"acts{suffix}", ARRAYS)
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ImportError, match=rf"package {module.partition('.')[0]} .*pip install 'miest\[{extra}\]'"):
        load(path)


def test_bfloat16_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "acts.safetensors"
    safetensors.torch.save_file({"a": torch.ones(2), "b": torch.ones(2, dtype=torch.bfloat16)}, path)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert load(path, "a")["a"].sum() == 2
    with pytest.raises(ImportError, match=r"pip install 'miest\[torch\]'"):
        load(path, "b")
