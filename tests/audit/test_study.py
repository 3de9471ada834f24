"""Audits of zoos whose updates and factors are known."""

from __future__ import annotations

import pytest
import torch

import lora_perf
from lora_perf.audit import GAUGES, AuditConfig, audit
from lora_perf.audit.movement import STILL
from lora_perf.audit.study import Audit, Audited
from lora_perf.classifiers import CLASSIFIERS, Examples
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.split import make_split
from lora_perf.core.zoo import Zoo
from lora_perf.representations import members
from lora_perf.representations.streaming import represent
from tests.audit.zoos import random_zoo
from tests.representations.learned.updates import planted

TEN = members("ten")

DW, LEARNED = members("dw"), members("learned")
INVARIANT = (*DW, "dw_kernel")


def audited(zoo: Zoo, *representations: str, **settings: object) -> Audit:
    config = AuditConfig("", representations=representations or ("ten",), **settings)  # type: ignore[arg-type]
    return audit(zoo, config)


def one(found: Audit) -> Audited:
    (only,) = found.representations
    return only


def test_the_ten_move_and_those_of_the_update_do_not() -> None:
    found = audited(planted(rank=2), "ten", "dw", "dw_kernel", adapters="all")
    assert [each.name for each in found.representations] == [*TEN, *(name for name in INVARIANT if name != "layer_coupling")]
    assert found.moved == 120
    for each in found.representations:
        assert each.still == (each.name in INVARIANT), each.name
        if each.name in TEN:
            assert each.movements["invertible"].relative.median > 1e-3


@pytest.mark.parametrize("name", ["digits", "digits-shared"])
def test_no_representation_of_the_update_moves_on_the_embedded_zoos(name: str) -> None:
    found = audited(lora_perf.load(name), *INVARIANT, adapters="all")
    assert found.moved == 1000
    for each in found.representations:
        largest = max(moved.relative.largest for moved in each.movements.values())
        assert largest < STILL / 10, (each.name, largest)  # the roots of dw_gram_probe round most
        assert each.movements["signs"].relative.largest == 0
        for drop in each.readings[0].drop.values():
            assert abs(drop.mean) <= 0.02  # four test adapters of 200: where two classes are equally near, rounding decides


def test_mixed_ranks_and_scales_leave_representations_of_the_update_still() -> None:
    found = audited(random_zoo(60, m=5, k=5, mixed=True, scaled=True), *INVARIANT, adapters="all")
    assert all(each.still for each in found.representations)


def test_accuracy_falls_with_the_gauge_where_factors_are_read() -> None:
    found = one(audited(lora_perf.load("digits-shared"), "flat_vec"))
    (reading,) = found.readings
    assert reading.original.mean > 0.9
    for gauge in ("invertible", "signs"):
        assert reading.after[gauge].mean < 0.5
        assert reading.drop[gauge].mean == pytest.approx(reading.original.mean - reading.after[gauge].mean)
        assert reading.drop[gauge].low > 0.4
        assert reading.drop[gauge].p < 1e-6
    assert abs(reading.drop["balanced"].mean) < 0.1


def test_the_original_accuracy_is_that_of_a_probe_of_the_plain_zoo() -> None:
    zoo = planted()
    split = make_split(zoo.labels, zoo.classes, seed=42)
    features = represent(zoo, ["simple_stats"])["simple_stats"]
    fitted = CLASSIFIERS["ridge"].fit(Examples(features.values, split), zoo.labels, len(zoo.classes))
    right = (fitted.predictions == zoo.labels[split.test]).double().mean()
    assert one(audited(zoo, "simple_stats")).readings[0].original.mean == pytest.approx(float(right))


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_representation_is_fitted_to_the_train_adapters_as_they_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_perf.audit import study

    zoo, kept = planted(60), {}
    monkeypatch.setattr(study, "represent", lambda *args, **asked: kept.setdefault("features", represent(*args, **asked)))
    audited(zoo, name)
    alone = represent(zoo, [name])[name]
    torch.testing.assert_close(kept["features"][name].values[: len(zoo)], alone.values, rtol=1e-4, atol=1e-5)


def test_answers_do_not_depend_on_how_many_adapters_are_moved() -> None:
    zoo = planted()
    few, every = (one(audited(zoo, "flat_vec", adapters=which)) for which in ("test", "all"))
    assert few.readings == every.readings
    assert few.movements["rescaled"].relative.largest <= every.movements["rescaled"].relative.largest


def test_several_classifiers_read_the_same_features() -> None:
    found = one(audited(planted(60), "dw_norms", classifiers=("ridge", "logistic", "knn", "mlp"), num_runs=2))
    assert [reading.classifier for reading in found.readings] == ["ridge", "logistic", "knn", "mlp"]
    assert all(set(reading.drop) == set(GAUGES) for reading in found.readings)


def test_features_that_tell_nothing_are_read_as_the_commonest_class() -> None:
    plain = planted(60)
    zoo = Zoo.from_rows(plain.rows[:1].expand(60, -1).clone(), plain.layout, plain.labels, plain.classes)
    found = one(audited(zoo, "dw_norms", classifiers=("ridge", "mlp")))
    assert found.constant == found.features
    for reading in found.readings:
        assert reading.original.mean == pytest.approx(1 / 3, abs=0.05)
        assert all(drop.mean == 0 for drop in reading.drop.values())


def test_a_tiny_zoo_is_tested_on_its_train_rows_and_says_so() -> None:
    found = audited(planted(9), "dw_norms")
    assert found.dataset["resubstitution"]


def test_a_group_of_one_side_moves_too() -> None:
    found = audited(planted(60), "simple_stats", layers="up")
    assert not one(found).still
    assert found.rounding["invertible"].largest > 0


@pytest.mark.parametrize("asked", ["ten", "stats"])
def test_factors_of_different_ranks_are_refused_where_factors_are_read(asked: str) -> None:
    with pytest.raises(LoraPerfError, match=r"of one rank for \w+, .*found ranks from 1 to 3; choose among layer_coupling"):
        audited(random_zoo(mixed=True), asked, "stats")


def test_what_a_set_names_and_the_zoo_does_not_have_is_left_out_with_its_reason() -> None:
    found = audited(random_zoo(60, mixed=True), "ten", "dw_norms", "dw")
    assert {each.name for each in found.representations} == set(DW) - {"layer_coupling"}
    assert set(found.left_out) == {*TEN, "layer_coupling"}
    assert "of one rank for stats" in found.left_out["stats"]
    assert "as wide as it is tall" in found.left_out["layer_coupling"]


@pytest.mark.parametrize("n", [1, 2])
def test_what_of_a_set_cannot_be_fitted_to_so_few_adapters_is_left_out(n: int) -> None:
    zoo = planted(60)[:n]
    bare = Zoo.from_rows(zoo.rows, zoo.layout)
    found = audited(bare, "ten", "learned")
    assert {"pca", "vae"} <= set(found.left_out)
    assert "different train rows; found" in found.left_out["pca"]
    assert set(TEN) <= {each.name for each in found.representations}


def test_what_was_asked_for_by_its_name_is_never_left_out() -> None:
    with pytest.raises(LoraPerfError, match="layers that layer_coupling can be made of"):
        audited(random_zoo(60), "layer_coupling", "dw")
    with pytest.raises(LoraPerfError, match="at least 3 different train rows; found 1"):
        audited(Zoo.from_rows(planted(60)[:1].rows, planted(60).layout), "stats", "pca")


def test_layers_without_a_partner_are_refused() -> None:
    with pytest.raises(LoraPerfError, match="both an up and a down, which a gauge changes together; found none"):
        audited(random_zoo(), "stats", layers="alone")


def test_a_broken_weight_is_named() -> None:
    zoo = planted(60)
    zoo.rows[17, 3] = float("nan")
    with pytest.raises(LoraPerfError, match="adapter 17"):
        audited(zoo, "stats")
