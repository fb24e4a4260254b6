# SPDX-License-Identifier: GPL-3.0-or-later
"""What practice advises against, and what cures it, each in a function of the run: what is to be
said of it ("" for nothing), and the changes that may help, best first. advice.py pairs
them; docs/schedule_rules.md says where they come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from ..model_info.names import is_of_lightx2v
from ..model_info.traits import KINDS
from .noise import unshift
from .presets import Changes
from .run import ScheduledRun, short_name
from .stages import StageSteps

_LAYOUT = 0.875  # above this noise level motion and layout are made: Wan 2.2's boundary
_TOLERANCE = 2.5  # a shift this many times off its recommended value is worth a word
_FAST, _FAST_LIMIT = 6, 12  # steps of a step-distilled run: what is advised, and what is too many
_SLOW, _SLOW_LIMIT = 20, 10  # of any other: what is advised, and what is too few
_LITTLE = 1e-6  # of a step


def known_shifts(run: ScheduledRun) -> dict[str, float]:
    """Who uses which shift for this kind of model at this size, the first being recommended; {}
    where no one is known to."""
    traits = run.traits
    small = run.width * run.height <= 832 * 480
    if run.fast:
        ours = all(is_of_lightx2v(run.fast_file(span)) for span in run.fast)
        return {"lightx2v's step-distilled files": 5.0} if ours else {}
    if traits.shift is not None:
        return {"this model's folder": traits.shift}
    return KINDS[traits.kind].shifts(traits.boundary, small)


def _guided(run: ScheduledRun) -> list[StageSteps]:
    return [span for span in run.fast if span.guidance > 1]


def guided_though_distilled(run: ScheduledRun) -> str:
    spans = _guided(run)
    if not spans:
        return ""
    guidance = " and ".join(dict.fromkeys(f"{span.guidance:g}" for span in spans))
    part = len(spans) < len(run.spans)
    where = f" for {run.name(spans)}" if part else ""
    return (
        f"Guidance is {guidance}{where} with {_fast_files(run, spans)}. It is built into such "
        "files: more of it burns the picture and doubles the time."
        + " Set it to 1, or leave the LoRA out there."
        * part
    )


def unguided(run: ScheduledRun) -> Iterator[Changes]:
    """The run's where all that follow it are step-distilled, and else that of the stages."""
    spans = _guided(run)
    shared = [span for span in run.spans if span.stage.guidance < 0]
    fix: Changes = {}
    if shared and all(span in spans for span in shared):
        fix["sampling.guidance"] = 1.0
        spans = [span for span in spans if span not in shared]
    yield fix | (run.change(spans, lambda span: {"guidance": 1.0}) if spans else {})


def _fast_files(run: ScheduledRun, spans: list[StageSteps]) -> str:
    first, *more = dict.fromkeys(short_name(run.fast_file(span)) for span in spans)
    return first + f" and {len(more)} more" * bool(more) + ", step-distilled by name"


def slow_though_distilled(run: ScheduledRun) -> str:
    have, share = _count(run.fast), run.share(run.fast)
    if have <= max(_FAST_LIMIT * share, 2 * len(run.fast)) + _LITTLE:
        return ""
    part = len(run.fast) < len(run.spans)
    where = f" of {run.steps} for {run.name(run.fast)}" if part else ""
    here = f" in a whole run, {_even(8, share)} there" if part else ""
    return (
        f"{have} steps{where} with {_fast_files(run, run.fast)}: such files are made for 4 to "
        f"8{here}."
    )


def fewer_steps(run: ScheduledRun) -> Iterator[Changes]:
    if len(run.fast) == len(run.spans) and run.follows_schedule:
        yield {"sampling.steps": _FAST}
    if not run.sampling.sigmas:
        yield run.with_steps(
            run.fast, lambda span: min(span.stop - span.start, _even(_FAST, run.share([span])))
        )


def _even(steps: int, share: float) -> int:
    """Of ``steps`` in a whole run, those of a part of it: two at least."""
    return max(round(steps * share), 2)


def _count(spans: Iterable[StageSteps]) -> int:
    return sum(span.stop - span.start for span in spans)


def few_steps(run: ScheduledRun) -> str:
    have = _count(run.slow)
    if run.traits.latent_channels < 16 or run.spans[-1] not in run.slow:
        return ""  # the last part makes the detail, and those before it may be rough
    if have >= _SLOW_LIMIT * run.share(run.slow) - _LITTLE:
        return ""
    if len(run.slow) == len(run.spans):
        return (
            f"{have} step{'s leave' if have > 1 else ' leaves'} the result blurred without a "
            "step-distill LoRA, and by name there is none. Add one, or take more steps."
        )
    return (
        f"{have} of {run.steps} steps for {run.name(run.slow)} leave the result blurred without a "
        "step-distill LoRA, and by name there is none for it. Add one, or take more steps."
    )


def more_steps(run: ScheduledRun) -> Iterator[Changes]:
    """With guidance where it is off, as it is for a step-distill LoRA."""
    guidance = 5.0 if run.traits.boundary is None else 3.5
    if len(run.slow) == len(run.spans) and run.follows_schedule:
        off = run.sampling.guidance <= 1
        yield {"sampling.steps": _SLOW} | ({"sampling.guidance": guidance} if off else {})
    if not run.sampling.sigmas:
        longer = run.after(
            run.with_steps(
                run.slow, lambda span: max(span.stop - span.start, _even(_SLOW, run.share([span])))
            )
        )
        without = [span for span in longer.slow if span.guidance <= 1]
        yield longer.change(without, lambda span: {"guidance": guidance})


def few_decisions(run: ScheduledRun) -> str:
    edge, have = run.traits.boundary, _count(run.of_expert("high"))
    if edge is None or run.sampling.strength < 1 or run.steps < 2 or have >= 2:
        return ""
    if run.stages and not run.follows_schedule:
        advice = "Give its stage more steps."
    elif run.sampling.sigmas:
        advice = "Begin with more noise levels above it."
    else:
        advice = "Raise the shift or take more steps."
    return (
        f"Only {have} of {run.steps} steps are the high-noise expert's, which makes motion and "
        f"layout above the boundary {edge:g}. {advice}"
    )


def more_decisions(run: ScheduledRun) -> Iterator[Changes]:
    edge, high = run.traits.boundary, run.of_expert("high")
    if edge is None:
        return
    if run.follows_schedule:
        needed = run.shift_at(edge, 1)
        if needed <= 16:
            yield {"sampling.shift": _half_above(needed)}
    if run.stages and high and not run.sampling.sigmas:
        yield _longer(run, high[-1], 2 - _count(high))
    if run.follows_schedule:
        time = unshift(edge, run.sampling.shift)  # even: the second step begins at 1 - 1/steps
        yield {"sampling.steps": math.ceil(1 / (1 - time)) + 1}


def wasted_above(run: ScheduledRun) -> str:
    edge, high, low = run.traits.boundary, run.of_expert("high"), run.of_expert("low")
    if edge is None or run.steps < 4 or _count(high) <= 0.75 * run.steps:
        return ""
    if low and _are_fast(run, low) and not _are_fast(run, high):
        return ""  # which need fewer
    if run.stages and not run.follows_schedule:
        advice = "Give its stage more steps."
    else:
        advice = (
            "End with more noise levels below it." if run.sampling.sigmas else "Lower the shift."
        )
    return (
        f"{_count(high)} of {run.steps} steps are the high-noise expert's, above the boundary "
        f"{edge:g}; the low-noise expert is left with {_count(low)} for all detail. {advice}"
    )


def more_below(run: ScheduledRun) -> Iterator[Changes]:
    high, low = run.of_expert("high"), run.of_expert("low")
    edge = run.traits.boundary
    if run.follows_schedule and edge is not None:
        most = run.shift_at(edge, int(0.75 * run.steps))
        yield from ({"sampling.shift": best} for best in list(known_shifts(run).values())[:1])
        yield {"sampling.shift": max(math.ceil(most * 2 - 1 - _LITTLE) / 2, 0.5)}
    if run.stages and low and not run.sampling.sigmas:
        yield _longer(run, low[-1], math.ceil(_count(high) / 3) - _count(low))


def _are_fast(run: ScheduledRun, spans: list[StageSteps]) -> bool:
    return all(span in run.fast for span in spans)


def _longer(run: ScheduledRun, span: StageSteps, steps: int) -> Changes:
    return run.change([span], lambda span: {"steps": span.stop - span.start + steps})


def _half_above(shift: float) -> float:
    return math.floor(max(shift, 1.0) * 2 + 1) / 2


def odd_shift(run: ScheduledRun) -> str:
    known, have = known_shifts(run), run.sampling.shift
    if run.sampling.sigmas or run.sampling.strength < 1 or not known:
        return ""
    low, high = min(known.values()) / _TOLERANCE, max(known.values()) * _TOLERANCE
    if low <= have <= high:
        return ""
    whose = [f"{value:g} of {name}" for name, value in known.items()]
    words = ", ".join(whose[:-1]) + " and " * (len(whose) > 1) + whose[-1]
    side = "Motion and layout get few steps" if have < low else "Detail gets few steps"
    return f"Shift {have:g} is far from the {words} at {run.width}x{run.height}. {side}."


def nearest_shift(run: ScheduledRun) -> Iterator[Changes]:
    known, have = known_shifts(run).values(), run.sampling.shift
    yield {"sampling.shift": min(known, key=lambda shift: abs(math.log(shift / have)))}


def long_first_step(run: ScheduledRun) -> str:
    """What few decisions are to a pair of experts, a first step too long is to a single model."""
    one = run.traits.boundary is None and run.traits.latent_channels >= 16
    if not one or run.sampling.strength < 1 or run.steps < 3 or run.plan.sigmas[1] >= _LAYOUT:
        return ""
    return (
        f"The first of {run.steps} steps ends at noise level {run.plan.sigmas[1]:.2f}: motion and "
        f"layout, which are made above {_LAYOUT:g}, get this one step. Raise the shift or take "
        "more steps."
    )


def shorter_first_step(run: ScheduledRun) -> Iterator[Changes]:
    needed = run.shift_at(_LAYOUT, 1)
    if not run.sampling.sigmas and not run.stages and needed <= 16:
        yield {"sampling.shift": _half_above(needed)}


def odd_size(run: ScheduledRun) -> str:
    multiple = run.multiple
    if run.width % multiple == run.height % multiple == 0:
        return ""
    to = [-(-side // multiple) * multiple for side in (run.width, run.height)]
    return (
        f"{run.width}x{run.height} is not a multiple of {multiple}, which this model needs. "
        f"The picture is padded to {to[0]}x{to[1]} and cut again."
    )


def even_size(run: ScheduledRun) -> Iterator[Changes]:
    yield {"region.pixels": math.prod(run.nearest_size)}


def too_long(run: ScheduledRun) -> str:
    limit = run.traits.native_frames
    if run.frames <= limit:
        return ""
    return (
        f"{run.frames} frames at once are more than the {limit} this model was trained on: the "
        "motion tends to loop back. Use windows of what it knows, or split the shot."
    )


def in_windows(run: ScheduledRun) -> Iterator[Changes]:
    yield {"windows.frames": 0}
