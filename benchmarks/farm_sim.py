# SPDX-License-Identifier: GPL-3.0-or-later
"""A farm on paper: the real scheduling code of farm/order.py against a clock that only counts.

    python -m benchmarks.farm_sim [--quick]

Assumptions, all printed: six models of 28 GB; runs of 20 to 600 s, even in their logarithm; eight
seeds of each shot; an encoded shot saves the next seed of it 8 s; storage is one pipe that all who
load share evenly; a preempted engine comes back empty after 60 s and its job is run again.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from wan_blender.farm.order import Queue, Warmth, Work

MODELS, MODEL_GB = 6, 28.0
RUN_S = (20.0, 600.0)
SEEDS, ENCODE_S, START_S, BACK_S = 8, 8.0, 10.0, 60.0
NVME_GB_S, PIPE_GB_S = 3.0, 3.1  # each machine's own disk; 25 GbE for all together
PREEMPTED_EVERY_S = 4 * 3600.0


@dataclass
class Result:
    utilisation: float  # share of the engines' time that was spent on runs that ended well
    hours: float
    loads: int
    lost: int
    take_ms: float  # median of one decision


def make_work(count: int, seed: int = 0) -> list[Work]:
    rng = random.Random(seed)
    work = []
    for shot in range(-(-count // SEEDS)):
        model = f"model{rng.randrange(MODELS)}"
        cost = RUN_S[0] * (RUN_S[1] / RUN_S[0]) ** rng.random()
        work += [Work(f"{shot}-{n}", model, str(shot), cost) for n in range(SEEDS)]
    rng.shuffle(work)
    return work[:count]


class FirstCome:
    """The order a plain list has, with engines as warm as ours."""

    def __init__(self) -> None:
        self._work: list[Work] = []

    def __len__(self) -> int:
        return len(self._work)

    def add(self, work: Work) -> None:
        self._work.insert(0, work)

    def take(
        self, warmth: Warmth, held: Counter[str] | None = None, loading: int = 0
    ) -> Work | None:
        return self._work.pop() if self._work else None


class Pipe:
    """Storage that ``users`` share evenly: what is left of each load shrinks by its share of the
    rate. ``own`` storage gives each the whole rate."""

    def __init__(self, rate_gb_s: float, own: bool) -> None:
        self.rate, self.own = rate_gb_s, own
        self.left: dict[int, float] = {}
        self.now = 0.0

    def advance(self, now: float) -> None:
        share = self.rate if self.own else self.rate / max(1, len(self.left))
        for engine in self.left:
            self.left[engine] -= (now - self.now) * share
        self.now = now

    def next_end(self) -> tuple[float, int] | None:
        if not self.left:
            return None
        engine = min(self.left, key=self.left.__getitem__)
        share = self.rate if self.own else self.rate / len(self.left)
        return self.now + max(0.0, self.left[engine]) / share, engine


class Farm:
    """Engines that run the work of ``queue`` to its end. ``warm`` ones keep their model and shot
    from job to job; ``preempted`` ones are taken away now and then."""

    def __init__(
        self, queue: Queue | FirstCome, engines: int, pipe: Pipe, preempted: bool, warm: bool
    ) -> None:
        self.queue, self.engines, self.pipe = queue, engines, pipe
        self.preempted, self.warm = preempted, warm
        self.random = random.Random(1)
        self.warmth = {engine: Warmth() for engine in range(engines)}
        self.running: dict[int, Work] = {}
        self.held: Counter[str] = Counter()
        self.idle: set[int] = set()
        self.stamp = [0] * engines  # events of an engine that was taken away since mean nothing
        self.events: list[tuple[float, int, str, int]] = []
        self.now = self.useful_s = 0.0
        self.done = self.loads = self.lost = 0
        self.times: list[float] = []

    def run(self, work: list[Work]) -> Result:
        for one in work:
            self.queue.add(one)
        for engine in range(self.engines):
            self.plan_preemption(engine)
            self.give(engine)
        while self.done < len(work):
            load = self.pipe.next_end()
            if load and (not self.events or load[0] <= self.events[0][0]):
                self.now = load[0]
                self.pipe.advance(self.now)
                del self.pipe.left[load[1]]
                self.begin(load[1])
                self.ask_idle()
            else:
                self.step(*heapq.heappop(self.events))
        utilisation = self.useful_s / (self.engines * self.now)
        median_ms = statistics.median(self.times) * 1e3
        return Result(utilisation, self.now / 3600, self.loads, self.lost, median_ms)

    def step(self, now: float, engine: int, kind: str, stamp: int) -> None:
        self.now = now
        self.pipe.advance(now)
        if stamp != self.stamp[engine]:
            return
        if kind == "done":
            self.useful_s += self.running.pop(engine).cost_s
            self.done += 1
        if kind == "preempt":
            self.preempt(engine)
        else:
            self.give(engine)

    def push(self, after_s: float, kind: str, engine: int) -> None:
        heapq.heappush(self.events, (self.now + after_s, engine, kind, self.stamp[engine]))

    def give(self, engine: int) -> None:
        began = time.perf_counter()
        one = self.queue.take(self.warmth[engine], self.held, len(self.pipe.left))
        self.times.append(time.perf_counter() - began)
        if one is None:
            self.idle.add(engine)
            return
        self.idle.discard(engine)
        self.running[engine] = one
        if self.warm and self.warmth[engine].model == one.model:
            self.begin(engine)
            return
        self.loads += 1
        self.forget(engine)
        self.held[one.model] += 1
        self.warmth[engine] = Warmth(one.model)
        self.pipe.left[engine] = MODEL_GB

    def begin(self, engine: int) -> None:
        one = self.running[engine]
        known = self.warm and self.warmth[engine].shot == one.shot
        self.warmth[engine] = Warmth(one.model, one.shot)
        beside_s = (0 if known else ENCODE_S) + (0 if self.warm else START_S)
        self.push(one.cost_s + beside_s, "done", engine)

    def forget(self, engine: int) -> None:
        if self.warmth[engine].model:
            self.held[self.warmth[engine].model] -= 1
        self.warmth[engine] = Warmth()

    def plan_preemption(self, engine: int, after_s: float = 0.0) -> None:
        if self.preempted:
            wait_s = self.random.expovariate(1 / PREEMPTED_EVERY_S)
            self.push(after_s + wait_s, "preempt", engine)

    def preempt(self, engine: int) -> None:
        self.stamp[engine] += 1
        self.pipe.left.pop(engine, None)
        if engine in self.running:
            self.queue.add(self.running.pop(engine))
            self.lost += 1
        self.forget(engine)
        self.idle.discard(engine)
        self.push(BACK_S, "back", engine)
        self.plan_preemption(engine, BACK_S)
        self.ask_idle()

    def ask_idle(self) -> None:
        """Until one of them gets nothing: then the others would not either."""
        for engine in list(self.idle):
            self.give(engine)
            if engine in self.idle:
                return


def rows(quick: bool) -> Iterator[str]:
    sizes = [(1_000, 100), (10_000, 100), (1_000, 1_000), (10_000, 1_000)]
    for count, engines in sizes[: 1 if quick else None]:
        for storage, rate, own in (("NVMe", NVME_GB_S, True), ("25 GbE", PIPE_GB_S, False)):
            for preempted in (False, True):
                cells = []
                for queue, warm in (
                    (FirstCome(), False),
                    (FirstCome(), True),
                    (Queue(MODEL_GB / rate, share=not own), True),
                ):
                    farm = Farm(queue, engines, Pipe(rate, own), preempted, warm)
                    found = farm.run(make_work(count))
                    cells.append(f"{found.utilisation:.3f} {found.hours:5.2f} h {found.loads:6d}")
                kind = "preempted" if preempted else "steady"
                yield (
                    f"{count:6,} jobs {engines:5,} GPUs  {storage:6}  {kind:9}  "
                    f"{'   '.join(cells)}   {found.take_ms:.3f} ms"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 jobs on 100 GPUs alone")
    options = parser.parse_args()
    print(__doc__.partition("Assumptions")[2].join(["Assumptions", ""]).strip())
    print("utilisation, hours, loads of: a process for each job   warm, first come   warm, ours   "
          "median decision")  # fmt: skip
    for row in rows(options.quick):
        print(row, flush=True)


if __name__ == "__main__":
    main()
