"""Files that PEFT and diffusers themselves wrote: s B A must be the update that the library applies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lora_perf.io.dialects import TensorEntry, read_names
from tests.io.dialects.written import assert_same, lora_layers, products, read, saved, updates

peft = pytest.importorskip("peft")

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


class Net(nn.Module):
    """Linear maps and a convolution under names in which a pattern can fit one and not another."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({"q_proj": nn.Linear(6, 5), "up": nn.Linear(5, 7)}) for _ in range(3)])
        self.conv = nn.Conv2d(3, 4, kernel_size=3)


# PEFT


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize(
    "patterns",
    [
        {},
        {"rank_pattern": {"layers.1.q_proj": 2, "conv": 3}, "alpha_pattern": {"q_proj": 9}},
        {"rank_pattern": {r"^layers\.2\.up": 1}, "alpha_pattern": {r".*\.[02]\.up": 3, "up": 5}},
    ],
    ids=["plain", "names", "expressions"],
)
def test_a_file_of_peft_means_the_updates_of_peft(patterns: dict[str, Any], rslora: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=4, lora_alpha=6, use_rslora=rslora, target_modules=["q_proj", "up", "conv"], init_lora_weights=False, **patterns
    )
    model = peft.get_peft_model(Net().double(), config)
    reading, found, expected = saved(model, tmp_path)
    assert (reading.dialect, reading.rslora, reading.notes, reading.other, reading.unpaired) == ("peft", rslora, (), (), ())
    assert_same(found, expected)


def test_a_dora_of_peft_is_refused_by_its_names_alone(tmp_path: Path) -> None:
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], use_dora=True)
    peft.get_peft_model(Net(), config).save_pretrained(tmp_path)
    with pytest.raises(Exception, match="found DoRA in the names of its tensors"):
        read(tmp_path / "adapter_model.safetensors")


@pytest.mark.parametrize(
    "option", ["use_dora", "use_qalora", "use_bdlora", "kasa_config", "monteclora_config", "target_parameters"]
)
def test_the_options_that_are_refused_are_options_of_peft(option: str) -> None:
    known = peft.LoraConfig.__dataclass_fields__
    if option not in known:
        pytest.skip(f"PEFT {peft.__version__} has no {option}")
    assert not peft.LoraConfig().to_dict()[option]


# diffusers


@pytest.fixture
def unet() -> Any:
    """A UNet of two levels with random LoRA factors on its attention, one module of another rank and alpha."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(4, 8),
        layers_per_block=1,
        cross_attention_dim=6,
        attention_head_dim=2,
        norm_num_groups=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).double()
    unet.add_adapter(
        peft.LoraConfig(
            r=3,
            lora_alpha=6,
            target_modules=[*ATTENTION, "conv1"],
            rank_pattern={"mid_block.attentions.0.transformer_blocks.0.attn1.to_q": 2},
            alpha_pattern={"attn2.to_v": 1.5},
            init_lora_weights=False,
        )
    )
    return unet


def unet_updates(unet: nn.Module) -> dict[str, Tensor]:
    return {f"unet.{name}": update for name, update in updates(unet).items()}


def by_pipeline(folder: Path, *, metadata: bool = True, **models: Any) -> Path:
    """The file that a pipeline writes of the adapters of some models."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers

    given = {}
    for name, model in models.items():
        given[f"{name}_lora_layers"] = convert_state_dict_to_diffusers(peft.get_peft_model_state_dict(model))
        if metadata:
            given[f"{name}_lora_adapter_metadata"] = model.peft_config["default"].to_dict()
    StableDiffusionPipeline.save_lora_weights(folder, **given)
    return folder / "pytorch_lora_weights.safetensors"


def test_a_file_of_a_pipeline_means_the_updates_by_its_metadata(unet: Any, tmp_path: Path) -> None:
    reading, found = read(by_pipeline(tmp_path, unet=unet))
    assert (reading.other, reading.unpaired) == ((), ())
    assert_same(found, unet_updates(unet))


def test_a_file_of_a_model_of_its_own_means_the_updates_by_its_metadata(unet: Any, tmp_path: Path) -> None:
    unet.save_lora_adapter(tmp_path)
    reading, found = read(tmp_path / "pytorch_lora_weights.safetensors")
    assert (reading.dialect, reading.notes) == ("diffusers-new", ())
    assert_same(found, unet_updates(unet))


def test_a_file_of_a_pipeline_without_metadata_has_scale_one_as_diffusers_loads_it(unet: Any, tmp_path: Path) -> None:
    from diffusers import __version__

    file = by_pipeline(tmp_path, metadata=False, unet=unet)
    if tuple(map(int, __version__.split(".")[:2])) < (0, 42):
        pytest.skip(f"diffusers {__version__} gives modules of another rank another scale than 1 (0.39 does, 0.42 does not)")
    unet.delete_adapters("default")
    unet.load_lora_adapter(file, prefix="unet")
    assert_same(read(file)[1], unet_updates(unet))


# PEFT before 0.21 asks the Hub for the configuration of a model of no name, and says that it found none.
@pytest.mark.filterwarnings("ignore:Could not find a config file in")
def test_a_text_encoder_beside_the_unet_keeps_its_own_scale(unet: Any, tmp_path: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    encoder = CLIPTextModelWithProjection(
        CLIPTextConfig(vocab_size=8, hidden_size=4, intermediate_size=6, num_hidden_layers=1, num_attention_heads=2)
    ).double()
    config = peft.LoraConfig(r=2, lora_alpha=7, target_modules=["q_proj", "out_proj", "fc1"], init_lora_weights=False)
    try:
        encoder.add_adapter(config)
    except ValueError as error:
        if "version of PEFT" not in str(error):
            raise
        pytest.skip(f"this transformers refuses this PEFT: {error}")  # transformers 5.24 asks for one that is not released
    _, found = read(by_pipeline(tmp_path, unet=unet, text_encoder=encoder))
    assert_same(found, {**unet_updates(unet), **{f"text_encoder.{name}": update for name, update in updates(encoder).items()}})


def test_a_kohya_file_means_what_diffusers_makes_of_it(unet: Any) -> None:
    from diffusers import StableDiffusionPipeline

    maps = {name: layer for name, layer in lora_layers(unet).items() if "attn" in name}
    unet.delete_adapters("default")
    torch.manual_seed(1)
    tensors: dict[str, Tensor] = {}
    for index, (module, layer) in enumerate(maps.items()):
        stem, rank = "lora_unet_" + module.replace(".", "_"), 2 + index % 2
        tensors[f"{stem}.lora_down.weight"] = torch.randn(rank, layer.in_features, dtype=torch.float64)
        tensors[f"{stem}.lora_up.weight"] = torch.randn(layer.out_features, rank, dtype=torch.float64)
        # One alpha for all: diffusers 0.42 loses those of attention modules that differ from the most frequent one.
        tensors[f"{stem}.alpha"] = torch.tensor(5.0)
    reading = read_names({name: TensorEntry("F64", tuple(tensor.shape)) for name, tensor in tensors.items()})
    state, alphas = StableDiffusionPipeline.lora_state_dict(dict(tensors))
    StableDiffusionPipeline.load_lora_into_unet(state, alphas, unet)
    assert (reading.dialect, reading.unknown, reading.other) == ("kohya", (), ())
    assert_same(products(reading, tensors), unet_updates(unet))


def test_the_old_names_that_diffusers_makes_of_a_kohya_file_mean_the_same(unet: Any) -> None:
    from diffusers import StableDiffusionPipeline, __version__

    if tuple(map(int, __version__.split(".")[:2])) < (0, 42):
        pytest.skip(f"diffusers {__version__} makes unet.conv.in of conv_in (0.37 does, 0.42 does not)")
    unet.delete_adapters("default")
    maps = {name: module for name, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    torch.manual_seed(1)
    tensors: dict[str, Tensor] = {}
    for index, (module, layer) in enumerate(maps.items()):
        stem = "lora_unet_" + module.replace(".base_layer", "").replace(".", "_")
        kernel = layer.weight.shape[2:]
        tensors[f"{stem}.lora_down.weight"] = torch.randn(2, layer.weight.shape[1], *kernel)
        tensors[f"{stem}.lora_up.weight"] = torch.randn(layer.weight.shape[0], 2, *(1 for _ in kernel))
        tensors[f"{stem}.alpha"] = torch.tensor(1.0 + index)
    state, alphas = StableDiffusionPipeline.lora_state_dict(dict(tensors))
    converted = {**state, **{name: torch.tensor(alpha) for name, alpha in alphas.items()}}
    reading = read_names({name: TensorEntry("F32", tuple(tensor.shape)) for name, tensor in converted.items()})
    original = read_names({name: TensorEntry("F32", tuple(tensor.shape)) for name, tensor in tensors.items()})
    assert (original.dialect, original.unknown, reading.other) == ("kohya", (), ())
    assert {parts.split()[0] for parts in reading.notes[0].removeprefix("modules by dialect: ").split(", ")} == {
        "diffusers",
        "diffusers-old",
    }
    expected, found = products(original, tensors), products(reading, converted)
    assert sorted(found) == sorted(expected)
    for module, update in expected.items():
        assert_close(found[module], update)


class Experts(nn.Module):
    """The experts of a layer, each weight of them in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(4, 6, 10))
        self.down_proj = nn.Parameter(torch.randn(4, 5, 6))


class Mixed(nn.Module):
    """What PEFT adapts besides linear maps."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = Experts()
        self.q = nn.Linear(6, 6)
        self.emb = nn.Embedding(11, 6)
        self.conv1 = nn.Conv1d(3, 4, 3)
        self.head = nn.Linear(6, 2)


def test_an_embedding_of_peft_is_the_map_of_one_hot_rows(tmp_path: Path) -> None:
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["emb", "q", "conv1"], init_lora_weights=False)
    model = peft.get_peft_model(Mixed().double(), config)
    reading, found, expected = saved(model, tmp_path)
    assert (reading.notes, reading.problems, reading.unsupported, reading.other) == ((), (), (), ())
    expected["emb"] = expected["emb"].T
    assert_same(found, expected)


@pytest.mark.filterwarnings("ignore:Unsupported layer type")  # of PEFT before 0.21
@pytest.mark.parametrize("parameters", [["experts.gate_up_proj"], ["experts.gate_up_proj", "experts.down_proj"]], ids=len)
def test_experts_of_peft_are_refused_without_their_configuration(parameters: list[str], tmp_path: Path) -> None:
    if "target_parameters" not in peft.LoraConfig.__dataclass_fields__:
        pytest.skip(f"PEFT {peft.__version__} has no target_parameters")
    config = peft.LoraConfig(r=2, target_modules=["q"], target_parameters=parameters, init_lora_weights=False)
    peft.get_peft_model(Mixed(), config).save_pretrained(tmp_path)
    with pytest.raises(Exception, match=r"found LoRA of the experts of a layer \(target_parameters\) in the names of its"):
        read(tmp_path / "adapter_model.safetensors")


@pytest.mark.filterwarnings("ignore:Adapter 'default'")  # PEFT takes the bias for a shard
@pytest.mark.parametrize(
    ("options", "extra"),
    [
        ({"lora_bias": True}, "base_model.model.q.lora_B.bias"),
        ({"modules_to_save": ["head"]}, "base_model.model.head.weight"),
        ({"trainable_token_indices": {"emb": [1, 2]}}, "base_model.model.emb.token_adapter.trainable_tokens_delta"),
    ],
)
def test_true_extras_of_peft_leave_the_update_whole(options: dict[str, Any], extra: str, tmp_path: Path) -> None:
    if not options.keys() <= peft.LoraConfig.__dataclass_fields__.keys():
        pytest.skip(f"PEFT {peft.__version__} has no {next(iter(options))}")
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q"], init_lora_weights=False, **options)
    model = peft.get_peft_model(Mixed().double(), config)
    reading, found, expected = saved(model, tmp_path)
    assert extra in reading.other
    assert (reading.unsupported, reading.problems) == ((), ())
    assert_same(found, expected)
