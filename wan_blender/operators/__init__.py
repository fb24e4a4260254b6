# SPDX-License-Identifier: GPL-3.0-or-later
"""What a click does, one file a subject; ``wan.verb_noun`` is the class WAN_OT_verb_noun."""

from . import batch, engine, generate, jobs, matrix, matte, models, settings, shot

CLASSES = (
    *shot.CLASSES,
    *matte.CLASSES,
    *generate.CLASSES,
    *jobs.CLASSES,
    *batch.CLASSES,
    *engine.CLASSES,
    *models.CLASSES,
    *settings.CLASSES,
    *matrix.CLASSES,
)
