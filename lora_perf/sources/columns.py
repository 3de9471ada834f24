"""What the columns of a table mean: read by the same grammar of names as the tensors of a file."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import pyarrow as pa

from lora_perf.dialects import TensorEntry, kinds, read_names
from lora_perf.dialects.kinds import refuse
from lora_perf.dialects.leftovers import is_part
from lora_perf.dialects.names import Part, parse_alpha, parse_part, settle
from lora_perf.dialects.schema import Pair
from lora_perf.dialects.statements import read_statements
from lora_perf.errors import LoraPerfError, listed
from lora_perf.layout import Layout
from lora_perf.names import MLX
from lora_perf.sources.nested import is_nested_float

Shape = tuple[int, ...]
_log = logging.getLogger(__name__)

# The entries of a schema's metadata that may state a rank or a scale; others differ from shard to shard as they like.
_STATEMENT = re.compile(r"alpha|rank|lora|network|^r$", re.IGNORECASE)
# What a number beside the factors of a module is called that may multiply them.
_MULTIPLIERS = frozenset({"scale", "scaling", "scalar"})
_BITS = {16: "bfloat16 or float16 kept as their bits", 8: "quantised or 8-bit weights"}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that hold adapters.

    Attributes:
        weights: of the factors, in the order of the table, with what each name means.
        alphas: `<module>.alpha`.
        others: columns of numbers, by their names of something that multiplies a module.
        declared: the shape of one value of a weight column, where the schema declares one; None for an axis of any length.
        metadata: the schema's own entries that may state a rank or a scale.
    """

    weights: dict[str, Part]
    alphas: tuple[str, ...]
    others: tuple[str, ...]
    declared: dict[str, tuple[int | None, ...]]
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Meaning:
    """The layout of a table's adapters.

    Attributes:
        layout: the layers in the order of their columns, named as in a folder of the same adapters.
        columns: the column of each layer.
        pairs: the factors of each of `layout.modules`.
        stated: whether the metadata give scales.
    """

    layout: Layout
    columns: tuple[str, ...]
    pairs: tuple[Pair, ...]
    stated: bool


def is_weight(name: str) -> bool:
    """Whether a column holds a factor, by its name."""
    return parse_part(name) is not None


def read_columns(schema: pa.Schema) -> Columns:
    """What the columns of a table are, by their names and types.

    Raises:
        LoraPerfError: no weight column, one twice, one of another type than lists of floats; a kind of adapter that is no
            product s B A; weights whose names are no factors.
    """
    weights: dict[str, Part] = {}
    alphas: list[str] = []
    left: list[str] = []
    others: list[str] = []
    try:
        counts = Counter(schema.names)
    except UnicodeDecodeError as error:
        raise LoraPerfError(
            expected="names of columns in UTF-8", found=str(error), fix="write or fetch the data set again"
        ) from None
    for field in schema:
        part = parse_part(field.name)
        if part is not None and part.dialect == MLX:
            raise LoraPerfError(
                expected="columns of factors that are A (r, k) and B (m, r)",
                found=f"{field.name}, which MLX stores transposed",
                fix="transpose them and name them <module>.lora_A.weight and <module>.lora_B.weight",
            )
        if part is not None:
            if not is_nested_float(field.type):
                raise _no_floats(field)
            weights[field.name] = part
        elif parse_alpha(field.name) is not None:
            alphas.append(field.name)
        elif is_nested_float(field.type):
            left.append(field.name)
        elif field.name.rpartition(".")[2] in _MULTIPLIERS and _is_number(field.type):
            others.append(field.name)
    repeated = [name for name in [*weights, *alphas] if counts[name] > 1]
    if repeated:
        raise LoraPerfError(
            expected="weight columns of different names",
            found=f"{listed(dict.fromkeys(repeated))} repeated",
            fix="remove the repeated columns",
        )
    refuse(kinds(left), "the names of its columns")
    unknown = [name for name in left if is_part(name)]
    if unknown:
        raise LoraPerfError(
            expected="columns of weights whose names end in .lora.down.weight and .lora.up.weight, or as other libraries do",
            found=f"{len(unknown)} of unknown names: {listed(unknown, 3)}",
            fix="rename them, or leave the columns out if they are no part of the adapters",
        )
    if not weights:
        raise _no_weights(schema)
    declared = _declared(schema, weights)
    metadata = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in (schema.metadata or {}).items()}
    return Columns(
        weights, tuple(alphas), tuple(others), declared, {key: metadata[key] for key in metadata if _STATEMENT.search(key)}
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _no_floats(field: pa.Field) -> LoraPerfError:
    kind, lists = field.type, 0
    while not isinstance(kind, pa.BaseExtensionType) and hasattr(kind, "value_type") and not pa.types.is_dictionary(kind):
        kind, lists = kind.value_type, lists + 1
    found = f"type {field.type}"
    fix = "store the weights as nested lists or Array2D, or leave the column out"
    if lists and pa.types.is_integer(kind):
        found += f" ({_BITS.get(kind.bit_width, 'whole numbers')})"
        fix = "convert them to float32 with their scale where they have one, or leave the column out"
    elif lists and pa.types.is_decimal(kind):
        fix = "convert the decimals to float32, or leave the column out"
    return LoraPerfError(expected=f"lists of float16, float32 or float64 in column {field.name}", found=found, fix=fix)


def _no_weights(schema: pa.Schema) -> LoraPerfError:
    flat = [field.name for field in schema if is_nested_float(field.type)]
    single = [field.name for field in schema if pa.types.is_floating(field.type)]
    if flat or len(single) > 100:
        names = f"{listed(flat, 3)}, {'lists' if len(flat) == 1 else 'each lists'} of numbers" if flat else ""
        return LoraPerfError(
            expected="a column for each factor, such as unet.<module>.lora.down.weight",
            found=names or f"{len(single)} columns of single numbers ({listed(single, 3)})",
            fix="cut them into the matrices of their layers, one column each: a flat row does not say which numbers belong "
            "to which layer (in Python: Zoo.from_rows(rows, Layout([(name, shape), ...]), labels, classes))",
        )
    return LoraPerfError(
        expected="weight columns such as unet.<module>.lora.down.weight",
        found=f"only {listed(schema.names) or 'no columns'}",
        fix="check that this is a data set of LoRA adapters and rename its columns",
    )


def _declared(schema: pa.Schema, names: Iterable[str]) -> dict[str, tuple[int | None, ...]]:
    """The shapes that columns declare: `shape` of their own metadata, or those of Array2D to 5D of `datasets`."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        features = {}
    found = {}
    for name in names:
        try:
            own = schema.field(name).metadata
            if own is not None and b"shape" in own:
                shape = json.loads(own[b"shape"])
            elif str(features[name]["_type"]).startswith("Array"):
                shape = features[name]["shape"]
            else:
                continue
            found[name] = tuple(None if size is None else int(size) for size in shape)
        except (KeyError, ValueError, TypeError):
            continue
    return found


def meaning_of(columns: Columns, shapes: Mapping[str, Shape], where: str) -> Meaning:
    """The layout of adapters of these columns, whose values have these shapes.

    Raises:
        LoraPerfError: factors that make no product, an alpha of no module, and what `read_names` refuses.
    """
    try:
        return _meaning(columns, {name: _as_declared(name, shapes[name], columns) for name in columns.weights}, where)
    except LoraPerfError as error:
        raise LoraPerfError(
            expected=f"{error.expected}, among the columns of {where}", found=error.found, fix=error.fix
        ) from None


def _meaning(columns: Columns, shapes: dict[str, Shape], where: str) -> Meaning:
    matrices = _matrices(columns.weights, shapes, where)
    complete = settle(part.module for part in columns.weights.values())
    places = {name: (complete(part.module), part.side) for name, part in columns.weights.items()}
    pairs: tuple[Pair, ...] = ()
    if any(count > 1 for count in Counter((part.dialect, part.shared) for part in columns.weights.values()).values()):
        entries = {name: TensorEntry("F32", shape) for name, shape in matrices.items()}
        entries |= {name: TensorEntry("F32", (1,)) for name in (*columns.alphas, *columns.others)}
        reading = read_names(entries, columns.metadata)
        pairs = reading.pairs
        if reading.unsupported:
            raise LoraPerfError(
                expected="nothing of the update besides factors and their alphas",
                found=f"columns whose meaning nothing defines: {listed(reading.unsupported, 3)}",
                fix="leave the columns out, or rename them if they are no part of the adapters",
            )
        for note in (*reading.notes, *reading.problems):
            _log.warning("%s: %s", where, note)
        if reading.unpaired:
            _log.warning(
                "%s: %d factors without partner, so without dW: %s", where, len(reading.unpaired), listed(reading.unpaired, 3)
            )
    used = {pair.alpha for pair in pairs}
    unused = [name for name in columns.alphas if name not in used]
    if unused:
        raise LoraPerfError(
            expected="a down and an up of the module of each alpha column",
            found=f"{len(unused)} of no such module: {listed(unused, 3)}",
            fix="rename the column if it is no alpha, or leave it out",
        )
    flat: dict[str, Shape] = {name: (shape[0], prod(shape[1:])) for name, shape in matrices.items()}
    for pair in pairs:
        places[pair.down], places[pair.up] = (pair.module, "down"), (pair.module, "up")
        flat[pair.down], flat[pair.up] = pair.down_shape, pair.up_shape
    layout = Layout((f"{places[name][0]}.lora.{places[name][1]}.weight", flat[name]) for name in columns.weights)
    by_module = {pair.module: pair for pair in pairs}
    return Meaning(
        layout,
        tuple(columns.weights),
        tuple(by_module[module.name] for module in layout.modules),
        _states_scales(columns.metadata),
    )


def _states_scales(metadata: Mapping[str, str]) -> bool:
    stated = read_statements(metadata)
    return bool(stated.recipes or stated.others or stated.kohya)


def _as_declared(name: str, shape: Shape, columns: Columns) -> Shape:
    """The shape of a value, that of a flat vector by what its column declares."""
    declared = columns.declared.get(name)
    if declared is None:
        return shape
    if len(shape) == len(declared) and all(a == b or b is None for a, b in zip(shape, declared, strict=True)):
        return shape
    whole = tuple(size for size in declared if size is not None)
    if len(shape) == 1 and len(whole) == len(declared) and prod(whole) == shape[0]:
        return whole
    raise LoraPerfError(
        expected=f"values of the declared shape {declared} in column {name}",
        found=f"shape {shape}",
        fix="repair the data set: what its schema declares is not what it holds",
    )


def _matrices(weights: Mapping[str, Part], shapes: Mapping[str, Shape], where: str) -> dict[str, Shape]:
    """The shapes with at least two axes: a flat vector has the rank of its partner, and rank 1 where that is flat too."""
    sides: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name, part in weights.items():
        sides[part.dialect, part.shared][part.side] = name
    found: dict[str, Shape] = {}
    alone = 0
    for pair in sides.values():
        rank = 1
        for side, name in pair.items():
            if len(shapes[name]) > 1:
                rank = shapes[name][0 if side == "down" else 1]
        for side, name in pair.items():
            shape = shapes[name]
            if len(shape) == 1:
                alone += all(len(shapes[other]) == 1 for other in pair.values())
                if shape[0] % rank:
                    raise LoraPerfError(
                        expected=f"a vector of rank {rank} times a width in column {name}, as its partner is of rank {rank}",
                        found=f"{shape[0]} numbers",
                        fix="repair the data set: the two are not factors of one update",
                    )
                shape = (rank, shape[0] // rank) if side == "down" else (shape[0] // rank, rank)
            found[name] = shape
    if alone:
        _log.warning("%s: %d columns of flat vectors, which declare no shape, are taken as factors of rank 1", where, alone)
    return {name: found[name] for name in weights}


def joined(parts: Sequence[tuple[str, Columns]]) -> Columns:
    """The columns of the tables of one zoo, in the order of the first.

    Raises:
        LoraPerfError: they differ in what they hold or state; the table is named.
    """
    first, columns = parts[0]
    declared = dict(columns.declared)
    for where, other in parts[1:]:
        common = declared.keys() & other.declared.keys()
        for what, same in (
            ("weight columns", columns.weights == other.weights),
            ("alpha columns", set(columns.alphas) == set(other.alphas)),
            ("declared shapes", all(declared[name] == other.declared[name] for name in common)),
            ("stated ranks and scales", columns.metadata == other.metadata),
        ):
            if not same:
                raise LoraPerfError(
                    expected=f"the {what} of {first} in every shard", found=f"others in {where}", fix="make the shards agree"
                )
        declared |= other.declared
    return replace(columns, declared=declared)
