import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from lora_perf.classifiers import standardise
from lora_perf.classifiers.standardise import Standardiser
from lora_perf.core.errors import LoraPerfError


@pytest.fixture
def values():
    g = torch.Generator().manual_seed(0)
    return torch.randn(60, 7, generator=g) * torch.tensor([1, 1e-6, 1e6, 3, 1, 1, 1]) + torch.tensor([0, 0, 0, 1e3, -5, 0, 2])


@pytest.mark.parametrize("chunk", [1, 7 * 8 * 13, 1 << 20])
def test_statistics_are_those_of_the_train_rows(values, chunk, monkeypatch):
    monkeypatch.setattr(standardise, "_CHUNK_NBYTES", chunk)
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(1))[:40]
    fitted = Standardiser.fit(values, rows)
    oracle = StandardScaler().fit(values[rows].double())
    torch.testing.assert_close(fitted.mean, torch.from_numpy(oracle.mean_))
    torch.testing.assert_close(fitted.scale, torch.from_numpy(oracle.scale_))
    assert fitted.select(values) is values


def test_a_column_constant_on_the_train_rows_is_dropped(values):
    values[:, 1] = 0
    values[:40, 3] = 17.3
    values[:, 5] = 1 + torch.finfo(torch.float32).eps * torch.randint(-2, 3, (60,), generator=torch.Generator().manual_seed(2))
    fitted = Standardiser.fit(values, torch.arange(40))
    torch.testing.assert_close(fitted.dropped, torch.tensor([1, 3, 5]))
    torch.testing.assert_close(fitted.kept, torch.tensor([0, 2, 4, 6]))
    torch.testing.assert_close(fitted.select(values), values[:, [0, 2, 4, 6]])
    assert len(fitted.mean) == len(fitted.scale) == 4


def test_a_small_but_real_spread_is_kept(values):
    values[:, 0] = 100 + values[:, 0] * 1e-3
    assert len(Standardiser.fit(values, torch.arange(40)).dropped) == 0


def test_values_mapped_from_a_file_are_read_in_place(values, tmp_path):
    path = tmp_path / "values.npy"
    np.save(path, values)
    mapped = torch.from_numpy(np.load(path, mmap_mode="c"))
    torch.testing.assert_close(Standardiser.fit(mapped, torch.arange(40)).mean, values[:40].double().mean(0))


def test_all_columns_constant_is_an_error():
    with pytest.raises(LoraPerfError, match="3 constant columns over 5 train rows"):
        Standardiser.fit(torch.ones(9, 3), torch.arange(5))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_located(values, bad):
    values[50, 4] = bad
    with pytest.raises(LoraPerfError, match=r"NaN or infinity in 1 of 7 columns \(4\)"):
        Standardiser.fit(values, torch.arange(40))
