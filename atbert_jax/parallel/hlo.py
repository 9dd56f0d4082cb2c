"""What a compiled program does, read off the text of its optimized HLO."""

import dataclasses
import math
import re

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}
COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) .*\{$")
INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%?(?P<name>[\w.\-]+) = (?P<result>.*?) (?P<kind>[a-z][\w\-]*)"
    r"\((?P<operands>[^)]*)\)(?P<rest>.*)"
)
ARRAY = re.compile(r"(\w+)\[([\d,]*)\](\{[^}]*\})?")
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
GROUPS = re.compile(r"replica_groups=(mesh\[.*?\] \{.*?\}|\S+)")
# Computations that run as often as the instruction that names them.
CALLED = re.compile(r"(?:body|to_apply)=%?([\w.\-]+)")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
# What names memory without moving it, or ends what a `-start` has begun.
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota"}
NESTING = {"while", "call"}
CONVOLUTIONS = ("conv_general_dilated", "__cudnn$conv")
ON_CHIP = "S(1)"  # a TPU's vector memory


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of an instruction's result.

    Attributes:
        dtype: As HLO spells it, `bf16`.
        shape: Of one device's part.
        layout: `{1,0:T(8,128)}`, or nothing.
    """

    dtype: str
    shape: tuple[int, ...]
    layout: str

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Without padding."""
        return BYTES.get(self.dtype, 4) * self.size


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of HLO.

    Attributes:
        name: Unique in the program.
        kind: `all-reduce`, `fusion`, `copy-start`.
        results: Arrays, those of a tuple one after the other.
        operands: Names of instructions.
        rest: Attributes, metadata and the backend's config.
    """

    name: str
    kind: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    rest: str


class Program:
    """An optimized module, one device's part of it.

    Args:
        text: `compiled.as_text()`.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.computations: dict[str, list[Instruction]] = {}
        self.entry = current = ""
        for line in text.splitlines():
            if found := INSTRUCTION.match(line):
                self.computations.setdefault(current, []).append(_instruction(found))
            elif found := COMPUTATION.match(line):
                current = found["name"]
                self.entry = current if found["entry"] else self.entry
        self.named = {x.name: x for x in self.instructions}

    @property
    def instructions(self) -> list[Instruction]:
        """Of all computations, those inside of fusions too."""
        return [x for instructions in self.computations.values() for x in instructions]

    def operands(self, instruction: Instruction) -> list[Array]:
        """The arrays that an instruction gets."""
        known = [self.named[name] for name in instruction.operands if name in self.named]
        return [array for x in known for array in x.results]

    def bytes_moved(self, computation: str | None = None) -> int:
        """What instructions read from a device's memory and write to it.

        Each reads what it is given and writes its result, as if nothing stayed in a cache; inside
        of a fusion nothing is moved. What a TPU holds in its vector memory is not counted.
        """
        total = 0
        for x in self.computations.get(computation or self.entry, ()):
            if x.kind in NESTING:
                times = int(found[1]) if (found := TRIPS.search(x.rest)) else 1
                total += times * sum(self.bytes_moved(name) for name in CALLED.findall(x.rest))
            elif x.kind not in FREE and not x.kind.endswith("-done"):
                # What only starts has its operands among its results.
                given = [] if x.kind.endswith("-start") else self.operands(x)
                arrays = [*x.results, *given]
                total += sum(array.bytes for array in arrays if ON_CHIP not in array.layout)
        return total

    def estimated_cycles(self, computation: str | None = None) -> int:
        """XLA's own estimate for a TPU; 0 where the compiler tells none."""
        total = 0
        for x in self.computations.get(computation or self.entry, ()):
            if x.kind in NESTING:
                times = int(found[1]) if (found := TRIPS.search(x.rest)) else 1
                total += times * sum(self.estimated_cycles(name) for name in CALLED.findall(x.rest))
            elif found := CYCLES.search(x.rest):
                total += int(found[1])
        return total

    def float32_convolutions(self) -> list[str]:
        """Names of those convolutions that get float32 alone."""
        found = []
        for x in self.instructions:
            if x.kind in ("convolution", "custom-call") and any(y in x.rest for y in CONVOLUTIONS):
                given = self.operands(x)[:2]
                if given and all(array.dtype == "f32" for array in given):
                    found.append(x.name)
        return found

    def gathered(self) -> list[Array]:
        """What all-gathers result in."""
        return [
            array
            for x in self.instructions
            if x.kind.removesuffix("-start") == "all-gather"
            for array in _received(x)
        ]

    def rounded_sums(self) -> list[Array]:
        """What devices add up in bfloat16."""
        return [
            array
            for x in self.instructions
            if x.kind.removesuffix("-start") in ("all-reduce", "reduce-scatter")
            for array in _received(x)
            if array.dtype == "bf16"
        ]

    def copies(self) -> list[Array]:
        """What is copied only to change its layout."""
        return [array for x in self.instructions if x.kind == "copy" for array in x.results]

    def donated(self) -> int:
        """How many arrays of the arguments are overwritten by results."""
        header = self.text.partition("\n")[0]
        return header.count("may-alias") + header.count("must-alias")

    def traffic(self, devices: int) -> dict[str, tuple[int, float]]:
        """What is sent between devices.

        Args:
            devices: How many the program runs on.

        Returns:
            By kind of collective: how many there are, and the bytes that each device sends in them
            if they go round a ring of their group of n: an all-reduce of b bytes sends
            2 b (n - 1) / n, an all-gather to b bytes b (n - 1) / n, a reduce-scatter to b bytes
            b (n - 1).
        """
        found: dict[str, tuple[int, float]] = {}
        for x in self.instructions:
            kind = x.kind.removesuffix("-start")
            if kind not in COLLECTIVES:
                continue
            groups = GROUPS.search(x.rest)
            group = _group_size(groups[1], devices) if groups else devices
            size = sum(array.bytes for array in _received(x))
            part = {"all-reduce": 2 * (group - 1) / group, "reduce-scatter": group - 1}
            count, total = found.get(kind, (0, 0.0))
            found[kind] = (count + 1, total + size * part.get(kind, (group - 1) / group))
        return found


def _instruction(found: re.Match) -> Instruction:
    results = tuple(
        Array(dtype, tuple(int(n) for n in shape.split(",") if n), layout)
        for dtype, shape, layout in ARRAY.findall(found["result"])
    )
    operands = tuple(re.findall(r"%([\w.\-]+)", found["operands"]))
    return Instruction(found["name"], found["kind"], results, operands, found["rest"])


def _received(instruction: Instruction) -> tuple[Array, ...]:
    """A collective's results; one that only starts has its operands before them."""
    if not instruction.kind.endswith("-start") or instruction.kind == "all-reduce-start":
        return instruction.results
    count = len(instruction.operands)
    return instruction.results[count : 2 * count]


def _group_size(groups: str, devices: int) -> int:
    """Of `{{0,1},{2,3}}`, `[2,4]<=[8]`, `mesh['a'=2,'b'=4] {'b'}`, or of nothing, which is all."""
    if groups.startswith("mesh"):
        mesh, _, axes = groups.partition("] ")
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh)}
        return math.prod(sizes[name] for name in re.findall(r"'(\w+)'", axes))
    if found := re.match(r"\[\d+,(\d+)\]", groups):
        return int(found[1])
    if found := re.match(r"\{\{([\d,]+)\}", groups):
        return len(found[1].split(","))
    return devices
