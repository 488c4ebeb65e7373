# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A network's step as C99 source that needs the standard library alone.

Weights are constant arrays, with the weights of an input side by side, so that the code runs
through the inputs and adds a row where there is a spike. Each statement of a neuron computes what
``models.dynamics.naive`` computes, in the same order. Delays are a ring of currents that are due.
"""

import re
import textwrap
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from analysis.deploy.c_text import CODE, FIXED, HEADER, NEURONS, SOFTMAX, resetting
from analysis.deploy.one_step import SPIKES, LayerStep, Line, OneStep
from analysis.deploy.weights import NIBBLE, Weights, pack
from training.errors import ExperimentError

WIDTH, INDENT = 100, "    "  # columns of the text


def check_source(network: OneStep) -> None:
    """ExperimentError for what C code is not written for."""
    for layer in network.layers:
        if layer.norm is not None:
            raise ExperimentError(
                "layer normalisation is not exported to C: .onnx and .pt2 files have it, and "
                "batchnorm is folded into the weights"
            )
        if getattr(layer, "taps", None) is not None:
            raise ExperimentError(
                "recurrent delays are not exported to C: .onnx and .pt2 files have them as a state"
            )


def identifier(stem: str) -> str:
    """A name in C for a file of that name."""
    name = re.sub(r"\W", "_", stem, flags=re.ASCII).lower()
    return name if name[:1].isalpha() else f"network_{name}"


def literal(value: float) -> str:
    """A float32 that the compiler reads back to the last bit."""
    text = f"{value:.9g}"
    return f"{text}f" if re.search(r"[.e]", text) else f"{text}.0f"


@dataclass
class Array:
    """A constant array: its type, name and values."""

    kind: str
    name: str
    values: Tensor

    def text(self) -> str:
        """Its definition."""
        write = literal if self.kind == "float" else str
        shape = "".join(f"[{size}]" for size in self.values.shape)
        rows = self.values.reshape(-1, self.values.shape[-1]).tolist()
        rows = [", ".join(map(write, row)) for row in rows]
        rows = rows if self.values.ndim == 1 else [f"{{{row}}}" for row in rows]
        fill = partial(textwrap.fill, width=WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
        filled = map(fill, rows)
        return f"static const {self.kind} {self.name}{shape} = {{\n" + ",\n".join(filled) + "\n};\n"


class Source:
    """C source of ``network`` under a ``name``, its identifiers' prefix.

    ``facts`` are told in a comment. ``header`` is what a program includes, ``code`` the rest, whose
    functions begin with ``linkage``.
    """

    def __init__(self, network: OneStep, name: str, facts: dict):
        check_source(network)
        self.network, self.name, self.facts = network, name, facts
        self.fixed = network.fraction_bits
        self.arrays: list[Array] = []
        self.fields: list[str] = []  # of the struct
        self.starts: list[str] = []  # of states that do not start at 0
        self.body: list[str] = []
        self.say(f"float value[{network.classes}];")
        given, size, spikes = "frame", network.inputs, False
        for label, layer in zip(network.names, network.layers, strict=True):
            self.layer(label, layer, given, size, spikes)
            given, size, spikes = f"state->{label}_{SPIKES}", layer.size, True
        self.scores()

    def array(self, kind: str, name: str, values: Tensor) -> str:
        """Add a constant array; its name in C."""
        self.arrays.append(Array(kind, f"{self.name}_{name}", values))
        return self.arrays[-1].name

    def coefficient(self, name: str, value: Tensor | float) -> str:
        """What stands for a coefficient of neuron j."""
        values = torch.as_tensor(value, dtype=torch.float32).reshape(-1)
        if (values == values[0]).all():
            return literal(values[0].item())
        return f"{self.array('float', name, values)}[j]"

    def say(self, text: str, depth: int = 1) -> None:
        """Add lines to the step."""
        self.body += textwrap.indent(textwrap.dedent(text).strip("\n"), "    " * depth).splitlines()

    def layer(self, label: str, layer: nn.Module, given: str, size: int, spikes: bool) -> None:
        """Weights, delays and neurons of a layer."""
        H = layer.size
        self.say(f"\n/* {label}: {size} -> {H} */\n{{")
        current = self.product(label, layer.weights, given, size, spikes, layer.line)
        if isinstance(layer, LayerStep) and layer.recurrent is not None:
            before = f"state->{label}_{SPIKES}"
            back = self.product(f"{label}_recurrent", layer.recurrent, before, H, True, None)
            current = f"{current} + {back}"
        self.say(f"for (int j = 0; j < {H}; j++) {{\n    const float I = {current};", 2)
        if isinstance(layer, LayerStep):
            self.neurons(label, layer)
        else:
            decay = self.coefficient(f"{label}_decay", layer.decay)
            self.update(label, ["u"], H, f"u = {decay} * u + (1.0f - {decay}) * I;")
        if label == self.network.names[-1]:
            self.say(f"value[j] = {SPIKES if self.network.of_spikes else 'u'};", 3)
        self.say("}", 2)
        self.say("}")

    def product(
        self, label: str, weights: Weights, given: str, size: int, spikes: bool, line: Line | None
    ) -> str:
        """Add the products of weights and inputs; what stands for that of neuron j."""
        H, rows = weights.shape[0], weights.rows().detach().T
        packed = weights.bits is not None and weights.bits <= NIBBLE
        kind = "float" if weights.bits is None else "uint8_t" if packed else "int8_t"
        values = rows if kind == "float" else pack(rows, weights.bits)
        name = self.array(kind, f"{label}_weight", values)
        weight = f"{name}[i][j]"
        if packed:
            weight = f"(({name}[i][j / 2] >> 4 * (j % 2) & 15) - 8)"
        whole = spikes and weights.bits is not None  # sums of whole numbers
        number, zero = ("int32_t", "0") if whole else ("float", "0.0f")
        sums = "returned" if label.endswith("_recurrent") else "sums"
        target, add = f"{sums}[j]", weight if spikes else f"{given}[i] * {weight}"
        if line is None:
            self.say(f"{number} {sums}[{H}] = {{{zero}}};", 2)
        else:
            when = f"(state->{label}_at + {self.delay(label, line)}) % {line.length + 1}"
            target = f"state->{label}_due[{when}][j]"
            self.fields += [f"{number} {label}_due[{line.length + 1}][{H}];", f"int {label}_at;"]
        self.say(
            f"""
            for (int i = 0; i < {size}; i++)
                if ({given}[i] != {"0" if spikes else "0.0f"})
                    for (int j = 0; j < {H}; j++)
                        {target} += {add};
            """,
            2,
        )
        found = target
        if line is not None:
            self.say(
                f"""
                {number} {sums}[{H}];
                for (int j = 0; j < {H}; j++) {{
                    {sums}[j] = state->{label}_due[state->{label}_at][j];
                    state->{label}_due[state->{label}_at][j] = {zero};
                }}
                state->{label}_at = (state->{label}_at + 1) % {line.length + 1};
                """,
                2,
            )
            found = f"{sums}[j]"
        if weights.factor is not None:
            found = f"{'(float)' if whole else ''}{found}"
            found += f" * {self.coefficient(f'{label}_factor', weights.factor)}"
        if weights.bias is not None:
            found += f" + {self.coefficient(f'{label}_bias', weights.bias)}"
        return found

    def delay(self, label: str, line: Line) -> str:
        """What stands for the delay from input i to neuron j."""
        delays = line.length - line.index
        delays = delays.T if line.kind == "synaptic" else delays
        name = self.array("uint16_t", f"{label}_delay", delays)
        return name + {"axonal": "[i]", "dendritic": "[j]", "synaptic": "[i][j]"}[line.kind]

    def neurons(self, label: str, layer: LayerStep) -> None:
        """The equations of a layer's neurons."""
        neurons, kind = layer.neurons, getattr(layer.neurons, "operation", "resonate")
        if kind == "resetting":
            text = resetting(neurons.form, neurons.adapts)
        else:
            text = NEURONS[kind, getattr(neurons, "adapts", getattr(neurons, "inside", False))]
        names = set(re.findall(r"{(\w+)}", text))
        form = getattr(neurons, "form", {})
        values = {name: form[name] if name in form else getattr(neurons, name) for name in names}
        values = {n: self.coefficient(f"{label}_{n}", v) for n, v in sorted(values.items())}
        self.update(label, list(neurons.fields), layer.size, text.format(**values))

    def update(self, label: str, fields: list[str], size: int, text: str) -> None:
        """Read the states of neuron j, change them by ``text``, and write them back."""
        held = [field for field in fields if field != SPIKES]
        for field in fields:
            kind = "uint8_t" if field == SPIKES else "float" if self.fixed is None else "int16_t"
            self.fields.append(f"{kind} {label}_{field}[{size}];")
            value = f"state->{label}_{field}[j]"
            loaded = f"{self.name}_load({value})" if self.fixed and field in held else value
            self.say(f"float {field} = {loaded};", 3)
        self.say(text, 3)
        for field in fields:
            stored = "(uint8_t)s" if field == SPIKES else field
            stored = f"{self.name}_store({field})" if self.fixed and field in held else stored
            self.say(f"state->{label}_{field}[j] = {stored};", 3)

    def scores(self) -> None:
        """What the output neurons make of the classes."""
        network, C = self.network, self.network.classes
        self.fields.append(f"float scores[{C}]; /* of the classes, for a clip that ends here */")
        self.say("/* scores */\n{")
        if network.readout == "softmax_sum":
            self.say(SOFTMAX.format(C=C), 2)
        total = "total" if network.readout == "mean" else "scores"
        if network.readout == "mean":
            self.fields.append(f"float total[{C}];")
        old = f"state->{total}[j]"
        if network.readout == "last":
            new = "value[j]"
        elif network.readout == "max":
            new = f"{old} > value[j] ? {old} : value[j]"
            self.starts.append(f"for (int j = 0; j < {C}; j++)\n    state->scores[j] = -INFINITY;")
        else:
            new = f"{old} + value[j]"
        if network.first and network.readout != "last":
            new = f"state->steps <= {network.first} ? value[j] : ({new})"
        self.say(f"for (int j = 0; j < {C}; j++) {{\n    {old} = {new};", 2)
        if network.counts:
            self.fields.append("int steps;")
        if network.readout == "mean":
            count = f"(state->steps + 1 - {network.first})"
            count = f"(state->steps < {network.first} ? 1 : {count})"
            self.say(f"state->scores[j] = {old} / (float){count};", 3)
        self.say("}", 2)
        if network.counts:
            self.say("state->steps++;", 2)
        self.say("}")

    @property
    def header(self) -> str:
        """Types and declarations."""
        name, guard = self.name, f"{self.name.upper()}_H"
        facts = [f"{key}: {value}" for key, value in self.facts.items() if key != "classes"]
        facts = [line.replace("*/", "* /") for line in facts]
        facts = [
            textwrap.fill(line, WIDTH - 3, initial_indent=" * ", subsequent_indent=" *   ")
            for line in facts
        ]
        fields = "\n".join(f"    {field}" for field in self.fields)
        classes = self.network.classes
        return HEADER.format(
            name=name, NAME=name.upper(), guard=guard, facts="\n".join(facts), fields=fields,
            inputs=self.network.inputs, classes=classes,
        )  # fmt: skip

    def code(self, constant: str = "", function: str = "") -> str:
        """Constants and functions, with the linkage of what a program sees of both."""
        names = ",\n".join(f'    "{escaped(name)}"' for name in self.facts["classes"])
        fixed = ""
        if self.fixed:
            unit, scale = literal(2.0**-self.fixed), literal(2.0**self.fixed)
            fixed = FIXED.format(name=self.name, unit=unit, scale=scale)
        return CODE.format(
            name=self.name,
            NAME=self.name.upper(),
            constant=constant,
            function=function,
            arrays="\n".join(array.text() for array in self.arrays),
            fixed=fixed,
            names=names,
            starts="\n".join(textwrap.indent(start, "    ") for start in self.starts),
            body="\n".join(self.body),
        )


def escaped(text: str) -> str:
    """A name within a string of C."""
    unsafe = {*b'"\\?', *range(32), *range(127, 256)}
    return "".join(f"\\{x:03o}" if x in unsafe else chr(x) for x in text.encode())
