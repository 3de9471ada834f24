"""An experiment whose settings and data fit each other, before and after its weights were looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from lora_perf.classifiers import CLASSIFIERS
from lora_perf.classifiers.protocol import refuse_task
from lora_perf.core.profiling import StageClock
from lora_perf.core.split import Split
from lora_perf.core.zoo import DamagedError, Zoo
from lora_perf.experiment.checkpoints import CELLS, Checkpoints
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.copies import Copies, copies_in
from lora_perf.experiment.dataset import open_zoo, packed_path
from lora_perf.experiment.divisions import Division, Question, divisions_of, question_of
from lora_perf.experiment.plan import Plan, make_plan
from lora_perf.experiment.transfer import joined
from lora_perf.io.checked import count_as_absent
from lora_perf.representations import refuse_ranks


@dataclass(frozen=True, eq=False)
class Prepared:
    """An experiment whose settings and data were seen to fit each other; no weight is read yet.

    Attributes:
        opened: the adapters as they were opened, those of the data set that is tested on behind them.
        beyond: that data set, where it was given open.
    """

    config: ExperimentConfig
    device: torch.device
    clock: StageClock
    opened: Zoo
    question: Question
    plan: Plan
    divisions: Mapping[str, Division]
    copies: Copies | None = None
    beyond: Zoo | None = None

    @property
    def zoo(self) -> Zoo:
        """The adapters that the question is about, labelled by what is asked."""
        return self.question.zoo

    @property
    def split(self) -> Split:
        """The first split."""
        return self.divisions[""].split

    def checkpoints(self) -> Checkpoints:
        """The finished cells in the output folder."""
        config = self.config
        return Checkpoints(config.output_dir / CELLS, config, self.zoo, self.question.target, self.divisions, self.device)


def prepare(config: ExperimentConfig, zoo: Zoo | None = None, *, beyond: Zoo | None = None, anew: bool = False) -> Prepared:
    """Opens the zoo and makes plan and split; writes nothing.

    Args:
        zoo: one that is open already, instead of `config.dataset`, which is empty then.
        beyond: one that is open already, instead of `config.test_dataset`.
        anew: open the data set itself, whether or not its packed form is in the cache.
    """
    config = config.effective
    device = config.torch_device()
    clock = StageClock(device)
    with clock.stage("load"):
        opened, transfer = open_zoo(config, anew=anew) if zoo is None else zoo, None
        tested = beyond
        if beyond is None and config.test_dataset is not None:
            tested = open_zoo(replace(config, dataset=config.test_dataset), anew=anew)
        if tested is not None:
            opened, transfer = joined(config, opened, tested)
        question = question_of(config, opened, transfer)
        divisions = divisions_of(config, question)
        plan = _plan(config, question, divisions)
        refuse_ranks(question.zoo, plan.representations)
        for one in plan.cells:
            classifier, division = CLASSIFIERS[one.cell.classifier], divisions[one.cell.division]
            refuse_task(classifier, question.target)
            if one.features is not None:
                chosen_on = len(division.split.validation) if division.folds else 0  # which is learned from then
                classifier.refuse(len(division.split.train) + chosen_on, one.features)
    return Prepared(config, device, clock, opened, question, plan, divisions, beyond=beyond)


def _plan(config: ExperimentConfig, question: Question, divisions: Mapping[str, Division]) -> Plan:
    kinds = {name: one.kind for name, one in divisions.items()}
    return make_plan(config, question.zoo.layout, one_rank=question.zoo.ranks is None, divisions=kinds)


def settled(prepared: Prepared) -> Prepared:
    """What was prepared, its rows seen to be those that were packed, and divided anew where adapters are copies of each other:
    none stands on both sides.
    """
    prepared = _undamaged(prepared)
    if all(one.split.kind in ("zoo", "original", "tiny") for one in prepared.divisions.values()):
        return prepared
    config, question = prepared.config, prepared.question
    copies = copies_in(config, prepared.zoo)
    if not copies:
        return replace(prepared, copies=copies)
    divisions = divisions_of(config, question, copies.of)
    return replace(prepared, divisions=divisions, plan=_plan(config, question, divisions), copies=copies)


def _undamaged(prepared: Prepared) -> Prepared:
    """What was prepared; from the data set where its packed form in the cache is damaged."""
    zoo, config = prepared.zoo, prepared.config
    try:
        _ = zoo.fingerprint
    except DamagedError as error:
        packed = packed_path(config)
        promise = zoo.promise if zoo.original is None else zoo.original.promise
        if packed is None or promise is None or promise.path != str(packed):
            raise
        count_as_absent(packed, error.found)
        return replace(prepare(config, beyond=prepared.beyond, anew=True), clock=prepared.clock)
    return prepared
