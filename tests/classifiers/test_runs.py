from threading import Event

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, TensorDataset

import lora_perf
from lora_perf.classifiers.perceptron import training
from lora_perf.classifiers.perceptron.epochs import Task, batches
from lora_perf.classifiers.perceptron.network import Perceptron
from lora_perf.classifiers.perceptron.runs import TrainingConfig, train
from lora_perf.classifiers.perceptron.training import Plateau, train_stack
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.split import Split, make_split

SMALL = TrainingConfig(hidden=32, layers=2, epochs=12, patience=4, batch_size=16)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))]


@pytest.fixture
def one_thread():
    """Small products on one core: threads that wait for each other are slow where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def blobs(n: int = 150, f: int = 12, *, c: int = 3, spread: float = 3.0, dtype: torch.dtype = torch.float32):
    """Features around one centre a class, and labels; hard enough that runs end at different epochs."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % c
    return (torch.randn(c, f, generator=g)[labels] + spread * torch.randn(n, f, generator=g)).to(dtype), labels


def task_of(values: torch.Tensor, labels: torch.Tensor, split: Split) -> Task:
    f = values.shape[1]
    nothing, one = torch.zeros(f, dtype=values.dtype), torch.ones(f, dtype=values.dtype)
    return Task(values, nothing, one, labels, split.train, split.validation, split.test, int(labels.max()) + 1)


def module(f: int, h: int, c: int, layers: int = 3, dropout: float = 0.5, *, bias: bool = True) -> nn.Sequential:
    parts: list[nn.Module] = []
    for width in [f, *[h] * (layers - 1)]:
        parts += [nn.Linear(width, h, bias=bias), nn.BatchNorm1d(h), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*parts, nn.Linear(h, c))


def adopt(net: Perceptron, k: int, model: nn.Sequential) -> None:
    """Gives the module the weights of run k; its hidden biases, which batch norm cancels, stay."""
    linears = [part for part in model if isinstance(part, nn.Linear)]
    for linear, weight in zip(linears, net.weights, strict=True):
        linear.weight.data.copy_(weight[k])
    linears[-1].bias.data.copy_(net.bias[k])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.usefixtures("one_thread")
def test_training_steps_are_those_of_a_module_with_adam(bias):
    """Hidden biases change no loss; in evaluation the running means lag behind them, so only without are logits equal."""
    values, labels = blobs(200, dtype=torch.float64)
    config = TrainingConfig(hidden=24, dropout=0, epochs=6, batch_size=32, weight_decay=1e-2, patience=99)
    split = Split(torch.arange(0, 130), torch.arange(130, 160), torch.arange(160, 200), "zoo")
    trained = train_stack(task_of(values, labels, split), [5, 6], config, Event())
    for k, seed in enumerate((5, 6)):
        order = torch.Generator().manual_seed(seed)
        model = module(12, 24, 3, dropout=0, bias=bias).double()
        adopt(Perceptron.drawn([order], (12, 24, 3), 3, dtype=torch.float64), 0, model)
        torch.randint(2**62, (), generator=order)  # the seed of the masks
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-2)
        best, expected = -1.0, torch.empty(0)
        for epoch in range(6):
            model.train()
            losses = []
            for rows in split.train[torch.randperm(130, generator=order)].split(32):
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(model(values[rows]), labels[rows])
                loss.backward()
                optimiser.step()
                losses.append(loss.item() * len(rows))
            assert trained[k].train_loss[epoch] == pytest.approx(sum(losses) / 130, rel=1e-8)
            model.eval()
            with torch.no_grad():
                logits = model(values[split.validation])
                lost = nn.functional.cross_entropy(logits, labels[split.validation]).item()
                accuracy = (logits.argmax(1) == labels[split.validation]).double().mean().item()
                if accuracy > best:
                    best, expected = accuracy, model(values[split.test])
            assert bias or trained[k].validation_accuracy[epoch] == pytest.approx(accuracy)
            assert bias or trained[k].validation_loss[epoch] == pytest.approx(lost, rel=1e-8)
        if not bias:
            torch.testing.assert_close(trained[k].logits, expected, rtol=1e-8, atol=1e-8)


def test_a_run_does_not_depend_on_the_runs_beside_it():
    values, labels = blobs()
    split = make_split(labels, "abc")
    together = train(values, labels, split, 3, range(42, 52), SMALL)
    assert len(set(together.epochs_run)) > 1, "all runs ended together, so this shows nothing"
    for k in (0, 3, 9):
        alone = train(values, labels, split, 3, [42 + k], SMALL)
        torch.testing.assert_close(together.logits[k], alone.logits[0], rtol=0, atol=0)
        assert together.curves[k] == alone.curves[0]
        assert together.best_epoch[k] == alone.best_epoch[0]


@pytest.mark.usefixtures("one_thread")
def test_a_stack_gives_what_runs_apart_give_also_while_others_leave_it():
    values, labels = blobs(dtype=torch.float64)
    split = make_split(labels, "abc")
    calls: list[tuple[int, int]] = []

    def heard(seed: int, epoch: int, _: float) -> None:
        calls.append((seed, epoch))

    apart = train(values, labels, split, 3, range(10), SMALL)
    stack = train(values, labels, split, 3, range(10), SMALL, progress=heard, stacked=True)
    assert calls[:11] == [*((seed, 1) for seed in range(10)), (0, 2)], "the runs were not trained together"
    assert len(set(stack.epochs_run)) > 2, "no run left the stack early, so this shows nothing"
    assert stack.epochs_run == apart.epochs_run
    assert stack.validation_accuracy == apart.validation_accuracy
    for one, other in zip(stack.curves, apart.curves, strict=True):
        assert (one.validation_accuracy, one.lr) == (other.validation_accuracy, other.lr)
        # Batched products may sum in another order; 1e-8 is what that grows to in twelve epochs.
        np.testing.assert_allclose(one.train_loss, other.train_loss, rtol=1e-8)
    torch.testing.assert_close(stack.logits, apart.logits, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("n", "size", "sizes"),
    [(128, 64, [64, 64]), (129, 64, [64, 65]), (130, 64, [64, 64, 2]), (65, 64, [65]), (5, 64, [5]), (3, 2, [3])],
)
def test_a_last_batch_of_one_joins_the_one_before(n, size, sizes):
    bounds = batches(n, size)
    assert [stop - start for start, stop in bounds] == sizes
    assert [start for start, _ in bounds] == [0, *np.cumsum(sizes)[:-1]]


def test_what_cannot_be_trained_on_is_refused():
    values, labels = blobs()
    split = make_split(labels, "abc")
    for seeds in ([], [1, 1]):
        with pytest.raises(LoraPerfError, match="at least one seed, each once"):
            train(values, labels, split, 3, seeds, SMALL)
    values[-1, 3] = float("nan")
    with pytest.raises(LoraPerfError, match="NaN or infinity in 1 of 12 columns"):
        train(values, labels, split, 3, [1], SMALL)
    values, labels = blobs(1)
    with pytest.raises(LoraPerfError, match="two train adapters or more"):
        train(values, labels, make_split(labels, "abc"), 3, [1], SMALL)


def test_the_best_weights_are_restored():
    values, labels = blobs()
    parts = make_split(labels, "abc")
    split = Split(parts.train, parts.validation, parts.validation, "zoo")  # so that the test shows the best epoch's accuracy
    runs = train(values, labels, split, 3, range(5), TrainingConfig(hidden=32, epochs=15, patience=15, lr=0.05))
    last = [curve.validation_accuracy[-1] for curve in runs.curves]
    best = [max(curve.validation_accuracy) for curve in runs.curves]
    assert max(np.subtract(best, last)) > 0, "the last epoch is the best everywhere, so this shows nothing"
    found = (runs.predictions == labels[split.test]).double().mean(dim=1)
    np.testing.assert_allclose(found, best)
    np.testing.assert_allclose(runs.validation_accuracy, best)
    for curve, epoch in zip(runs.curves, runs.best_epoch, strict=True):
        assert epoch == 1 + int(np.argmax(curve.validation_accuracy))  # the first of equals


def test_a_run_ends_when_its_patience_does():
    values, labels = blobs(spread=6)
    runs = train(values, labels, make_split(labels, "abc"), 3, range(6), SMALL)
    for best, ran, curve in zip(runs.best_epoch, runs.epochs_run, runs.curves, strict=True):
        assert ran == min(best + SMALL.patience, SMALL.epochs)
        assert len(curve.train_loss) == len(curve.validation_accuracy) == len(curve.lr) == ran
    assert min(runs.epochs_run) < SMALL.epochs


@given(st.lists(st.floats(0, 1), min_size=1, max_size=80), st.integers(0, 5), st.sampled_from([0.1, 0.5, 0.9]))
@example([0.5, *[0.50004] * 12], 0, 0.1)  # to the least rate that torch steps to
def test_a_plateau_is_that_of_torch(hits, patience, factor):
    dummy = torch.optim.SGD([torch.zeros(1)], lr=1e-3)
    scheduler = ReduceLROnPlateau(dummy, "max", factor=factor, patience=patience)
    plateau = Plateau(1e-3, factor, patience)
    for hit in hits:
        scheduler.step(hit)
        plateau.step(hit)
        assert plateau.lr == dummy.param_groups[0]["lr"]


def test_the_learning_rate_follows_the_plateaus_of_each_run():
    values, labels = blobs(spread=6)
    config = TrainingConfig(hidden=8, epochs=30, patience=30, plateau_patience=2, plateau_factor=0.3)
    runs = train(values, labels, make_split(labels, "abc"), 3, range(3), config)
    for curve in runs.curves:
        dummy = torch.optim.SGD([torch.zeros(1)], lr=1e-3)
        scheduler = ReduceLROnPlateau(dummy, "max", factor=0.3, patience=2)
        for accuracy, lr in zip(curve.validation_accuracy, curve.lr, strict=True):
            assert lr == dummy.param_groups[0]["lr"]
            scheduler.step(accuracy)
        assert curve.lr[-1] < 1e-3
    assert len({curve.lr for curve in runs.curves}) > 1


def images():
    """scikit-learn's digits, which are learned well."""
    data = load_digits()
    values, labels = torch.tensor(data.data[:800], dtype=torch.float32), torch.tensor(data.target[:800])
    order = torch.randperm(800, generator=torch.Generator().manual_seed(0))
    return values, labels, Split(order[:400], order[400:500], order[500:], "zoo")


def adapters():
    """One representation of the embedded zoo, whose classes are hard to tell."""
    zoo = lora_perf.load("digits")
    return (
        lora_perf.represent(zoo, ["frequency"])["frequency"].values,
        zoo.labels,
        make_split(zoo.labels, zoo.classes, zoo.split),
    )


def plain_accuracy(values: torch.Tensor, labels: torch.Tensor, split: Split, config: TrainingConfig, seed: int) -> float:
    """Test accuracy of the best epoch of the recipe as one would write it, one seed."""
    torch.manual_seed(seed)
    model = module(values.shape[1], config.hidden, 10)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    data = TensorDataset(values[split.train], labels[split.train])
    loader = DataLoader(data, batch_size=config.batch_size, shuffle=True)
    best, result = -1.0, 0.0
    for _ in range(config.epochs):
        model.train()
        for x, y in loader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            right = model(values).argmax(1) == labels
        if (now := right[split.validation].double().mean().item()) > best:
            best, result = now, right[split.test].double().mean().item()
    return result


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("data", "least"), [(images, 0.7), (adapters, 0.13)])
@pytest.mark.usefixtures("one_thread")
def test_accuracy_is_that_of_a_plain_loop(device, data, least):
    values, labels, split = data()
    config = TrainingConfig(hidden=128, epochs=12, patience=12, batch_size=32)
    runs = train(values, labels, split, 10, range(10), config, device)
    ours = (runs.predictions == labels[split.test]).double().mean(dim=1)
    rows = values[split.train]
    scale = rows.std(0, correction=0)
    clean = torch.where(scale > 0, (values - rows.mean(0)) / scale, 0)
    plain = [plain_accuracy(clean, labels, split, config, seed) for seed in range(10)]
    interval = stats.ttest_ind(ours.numpy(), plain, equal_var=False).confidence_interval(0.999)
    assert interval.low <= 0 <= interval.high
    assert interval.high - interval.low < 0.1, "the interval is too wide to show a difference"
    assert ours.mean() > least


@pytest.mark.parametrize("device", DEVICES)
def test_a_tiny_zoo_trains_on_all_its_rows(device):
    values, labels = blobs(6)
    runs = train(values, labels, make_split(labels, "abc"), 3, [42, 43], SMALL, device)
    assert runs.logits.shape == (2, 6, 3)
    torch.testing.assert_close(runs.predictions, runs.logits.argmax(2))
    assert runs.logits.isfinite().all()
    assert runs.logits.device.type == "cpu"


def test_constant_columns_are_dropped_and_what_was_given_stays_as_it_was():
    values, labels = blobs()
    split = make_split(labels, "abc")
    padded = torch.cat([torch.full((150, 2), 3.3), values, torch.zeros(150, 1)], dim=1)
    before = padded.clone(), labels.clone()
    found, expected = train(padded, labels, split, 3, [1], SMALL), train(values, labels, split, 3, [1], SMALL)
    torch.testing.assert_close(found.dropped, torch.tensor([0, 1, 14]))
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close((padded, labels), before, rtol=0, atol=0)


def test_progress_hears_of_every_epoch():
    values, labels = blobs()
    heard: list[tuple[int, int, float]] = []
    runs = train(values, labels, make_split(labels, "abc"), 3, [4, 5], SMALL, progress=lambda *news: heard.append(news))
    for seed, curve in zip((4, 5), runs.curves, strict=True):
        own = [(epoch, accuracy) for who, epoch, accuracy in heard if who == seed]
        assert own == list(enumerate(curve.validation_accuracy, start=1))
    assert all(seconds > 0 for seconds in runs.seconds)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupt_ends_all_lanes_and_is_passed_on(error):
    values, labels = blobs()
    threads = torch.get_num_threads()
    heard: list[int] = []

    def progress(seed: int, epoch: int, accuracy: float) -> None:
        heard.append(epoch)
        if len(heard) == 3:
            raise error

    with pytest.raises(error):
        train(values, labels, make_split(labels, "abc"), 3, range(20), SMALL, progress=progress)
    assert len(heard) < 60
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("hidden", 0), ("layers", 0), ("dropout", 1.0), ("dropout", -0.1), ("lr", 0.0), ("lr", float("nan"))),
        *(("weight_decay", -1e-4), ("batch_size", 1), ("epochs", 0), ("patience", 0)),
        *(("plateau_patience", -1), ("plateau_factor", 1.0)),
    ],
)
def test_a_config_out_of_bounds_names_its_field(name, value):
    with pytest.raises(LoraPerfError, match=rf"expected {name} .*found {value}; change {name}"):
        TrainingConfig(**{name: value})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("n", "rate"), [(150, 0.5), (1500, 0.3), (1501, 0.0)])  # a short epoch, whole chunks, an odd batch
def test_graphs_of_steps_give_the_very_numbers_of_single_steps(n, rate, monkeypatch):
    values, labels = blobs(n)
    split = make_split(labels, "abc")
    config = TrainingConfig(hidden=64, epochs=40, patience=8, plateau_patience=2, batch_size=32, dropout=rate)
    found = train(values.cuda(), labels, split, 3, [1, 2, 3], config, "cuda")
    epoch = training.Epochs.__call__
    monkeypatch.setattr(training.Epochs, "__call__", lambda self, *, captured: epoch(self, captured=False))
    expected = train(values.cuda(), labels, split, 3, [1, 2, 3], config, "cuda")
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=0)
    assert found.curves == expected.curves
    assert len({len(curve.lr) for curve in found.curves}) > 1 or n > 150, "runs that end together show less"
