"""What the columns of a table mean: read by the same grammar of names as the tensors of a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.names import MLX
from lora_perf.io.dialects import kinds
from lora_perf.io.dialects.kinds import is_part, refuse
from lora_perf.io.dialects.names import Part, parse_alpha, parse_part
from lora_perf.io.dialects.statements import scale_entries
from lora_perf.io.tables.nested import is_nested_float

# What a number beside the factors of a module is called that may multiply them.
_MULTIPLIERS = frozenset({"scale", "scaling", "scalar"})
# Entries in which libraries keep the names and types of the columns, also of those that are called after a scale.
_OF_LIBRARIES = frozenset({b"huggingface", b"pandas", b"org.apache.spark.sql.parquet.row.metadata"})
_BITS = {16: "bfloat16 or float16 kept as their bits", 8: "quantised or 8-bit weights"}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that hold adapters.

    Attributes:
        weights: of the factors, in the order of the table, with what each name means.
        alphas: `<module>.alpha`.
        others: columns of numbers, by their names of something that multiplies a module.
        left: other columns of lists of numbers, which are no part of the adapters.
        declared: the shape of one value of a weight column, where the schema declares one; None for an axis of any length.
        metadata: the schema's own entries that may state a rank or a scale.
    """

    weights: dict[str, Part]
    alphas: tuple[str, ...]
    others: tuple[str, ...]
    left: tuple[str, ...]
    declared: dict[str, tuple[int | None, ...]]
    metadata: dict[str, str]


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
    stated: dict[str, bytes] = {}
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
            if (own := field.metadata) is not None and b"shape" in own:
                stated[field.name] = own[b"shape"]
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
    own_metadata = schema.metadata or {}
    declared = _declared(own_metadata, weights, stated)
    metadata = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in own_metadata.items()
        if key not in _OF_LIBRARIES
    }
    return Columns(weights, tuple(alphas), tuple(others), tuple(left), declared, dict(scale_entries(metadata)))


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


def _declared(
    metadata: Mapping[bytes, bytes], names: Iterable[str], stated: Mapping[str, bytes]
) -> dict[str, tuple[int | None, ...]]:
    """The shapes that columns declare: those `stated` as `shape` in their own metadata, or Array2D to 5D of `datasets`."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        features = {}
    found = {}
    for name in names:
        try:
            if name in stated:
                shape = json.loads(stated[name])
            elif str(features[name]["_type"]).startswith("Array"):
                shape = features[name]["shape"]
            else:
                continue
            found[name] = tuple(None if size is None else int(size) for size in shape)
        except (KeyError, ValueError, TypeError):
            continue
    return found


def joined(parts: Sequence[tuple[str, Columns]]) -> Columns:
    """The columns of the tables of one zoo, in the order of the first."""
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
