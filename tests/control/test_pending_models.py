"""A model that could not be judged, or has no canary yet, is looked at again when that may have changed."""

from collections.abc import Mapping

from control.jobs.model_news import BenchmarkResult, CanaryUptake, WatchMemory, look_at

NEW = WatchMemory(unmeasured=("p/new",))
SHIPS = BenchmarkResult(says="says ship", verdict="ship")
OPEN = BenchmarkResult(says="too few examples", verdict="extend", waits=True)
BUSY = CanaryUptake(says="trial is running", waits=True)


class ScriptedTrial:
    """A trial that answers what the test says, and counts the benchmarks."""

    def __init__(self, result: BenchmarkResult, uptake: CanaryUptake | None = None) -> None:
        self.result, self.uptake, self.benchmarks = result, uptake, 0
        self.parts: dict[str, str] = {"datasets": "1", "current model": "p/old"}

    def basis(self, model: str) -> Mapping[str, str]:
        return dict(self.parts)

    def benchmark(self, model: str) -> BenchmarkResult:
        self.benchmarks += 1
        return self.result

    def take_up(self, model: str) -> CanaryUptake | None:
        return self.uptake


def looked(
    memory: WatchMemory, trial: ScriptedTrial, now: float = 0.0, wanted: bool = True
) -> tuple[WatchMemory, list[str]]:
    """The memory after one look, and what was told."""
    told = []
    for after, _, found in look_at(memory, trial, wanted=lambda name: wanted, now=lambda: now):
        memory = after
        told += [found.says] if found is not None else []
    return memory, told


def test_an_open_model_waits_untold_until_its_datasets_change() -> None:
    trial = ScriptedTrial(OPEN)
    memory, told = looked(NEW, trial)
    assert (told, memory.pending["p/new"].why) == (["too few examples"], "too few examples")
    assert looked(memory, trial, now=1e9) == (memory, [])
    trial.parts["datasets"], trial.result = "2", SHIPS
    memory, told = looked(memory, trial)
    assert (told, memory.pending, trial.benchmarks) == (["says ship"], {}, 2)


def test_a_refused_model_is_done_with() -> None:
    trial = ScriptedTrial(BenchmarkResult(says="says don't ship", verdict="dont_ship"))
    memory, _ = looked(NEW, trial)
    trial.parts["datasets"] = "2"
    assert looked(memory, trial) == (WatchMemory(), [])


def test_a_model_that_passed_is_taken_up_when_the_canary_ends_without_another_benchmark() -> None:
    trial = ScriptedTrial(SHIPS, BUSY)
    memory, told = looked(NEW, trial)
    assert (told, memory.pending["p/new"].passed) == (["says ship; trial is running"], True)
    assert looked(memory, trial) == (memory, [])
    trial.uptake = CanaryUptake(says="trial is paused", waits=True)
    memory, told = looked(memory, trial)
    assert (told, memory.pending["p/new"].why) == ([], "trial is paused")
    trial.uptake = CanaryUptake(says="trial-new is in the file", waits=False)
    memory, told = looked(memory, trial)
    assert told == ["its benchmark said ship; trial-new is in the file"]
    assert (memory.pending, trial.benchmarks) == ({}, 1)


def test_a_model_that_passed_is_benchmarked_against_the_new_current_model() -> None:
    trial = ScriptedTrial(SHIPS, BUSY)
    memory, _ = looked(NEW, trial)
    trial.parts["current model"], trial.uptake = "p/promoted", CanaryUptake(says="trial-new", waits=False)
    assert looked(memory, trial) == (WatchMemory(), ["says ship; trial-new"])
    assert trial.benchmarks == 2


def test_what_cannot_run_is_told_once_and_tried_again_later() -> None:
    trial = ScriptedTrial(BenchmarkResult(says="no answer", verdict=None, waits=True))
    memory, told = looked(NEW, trial)
    assert told == ["no answer"]
    assert looked(memory, trial, now=3599.0) == (memory, [])
    memory, told = looked(memory, trial, now=3600.0)
    assert (told, trial.benchmarks) == ([], 2)
    trial.result = SHIPS
    assert looked(memory, trial, now=1e6) == (WatchMemory(), ["says ship"])


def test_models_that_the_flags_leave_out_stay_as_they_are() -> None:
    trial = ScriptedTrial(SHIPS)
    assert looked(NEW, trial, wanted=False) == (NEW, [])
    assert trial.benchmarks == 0
