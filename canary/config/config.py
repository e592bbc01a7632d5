"""The loaded config: frozen records of the rooms, independent of the file's form."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alerts.incidents.notice import Receiver
from bench.settings import (
    CRITERIA,
    ISSUES_FILE,
    BenchRubric,
    BenchSettings,
    DatasetSource,
    EmbeddingSource,
    JudgeSource,
    ProbesSource,
    RubricRow,
    measurable,
)
from canary.config.errors import ConfigError, ConfigProblem
from canary.config.server import Role, ServerSettings
from console.access.openid_settings import OidcSettings
from control.jobs.retirements import Uses, uses_of
from control.settings import CanarySettings, ControlSettings, DailyTime, StandingCanary
from judge.terms import JudgeTerms
from proxy.providers.provider import Provider, Timeout
from records.captures.capture import CaptureRule, strictest
from records.facts.feedback_mapping import FeedbackMapping
from records.facts.metric import Metric
from records.facts.price_list import PriceList
from records.facts.prices import Prices, TokenPrices, UnpricedArm, unpriced_arms, unpriced_model
from records.facts.retirement import LastDay
from routing.caller import Caller
from routing.canary import ArmName
from routing.lanes import groups, sizes
from verdict.terms.judged_canary import JudgedCanary

if TYPE_CHECKING:
    from control.jobs.watcher import WatchSettings
    from records.store import Store, StoreTimeouts


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The files of the listeners' certificate, as written: relative to the config file's folder."""

    cert_file: str
    key_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole config. `providers` has the file's order: the first entry of an API is its default.

    `arm_timeouts` lists arms with timeouts of their own, by canary and arm, each merged with its provider's.
    `patience` has the seconds of the canaries that set it. `captures` has the rules for texts of models that
    no canary takes, by model. `redact` has the patterns for all stored texts. Without `callers` everybody
    may call.
    `metrics` includes the built-in ones; `tags` is every tag that apps may send. `store` and `shared` are as
    written, and not in the repr because they may contain a password. `outcomes` is where their segments lie,
    as `SegmentFolder.at` takes it. `canaries` has the trials of `standing` ones, but not these themselves.
    `texts` are those of all arms, by digest, and `text_files` where they were read.
    `price_list` is a list that is kept up to date; None: the built-in
    one counts. `folder` is the file's. `warnings` are complete lines to show.
    """

    providers: Mapping[str, Provider]
    canaries: Mapping[str, CanarySettings]
    metrics: Mapping[str, Metric]
    server: ServerSettings
    feedback_mappings: Mapping[str, FeedbackMapping] = field(default_factory=dict)
    arm_timeouts: Mapping[tuple[str, ArmName], Timeout] = field(default_factory=dict)
    patience: Mapping[str, float] = field(default_factory=dict)
    captures: Mapping[str, CaptureRule] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    callers: tuple[Caller, ...] = ()
    prices: Mapping[str, TokenPrices] = field(default_factory=dict)
    price_as: Mapping[str, str] = field(default_factory=dict)
    price_list: PriceList | None = None
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    text_files: tuple[Path, ...] = ()
    datasets: tuple[DatasetSource, ...] = ()
    embeddings: EmbeddingSource | None = None
    judge: JudgeSource | None = None
    probes: ProbesSource | None = None
    redact: tuple[str, ...] = ()
    store: str = field(default="sqlite:///canary.db", repr=False)
    outcomes: str = "outcomes"
    shared: str = field(default="none", repr=False)
    notify: tuple[Receiver, ...] = ()
    retires: Mapping[str, LastDay] = field(default_factory=dict)
    admin_url: str | None = None
    oidc: OidcSettings | None = None
    tls: TlsFiles | None = None
    retention_s: float = 90 * 86400.0
    report_job: DailyTime | None = None
    standing: Mapping[str, StandingCanary] = field(default_factory=dict)
    folder: Path = field(default=Path(), compare=False)
    file: Path = field(default=Path(), compare=False)
    warnings: tuple[str, ...] = ()

    @property
    def control(self) -> ControlSettings:
        """The part that `control` needs."""
        return ControlSettings(
            canaries=self.canaries,
            standing=self.standing,
            metrics=self.metrics,
            notify=self.notify,
            callers=self.callers,
            admin_url=self.admin_url,
            retention_s=self.retention_s,
            report_job=self.report_job,
            retires=self.retires,
            datasets=tuple(replace(each, file=str(self.folder / each.file)) for each in self.datasets),
            issues_file=self.folder / ISSUES_FILE,
            texts=self.texts,
        )

    @property
    def known(self) -> Mapping[str, CanarySettings]:
        """Every canary, with the terms of the standing ones."""
        return {**{name: each.terms for name, each in self.standing.items()}, **self.canaries}

    def open_store(self, data: Path) -> "Store":
        """The store, connected. Relative paths are relative to `data`. Raises StoreDown."""
        from records.store import Store

        return Store.open(self.store, data, outcomes=self.outcomes)

    def store_at(self, data: Path, timeouts: "StoreTimeouts | None" = None) -> "Store":
        """The store, without connecting."""
        from records.store import Store
        from records.store.database import TIMEOUTS

        return Store.at(self.store, data, timeouts or TIMEOUTS, outcomes=self.outcomes)

    @property
    def base_urls(self) -> Mapping[str, str]:
        """The `base_url` of each provider entry."""
        return {name: provider.base_url for name, provider in self.providers.items()}

    @property
    def assigned_outside(self) -> Sequence[str]:
        """The canaries whose arms come from a flag system."""
        return [name for name, each in self.canaries.items() if each.canary.assigned_outside]

    @property
    def lanes(self) -> Mapping[str, float]:
        """The part of the units, in [0, 1], of each canary whose requests others match too, as the file alone
        has it. What started has the lane of its start."""
        shared = groups([each.canary for each in self.canaries.values()])
        return {name: size for group in shared for name, size in sizes(group).items()}

    @property
    def watch(self) -> "WatchSettings":
        """The part that the release watcher needs."""
        from control.jobs.watcher import WatchSettings  # a worker needs neither it nor its HTTP client

        return WatchSettings(
            providers=list(self.providers.values()),
            notify=self.notify,
            retires=self.retires,
            uses=self.uses,
            own=frozenset(f"{provider}/{model}" for _, provider, model in self._own_uses()),
        )

    @property
    def uses(self) -> Uses:
        """What the canaries have each model for."""
        return uses_of(self.canaries, self.standing)

    def known_prices(self) -> Prices:
        """Prices by entry and model, by the list of now."""
        return Prices(self.prices, self.price_as, self.price_list)

    @property
    def asked_models(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """Each model at its entry, with who asks it: the arms, those of standing canaries too, and the models
        that canary asks for itself."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, each in self.known.items():
            for arm, of in (("baseline", each.canary.baseline), ("candidate", each.canary.candidate)):
                if of.model:  # the candidate of a standing canary has none yet
                    found.setdefault((of.provider, of.model), []).append(f"{arm} of {name}")
        for use, provider, model in self._own_uses():
            if provider in self.providers:
                found.setdefault((provider, model), []).append(use)
        return found

    def _own_uses(self) -> Iterator[tuple[str, str, str]]:
        """What canary itself asks a model for, with its entry and name."""
        for use, each in (("judge", self.judge), ("embeddings", self.embeddings)):
            if each is not None:
                yield use, each.provider, each.model
        for dataset in self.datasets:
            if dataset.judge is not None:
                provider, _, model = dataset.judge.partition("/")
                yield f"judge of {dataset.name}", provider, model

    def unpriced(self) -> tuple[UnpricedArm, ...]:
        """The models of `asked_models` without a known price, by what they are asked for. Not a part of
        loading: the price list takes half a second."""
        prices = self.known_prices()
        arms = unpriced_arms((each.canary for each in self.known.values()), self.providers, prices)
        own = (
            found
            for use, provider, model in self._own_uses()
            if (entry := self.providers.get(provider)) is not None
            for found in unpriced_model(entry, model, prices, arm=use)
        )
        return (*arms, *own)

    def judge_is_priced(self) -> bool:
        """False if the budget of the judge cannot be kept, because no price of its model is known."""
        judge = self.judge
        if judge is None:
            return True
        return self.known_prices().knows(self.providers[judge.provider], judge.model)

    @property
    def bench(self) -> BenchSettings:
        """The part that `bench` needs."""
        known = self.known
        of_canaries = [each.capture for each in known.values() if each.capture is not None]
        return BenchSettings(
            providers=self.providers,
            canaries=[each.canary for each in known.values()],
            terms={name: bench_terms(each.judged, each.judge) for name, each in known.items()},
            prices=self.prices,
            price_as=self.price_as,
            price_list=self.price_list,
            datasets=self.datasets,
            embeddings=self.embeddings,
            judge=self.judge,
            probes=self.probes,
            texts=self.texts,
            wrong_kept=strictest([*of_canaries, *self.captures.values()], self.redact),
            file=self.file,
        )


def bench_terms(judged: JudgedCanary, judge: JudgeTerms | None) -> BenchRubric:
    """The canary's rows that a benchmark measures, its critical categories, and what its judge looks at."""
    rows = (row for row in (*judged.criteria, *judged.offline) if measurable(row.metric))
    return BenchRubric(
        rows=tuple(
            RubricRow(metric=row.metric, acceptable=row.acceptable, ideal=row.ideal, question=row.question)
            for row in rows
        ),
        critical=judged.critical_categories,
        criteria=CRITERIA if judge is None else judge.criteria,
    )


def check_role(config: Config, role: Role) -> None:
    """Raises ConfigError if the role does not work with this `store` and `shared`: replicas need a PostgreSQL
    and a Redis that all of them reach."""
    found = []
    if role == "all" and config.shared != "none":
        message = "only replicas use it; remove it, or start with --role traffic or --role admin"
        found.append(("shared", message))
    if role != "all" and config.store.startswith("sqlite:"):
        message = "SQLite works on one machine only; replicas need postgresql://USER:PASSWORD@HOST/NAME"
        found.append(("store", message))
    if role != "all" and config.shared == "none":
        found.append(("shared", "replicas need a Redis: redis://HOST:PORT/0"))
    if found:
        raise ConfigError(
            [
                ConfigProblem(file=f"role {role}", path=key, line=None, message=message)
                for key, message in found
            ]
        )
