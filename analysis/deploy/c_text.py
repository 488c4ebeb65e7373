# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The C that every exported network has in common, and the equations of its neurons."""

# What happens to neuron j behind its current I. Words in {} are coefficients; u, w, s and the like
# are the neuron's states, in and out, all of them float.
NEURONS = {
    ("adaptive", False): """
        u = {alpha} * (u - s) + (1.0f - {alpha}) * I;
        s = u - {theta} > 0.0f;
    """,
    ("adaptive", True): """
        w = {beta} * w + {a} * u + {b} * s;
        u = {alpha} * (u - s) + (1.0f - {alpha}) * (I - w);
        s = u - {theta} > 0.0f;
    """,
    ("resonate", True): """
        const float x = re - {reset} * s;
        re = {A_re} * x - {A_im} * im + {gain} * I;
        im = {A_re} * im + {A_im} * x;
        s = {scale} * re - {theta} > 0.0f;
    """,
    ("resonate", False): """
        const float x = {A_re} * re - {A_im} * im;
        im = im + {gain} * ({A_re} * im + {A_im} * re);
        re = re + {gain} * (x + I) - {reset} * s;
        s = {scale} * re - {theta} > 0.0f;
    """,
    ("balanced", False): """
        const float turn = {step} * {omega}, growth = {step} * ({damping} - q), before = u;
        u = u + (growth * u - turn * v + {step} * I);
        v = v + (turn * before + growth * v);
        s = u - {theta} - q > 0.0f;
        q = {decay} * q + s;
    """,
}


def resetting(form: dict, adapts: bool) -> str:
    """The statements of ``naive.resetting``."""
    drift = "{a} * u + {b} * s"
    current = "(I - w)" if adapts else "I"
    current = f"(1.0f - {{alpha}}) * {current}" if form.get("scales", True) else current
    lines = [f"const float fired = {{alpha}} * u + {current};"]
    symplectic = form.get("symplectic", True)
    if adapts and not symplectic:
        lines.insert(0, f"const float drift = {drift};")
    lines.append("s = fired - {theta} > 0.0f;")
    hard = form.get("hard", True)
    lines.append("u = fired * (1.0f - s);" if hard else "u = fired - s * {theta};")
    if adapts:
        lines.append(f"w = {{beta}} * w + ({drift});" if symplectic else "w = {beta} * w + drift;")
    return "\n".join(lines)


SOFTMAX = """
float top = value[0], sum = 0.0f;
for (int j = 1; j < {C}; j++)
    top = value[j] > top ? value[j] : top;
for (int j = 0; j < {C}; j++)
    sum += value[j] = expf(value[j] - top);
for (int j = 0; j < {C}; j++)
    value[j] /= sum;
"""

HEADER = """\
/* A spiking network, written by Sprache.
{facts}
 *
 * Usage:
 *     static {name}_state state;
 *     {name}_reset(&state);                    at the start of a clip
 *     {name}_step(&state, frame);              once a time step
 *     {name}_class(&state), state.scores       whenever they are wanted
 */
#ifndef {guard}
#define {guard}

#include <stdint.h>

#define {NAME}_INPUTS {inputs}
#define {NAME}_CLASSES {classes}

typedef struct {{
{fields}
}} {name}_state;
"""

DECLARATIONS = """
extern const char *const {name}_names[{NAME}_CLASSES];
void {name}_reset({name}_state *state);
void {name}_step({name}_state *state, const float *frame);
int {name}_class(const {name}_state *state);
"""

FIXED = """
/* States in fixed point: rounded to the nearest, halves to even, and cut off at the ends. */
static inline float {name}_load(int16_t held)
{{
    return (float)held * {unit};
}}

static inline int16_t {name}_store(float value)
{{
    const float held = rintf(value * {scale});
    return (int16_t)(held > 32767.0f ? 32767.0f : held < -32768.0f ? -32768.0f : held);
}}
"""

CODE = """\
#include <math.h>
#include <string.h>

{arrays}{fixed}
/* The classes, in the order of the scores. */
{constant}const char *const {name}_names[{NAME}_CLASSES] = {{
{names}
}};

/* Zero states, as before the first step of a clip. */
{function}void {name}_reset({name}_state *state)
{{
    memset(state, 0, sizeof *state);
{starts}
}}

/* One time step with {NAME}_INPUTS numbers. */
{function}void {name}_step({name}_state *state, const float *frame)
{{
{body}
}}

/* The class with the highest score so far. */
{function}int {name}_class(const {name}_state *state)
{{
    int best = 0;
    for (int j = 1; j < {NAME}_CLASSES; j++)
        best = state->scores[j] > state->scores[best] ? j : best;
    return best;
}}
"""

# Reads the numbers of clips and steps, and the frames; writes the spikes of all steps, and then
# the scores of all clips.
MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include "{header}"

int main(void)
{{
    static {name}_state state;
    static float frame[{NAME}_INPUTS];
    int32_t sizes[2];
    if (fread(sizes, sizeof sizes, 1, stdin) != 1)
        return 1;
    float *scores = malloc((size_t)sizes[0] * sizeof state.scores);
    if (scores == NULL)
        return 1;
    for (int32_t clip = 0; clip < sizes[0]; clip++) {{
        {name}_reset(&state);
        for (int32_t t = 0; t < sizes[1]; t++) {{
            if (fread(frame, sizeof frame, 1, stdin) != 1)
                return 1;
            {name}_step(&state, frame);
{show}
        }}
        for (int j = 0; j < {NAME}_CLASSES; j++)
            scores[clip * {NAME}_CLASSES + j] = state.scores[j];
    }}
    fwrite(scores, sizeof state.scores, (size_t)sizes[0], stdout);
    free(scores);
    return {name}_class(&state) < 0 || {name}_names[0] == NULL;
}}
"""
