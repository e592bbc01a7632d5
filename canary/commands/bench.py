"""`canary bench MODEL`: compares a new model with the current one on the same examples."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from canary.commands import shell
from canary.commands.issues import rechecked
from canary.config import Config
from common.clock import rfc3339
from common.numbers import count

if TYPE_CHECKING:
    from bench.answers.results import SavedAnswers
    from bench.benchmark.comparison import Comparison
    from bench.benchmark.replay import ReplaySteps
    from bench.benchmark.run import BenchmarkRun
    from bench.dataset.file import Dataset
    from bench.models.asker import ProxyRoute
    from bench.models.pair import ModelPair
    from bench.settings import BenchSettings, DatasetSource
    from canary.commands.report import ReportOutput
    from judge.benchmark import JudgedBench
    from records.store.benchmarks import FailureRow


QUICK = 20
INTERRUPTED = 130
_LOOK_S = 2.0
_CHARACTERS_OF_A_TOKEN = 4


def bench(
    at: shell.Local,
    model: Annotated[str | None, typer.Argument(help="The new model: MODEL or PROVIDER/MODEL.")] = None,
    against: Annotated[
        str | None, typer.Option(help="The current model. Default: the canary's baseline.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="A dataset of the config, or a file. Default: all in the config.")
    ] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Measure only the current model.")] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Use 20 examples of each dataset, as a sanity check; never says ship."),
    ] = False,
    at_once: Annotated[int, typer.Option(min=1, max=256, help="The number of concurrent requests.")] = 4,
    batch: Annotated[
        bool,
        typer.Option(
            "--batch", help="Ask by the providers' batches: half the price, within a day, not timed."
        ),
    ] = False,
    judge: Annotated[
        bool,
        typer.Option("--judge", help="Let the config's judge compare both models' answers. Decides nothing."),
    ] = False,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Compare what both models do next at the steps of captured sessions. Runs no tool.",
        ),
    ] = False,
    sessions: Annotated[
        int | None, typer.Option(min=1, help="With --replay: the newest sessions. Default: 50.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="With --replay: the most steps of each. Default: 8.")
    ] = None,
    failures: Annotated[Path | None, typer.Option(help="A CSV file to write the wrong answers to.")] = None,
    report: Annotated[
        str | None,
        typer.Option(
            help="A file (.html, .md, .json) for the one report of all four layers, or for the replay."
        ),
    ] = None,
) -> None:
    """Compare a new model with the current one on the same examples.

    Exits 0 for ship, 3 for don't ship, 4 if the data is not enough to decide: by the verdict of the release,
    which counts the model's canaries too. A replay exits 3 or 0: it can only speak against a model.
    """
    from bench.benchmark.comparison import failures as failures_of
    from bench.benchmark.replay import SOURCE, without_rows
    from bench.dataset.sample import part_of
    from bench.models.pair import AmbiguousModel
    from bench.models.pair import pair as pair_of
    from canary.commands.bench_archive import (
        release_of,
        settings_now,
        with_verdict,
        write_failures,
        write_report,
    )
    from pages.reports.bench import sanity

    if model is None and not dry:
        shell.fail("name the new model, or use --dry to measure only the current model", code=2)
    if judge and dry:
        shell.fail("--judge compares two models; --dry measures only the current one", code=2)
    if replay and dataset:
        shell.fail("--replay asks the steps of captured sessions; leave out --dataset", code=2)
    if not replay and (sessions or steps):
        shell.fail("--sessions and --steps are about --replay", code=2)
    written = _report_file(report, dry=dry and not replay, partial=bool(dataset or quick) and not replay)
    read = at.read()
    settings = settings_now(read, at.data)
    with shell.ended_by(AmbiguousModel, code=2):
        pair = pair_of(settings, model, against)
    if dry:
        pair = replace(pair, candidate=None)
    taken = _steps(read, pair, at.data, sessions=sessions, steps=steps, quick=quick) if replay else None
    if taken is not None:
        settings, datasets = without_rows(settings), [(SOURCE, taken.dataset)]
    else:
        datasets = _datasets(settings, at.config, dataset or [])
        if quick:
            datasets = [(source, part_of(each, QUICK)) for source, each in datasets]
    document, found, judged = measure(
        settings, pair, datasets, data=at.data, at_once=at_once, progress=progress(), batch=batch, judge=judge
    )
    wrong = failures_of(found, {} if judged is None else judged.answers)
    if taken is not None:
        if failures is not None:
            write_failures(failures, wrong)
        raise typer.Exit(_tell(taken, found, document, at.output, written))
    began = time.perf_counter()
    asked = pair.candidate
    document["issues"] = rechecked(read, at.config, asked.name, at.data) if asked is not None else None
    if document["issues"] is not None:
        document["stages"]["known issues"] = round(time.perf_counter() - began, 3)
    document["sanity"] = sanity(document) if quick and pair.candidate is not None else None
    document |= _saved(read, pair, document, found, wrong, at.data, whole=not (dataset or quick))
    if failures is not None:
        write_failures(failures, wrong)
    if dry or dataset or quick:  # no verdict on the model, or only on a part of the examples
        _print(document, at.output)
        raise typer.Exit(0 if found.verdict is None else shell.VERDICT_EXITS[found.verdict])
    release = release_of(read, document, at.data)
    _print(with_verdict(document, release), at.output)
    if written is not None:
        write_report(release, written)
    raise typer.Exit(shell.VERDICT_EXITS[release.verdict or "extend"])


def _steps(
    config: Config, pair: "ModelPair", data: Path, *, sessions: int | None, steps: int | None, quick: bool
) -> "ReplaySteps":
    """The steps of the current model's captured sessions, QUICK of them if it is to be `quick`. Exits 1 where
    there is none."""
    from bench.benchmark.replay import SESSIONS, STEPS, NothingToReplay, recorded
    from bench.dataset.sample import part_of

    with shell.ended_by(NothingToReplay), shell.opened(config, data) as store:
        found = recorded(store, pair.baseline, sessions=sessions or SESSIONS, steps=steps or STEPS)
    if quick:
        found = found.only(part_of(found.dataset, QUICK))
    asked = sum(len(message.said) for each in found.steps for message in each.example.messages)
    tokens = count(asked / _CHARACTERS_OF_A_TOKEN, "token")
    whole = f"{count(len(found.steps), 'step')} of {count(found.sessions, 'session')}"
    shell.say(f"{whole}: about {tokens} of messages to each model")
    return found


def _tell(
    taken: "ReplaySteps",
    found: "Comparison",
    benchmark: dict[str, Any],
    output: str,
    report: "ReportOutput | None",
) -> int:
    """Print what came of a replay, and write it to the report's file; returns the exit code."""
    from bench.benchmark.replay import replayed
    from pages.reports.replay import rendered, to_document

    ((measured,),) = (layer.datasets for layer in found.layers)
    result = replayed(taken, measured.pairs)
    document = to_document(result, benchmark)
    shell.answer(output, document, rendered(document, "text"))
    if report is not None:
        as_json = report.form == "json"
        report.write(json.dumps(document, indent=2) if as_json else rendered(document, report.form))
        shell.say(f"wrote {report.file}")
    return 0 if result.verdict is None else shell.VERDICT_EXITS[result.verdict]


def _print(document: dict[str, Any], output: str) -> None:
    from pages.reports.bench_text import rendered

    shell.answer(output, document, rendered(document))


def measure(
    settings: "BenchSettings",
    pair: "ModelPair",
    datasets: "list[tuple[DatasetSource, Dataset]]",
    *,
    data: Path,
    at_once: int,
    progress: Callable[[str, int, int], None],
    batch: bool = False,
    judge: bool = False,
) -> "tuple[dict[str, Any], Comparison, JudgedBench | None]":
    """Run the benchmark; returns its document, the comparison, the judge's word. Exits 1 if it cannot run."""
    from bench.benchmark.run import BenchmarkRun, saved_in, unpriced, without_prompt
    from bench.errors import BenchError
    from bench.models.pair import without_terms
    from canary.secrets import BadSecret
    from pages.reports.bench import Circumstances, judge_document, to_document

    now = time.time()
    try:
        without_price = unpriced(settings, pair, [source for source, _ in datasets])
        for each in without_price:
            shell.say(each.sentence)
        proxy = None if batch else _proxy_route(pair, data)
        saved = saved_in(data, pair, proxy, now=now)
        models = [each.name for each in (pair.baseline, pair.candidate) if each is not None]
        asked = [example.hash for _, dataset in datasets for example in dataset.scored]
        if known := sum(saved.get(model, each) is not None for model in models for each in asked):
            shell.say(
                f"{known} answers were saved by a run that did not end well; they are not asked again, "
                f"and their latency does not count (delete {saved.path} to ask all again)"
            )
        bench = BenchmarkRun(
            settings=settings,
            pair=pair,
            proxy=proxy,
            environment=os.environ,
            at_once=at_once,
            progress=progress,
            by_batch=batch,
            tell=shell.say,
        )
    except (BenchError, BadSecret, OSError) as problem:
        shell.fail(str(problem))
    found, judged = _run(bench, datasets, saved, judge=judge)
    about = Circumstances(
        baseline=pair.names[0],
        candidate=pair.names[1],
        at=rfc3339(now),
        owner=shell.user(),
        via="batch" if batch else "direct" if proxy is None else "proxy",
        stages=bench.stages,
        unpriced=without_price,
    )
    document = to_document(found, about, None if judged is None else judge_document(judged))
    examples = [example for _, dataset in datasets for example in dataset.scored]
    for missing in filter(None, (without_terms(settings, pair), without_prompt(pair, examples))):
        shell.say(missing)
        document["caveats"].append(missing)
    return document, found, judged


def _run(
    bench: "BenchmarkRun",
    datasets: "list[tuple[DatasetSource, Dataset]]",
    saved: "SavedAnswers",
    *,
    judge: bool,
) -> "tuple[Comparison, JudgedBench | None]":
    """Run it. The answers are deleted only when nothing is missing, so that none is paid for twice."""
    from bench.errors import BenchError

    try:
        found, judged = asyncio.run(_asked(bench, datasets, saved, judge=judge))
    except KeyboardInterrupt:
        shell.fail(f"interrupted{_kept(saved)}", code=INTERRUPTED)
    except (BenchError, OSError) as problem:
        shell.fail(f"{str(problem).rstrip('.')}{_kept(saved)}")
    if failed := [*found.judge_failures, *(judged.failures if judged is not None else ())]:
        shell.say(
            f"the judge failed {len(failed)} times; the first time: {failed[0].rstrip('.')}{_kept(saved)}"
        )
    else:
        saved.delete()
    return found, judged


async def _asked(
    bench: "BenchmarkRun",
    datasets: "list[tuple[DatasetSource, Dataset]]",
    saved: "SavedAnswers",
    *,
    judge: bool,
) -> "tuple[Comparison, JudgedBench | None]":
    """The comparison, and then the judge's word about both models' answers, if it is wanted."""
    from bench.models.pair import terms_of
    from judge.benchmark import asker_for, judged_bench

    if not judge:
        return await bench.run(datasets, saved), None
    asker = asker_for(bench.settings, bench.pair, bench.environment, at_once=bench.at_once)
    try:
        found = await bench.run(datasets, saved)
        began = time.perf_counter()
        pairs = {each.source.name: each.pairs for layer in found.layers for each in layer.datasets}
        judged = await judged_bench(
            asker,
            [(source.name, pairs[source.name]) for source, _ in datasets],
            terms_of(bench.settings, bench.pair).criteria,
            saved=saved,
            at_once=bench.at_once,
            progress=bench.progress,
        )
        bench.stages["judge"] = time.perf_counter() - began
    finally:
        await asker.close()
    return found, judged


def _kept(saved: "SavedAnswers") -> str:
    """What becomes of the answers of a run that did not end well; "" where there are none."""
    if not saved.count:
        return ""
    return f"; {saved.count} of the answers are kept: the same command asks only what is missing"


def _report_file(asked: str | None, *, dry: bool, partial: bool) -> "ReportOutput | None":
    """Exits 2 for a file without a known ending, without a candidate, or for a part of the datasets."""
    from canary.commands.report import FORMS, ReportOutput

    if asked is None:
        return None
    if partial:
        shell.fail("--report is about the whole model: leave out --dataset and --quick", code=2)
    if dry:
        shell.fail("--report needs a new model; --dry measures only the current one", code=2)
    return ReportOutput.asked(None, f"./{asked}" if asked in FORMS else asked, "--report")


def _saved(
    config: Config,
    pair: "ModelPair",
    document: dict[str, Any],
    found: "Comparison",
    wrong: "list[FailureRow]",
    data: Path,
    *,
    whole: bool,
) -> dict[str, Any]:
    from canary.commands.bench_archive import save
    from records.errors import StoreDown

    try:
        return save(config, pair, document, found, wrong, data, now=time.time(), whole=whole)
    except StoreDown as problem:
        shell.say(f"the result was not stored: {problem}")
        return {"canary": None, "forecast": None, "family": None}


def _datasets(
    settings: "BenchSettings", file: Path, wanted: list[str]
) -> "list[tuple[DatasetSource, Dataset]]":
    from bench.benchmark.run import read, sources
    from bench.errors import BenchError

    found = sources(settings, wanted)
    if not found:
        shell.fail(
            "there is no dataset; list one in the config, as `datasets: {users: {file: users.jsonl, layer: "
            "real}}`, or give --dataset FILE (`canary dataset sample` makes one of captured traffic)",
            code=2,
        )
    try:
        with shell.ended_by(BenchError, UnicodeDecodeError):
            return [(each, read(each, file.parent)) for each in found]
    except OSError as problem:
        known = ", ".join(each.name for each in settings.datasets)
        other = f"; the config has these datasets: {known}" if wanted and known else ""
        shell.fail(f"{problem.filename} cannot be read: {problem.strerror}{other}")


def progress() -> Callable[[str, int, int], None]:
    """A callback that prints a line for each tenth of a dataset."""
    printed: dict[str, int] = {}

    def show(dataset: str, done: int, of: int) -> None:
        tenth = 10 * done // of
        if tenth > printed.get(dataset, 0):
            printed[dataset] = tenth
            shell.say(f"{dataset}: {done} of {of} answers")

    return show


def _proxy_route(pair: "ModelPair", data: Path) -> "ProxyRoute | None":
    """The route through the proxy. Raises BadSecret.

    None if the models are not a canary's arms, no server answers, pins are off, or the canary would not match
    a plain request.
    """
    import httpx2

    from bench.models.asker import ProxyRoute
    from bench.models.wires import chat_path
    from canary.commands.client import ServerAddress, ServerNotReached
    from canary.secrets import Secret

    token = Secret("CANARY_PIN_TOKEN", os.environ).value()
    if pair.canary is None or token is None:
        return None
    match, provider = pair.canary.match, pair.baseline.provider
    asked = min(match.models, default=pair.baseline.model)
    if not match.accepts(model=asked, path=chat_path(provider.api), headers={}, tags={}):
        return None
    try:
        proxy = ServerAddress.of("traffic", None, data)
        answer = proxy.ask("GET", "/readyz", within_s=_LOOK_S)
    except (ServerNotReached, httpx2.TransportError):
        return None
    if not answer.is_success:
        return None
    return ProxyRoute(
        canary=pair.canary.name,
        traffic=proxy.url,
        asked=asked,
        provider=provider,
        token=token,
        trust=proxy.trust,
    )
