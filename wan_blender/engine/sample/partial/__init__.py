# SPDX-License-Identifier: GPL-3.0-or-later
"""Model calls that compute only the tokens that matter at a step.

The background of a masked run is held to the source, so its tokens are only context: their keys and
values change slowly from step to step and can be kept. A pass over rows computes the tokens that
are generated, a ring around them and a few canaries, which look at all the kept keys and values.
Full passes renew them. To the sampler all of this is a model with the transformer's signature.

    tokens   which tokens a pass computes, in which order
    refresh  step -> full pass, rows, or nothing computed at all
    plan     both for a whole run, and what it saves
    slab     kept keys and values
    forward  a model call over rows; the one file that knows the inside of diffusers' models
    passes   the run's model calls
"""
