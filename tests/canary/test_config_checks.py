from datetime import date, time

import pytest

from alerts.incidents.notice import OWNER
from canary.config.errors import ConfigError
from canary.config.file_checks import RESERVED
from canary.config.load import parse
from control.jobs.retirements import urgent
from control.settings import DailyTime
from records.facts.retirement import LastDay

PROVIDER = '{api: openai, base_url: "https://api.openai.com/v1"}'
SOUND = f"providers:\n  openai: {PROVIDER}\n"


def refusal(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(text, "canary.yaml", {})
    return str(refused.value).splitlines()


def test_the_pages_own_address_is_a_url_and_may_be_left_empty() -> None:
    assert parse(SOUND + "admin_url: https://canary.example/x\n", "canary.yaml", {}).admin_url is not None
    assert parse(SOUND + 'admin_url: ""\n', "canary.yaml", {}).admin_url is None
    assert refusal(SOUND + "admin_url: canary.example\n") == [
        "canary.yaml:3: admin_url: must be a URL with http:// or https:// and a host"
    ]


def test_a_file_with_nothing_but_a_provider_is_sound() -> None:
    config = parse(SOUND, "canary.yaml", {})
    assert list(config.providers) == ["openai"]
    assert config.warnings == ()


@pytest.mark.parametrize("text", ["", "providers: {}\n", "canaries: []\n"])
def test_a_file_without_providers_is_refused(text: str) -> None:
    assert refusal(text) == ["canary.yaml:1: providers: is missing; name at least one provider"]


@pytest.mark.parametrize("name", RESERVED)
def test_a_providers_name_must_not_be_a_path_of_ours(name: str) -> None:
    assert refusal(f"providers:\n  {name}: {PROVIDER}\n") == [
        f'canary.yaml:2: providers.{name}: "{name}" is a reserved path; choose another name'
    ]


@pytest.mark.parametrize("name", ["OpenAI", "-a", "_a", "a.b", "a b", "a/b", "ä", "a" * 64])
def test_a_providers_name_must_fit_into_a_path(name: str) -> None:
    assert refusal(f"providers:\n  {name}: {PROVIDER}\n") == [
        f"canary.yaml:2: providers.{name}: a provider's name may contain lower-case letters, digits, _ and "
        "-, at most 63"
    ]


def test_a_bad_name_is_found_though_the_entry_has_mistakes() -> None:
    assert len(refusal("providers:\n  V1: {api: openai}\n")) == 2


@pytest.mark.parametrize("name", ["a", "0", "azure-eu_2", "a" * 63])
def test_other_names_are_fine(name: str) -> None:
    assert list(parse(f"providers:\n  {name}: {PROVIDER}\n", "canary.yaml", {}).providers) == [name]


@pytest.mark.parametrize("name", ["openai", "V1"])
def test_two_providers_of_one_name_are_refused(name: str) -> None:
    assert f"canary.yaml:3: providers.{name}: duplicate key; the first is in line 2" in refusal(
        f"providers:\n  {name}: {PROVIDER}\n  {name}: {PROVIDER}\n"
    )


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "ftp://host/v1",
        "https://",
        "https:///v1",
        "https://h:x",
        "http://[::1",
        "http://a b",
    ],
)
def test_a_base_url_must_be_one_of_http(url: str) -> None:
    assert refusal(f'providers:\n  openai:\n    api: openai\n    base_url: "{url}"\n') == [
        "canary.yaml:4: providers.openai.base_url: must be a URL with http:// or https:// and a host"
    ]


@pytest.mark.parametrize(
    "url", ["https://user@host/v1", "https://user:hunter2@host/v1", "https://:hunter2@host"]
)
def test_a_base_url_must_not_hold_a_credential(url: str) -> None:
    assert refusal(f'providers:\n  openai:\n    api: openai\n    base_url: "{url}"\n') == [
        "canary.yaml:4: providers.openai.base_url: must not contain a user or password; put the "
        "credential in api_key"
    ]


@pytest.mark.parametrize(
    ("api", "url", "right"),
    [
        ("openai", "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
        ("openai", "https://api.openai.com/v1/responses/", "https://api.openai.com/v1"),
        ("openai", "https://api.openai.com/v1/models", "https://api.openai.com/v1"),
        ("openai", "https://a.example/v1beta/openai/chat/completions", "https://a.example/v1beta/openai"),
        ("anthropic", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com"),
        ("gemini", "https://a.example/v1beta/models/gemini-2.5-pro:generateContent", "https://a.example"),
        ("openai", "https://openrouter.ai/chat/completions", "https://openrouter.ai/api/v1"),
    ],
)
def test_a_base_url_of_one_operation_is_refused_with_what_is_right(api: str, url: str, right: str) -> None:
    config = 'providers:\n  it:\n    api: {api}\n    base_url: "{url}"\n'
    assert refusal(config.format(api=api, url=url)) == [
        "canary.yaml:4: providers.it.base_url: is the URL of one operation, and canary adds its path itself; "
        f'write "{right}"'
    ]
    parse(config.format(api=api, url=right), "canary.yaml", {})


@pytest.mark.parametrize(
    ("api", "url", "right"),
    [
        ("openai", "https://api.openai.com", "https://api.openai.com/v1"),
        ("openai", "https://api.openai.com/", "https://api.openai.com/v1"),
        ("openai", "https://openrouter.ai/v1", "https://openrouter.ai/api/v1"),
        ("openai", "https://api.groq.com/v1", "https://api.groq.com/openai/v1"),
        ("openai", "https://api.mistral.ai", "https://api.mistral.ai/v1"),
        ("openai", "https://api.x.ai", "https://api.x.ai/v1"),
        ("openai", "https://api.together.xyz", "https://api.together.xyz/v1"),
        ("openai", "https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("anthropic", "https://api.anthropic.com/v1", "https://api.anthropic.com"),
        (
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta",
            "https://generativelanguage.googleapis.com",
        ),
    ],
)
def test_a_base_url_at_which_a_known_host_answers_404_is_refused_with_what_is_right(
    api: str, url: str, right: str
) -> None:
    config = 'providers:\n  it:\n    api: {api}\n    base_url: "{url}"\n'
    assert refusal(config.format(api=api, url=url)) == [
        "canary.yaml:4: providers.it.base_url: is not where this host has its API, so each request would get "
        f'404; write "{right}"'
    ]
    parse(config.format(api=api, url=right), "canary.yaml", {})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:11434", "https://api.deepseek.com", "https://api.cohere.ai", "http://vllm/x"]
)
def test_a_base_url_at_a_host_that_may_take_it_is_taken(url: str) -> None:
    parse(f'providers:\n  it: {{api: openai, base_url: "{url}"}}\n', "canary.yaml", {})


@pytest.mark.parametrize("url", ["https://host/v1?key=x", "https://host/v1#x", "https://host/v1?"])
def test_a_base_url_must_end_with_its_path(url: str) -> None:
    assert refusal(f'providers:\n  openai:\n    api: openai\n    base_url: "{url}"\n') == [
        "canary.yaml:4: providers.openai.base_url: must end with its path; remove ? or # and what follows"
    ]


def test_a_metric_must_not_take_a_computed_ones_name() -> None:
    assert refusal(SOUND + 'metrics:\n  latency_p95: {kind: amount, question: "Slow?"}\n') == [
        'canary.yaml:4: metrics.latency_p95: "latency_p95" is computed from the traffic; choose another name'
    ]


@pytest.mark.parametrize("name", ["Solved", "1st", "is-solved"])
def test_a_metrics_name_must_be_a_plain_word(name: str) -> None:
    assert refusal(SOUND + f'metrics:\n  {name}: {{kind: bool, question: "Solved?"}}\n') == [
        f"canary.yaml:4: metrics.{name}: a metric's name may contain lower-case letters, digits and _, and "
        "starts with a letter"
    ]


@pytest.mark.parametrize(
    ("entry", "messages"),
    [
        ("per: session", ["stars.kind: is missing; only a metric with `cost_per` has none"]),
        *(
            (
                f"kind: {kind}, per: user",
                [f"stars.per: a {kind} is an opinion, and who gave none has none; write `per: value`"],
            )
            for kind in ("rating", "nps")
        ),
        ("kind: rating, per: value", []),
        ("cost_per: escalated", []),
        (
            "cost_per: escalatde",
            ['stars.cost_per: "escalatde" is not a built-in or declared metric; did you mean "escalated"?'],
        ),
        (
            "cost_per: helped",
            [
                'stars.cost_per: "helped" is per value, so nobody knows how often it happened; declare it '
                "with `per: session`, `per: user` or `per: exchange`"
            ],
        ),
        (
            "cost_per: revenue",
            [
                'stars.cost_per: "revenue" is of the kind amount, and has no number of events; name a bool '
                "or a count"
            ],
        ),
        (
            "cost_per: stars",
            ['stars.cost_per: "stars" is a cost itself, and has no number of events; name a bool or a count'],
        ),
        (
            "cost_per: churn, higher_is_better: false, matures_after: 7d",
            [
                f"stars.{key}: cannot be combined with cost_per, whose values are dollars, lower is better; "
                "remove it"
                for key in ("higher_is_better", "matures_after")
            ],
        ),
    ],
)
def test_a_metric_whose_observations_cannot_be_is_refused(entry: str, messages: list[str]) -> None:
    text = SOUND + f'metrics:\n  stars: {{{entry}, question: "?"}}\n'
    if messages:
        assert refusal(text) == [f"canary.yaml:4: metrics.{message}" for message in messages]
    else:
        assert "stars" in parse(text, "canary.yaml", {}).metrics


@pytest.mark.parametrize(("per", "warned"), [("", True), ("per: value, ", True), ("per: user, ", False)])
def test_an_event_that_becomes_an_opinion_is_a_warning(per: str, warned: bool) -> None:
    entry = f'churn: {{kind: bool, {per}higher_is_better: false, question: "?"}}'
    found = parse(SOUND + f"metrics:\n  {entry}\n", "canary.yaml", {}).warnings
    message = (
        "canary.yaml:4: metrics.churn: redefines churn, which is per user, per value: where your app sends "
        "only what happens, write `per: user`"
    )
    assert found == ((message,) if warned else ())


def test_a_cost_of_a_metric_with_a_mistake_is_not_wrong_too() -> None:
    won, price = 'won: {kind: boole, per: user, question: "?"}', 'price: {cost_per: won, question: "?"}'
    assert len(refusal(SOUND + f"metrics:\n  {won}\n  {price}\n")) == 1


@pytest.mark.parametrize(("kind", "ends"), [("bool", "0-1"), ("nps", "0-10")])
def test_kinds_with_a_scale_of_their_own_take_no_other(kind: str, ends: str) -> None:
    assert refusal(SOUND + f'metrics:\n  solved:\n    kind: {kind}\n    question: "?"\n    scale: 1-7\n') == [
        f"canary.yaml:7: metrics.solved.scale: a {kind} metric always has the scale {ends}; remove `scale`"
    ]


def test_a_tag_that_no_header_could_carry_is_refused() -> None:
    assert refusal(SOUND + 'tags: [region, "a=b"]\n') == [
        'canary.yaml:3: tags[1]: "a=b" is not a valid tag name; use letters, digits, . _ and -'
    ]


def test_a_receiver_must_have_a_kind() -> None:
    assert refusal(SOUND + "notify: [{}]\n") == [
        "canary.yaml:3: notify[0]: names no receiver; set one of alertmanager, pagerduty, slack, webhook, "
        "apprise"
    ]


def test_a_receiver_of_owners_is_warned_of_where_it_reaches_nobody() -> None:
    mail = f"notify: [{{apprise: 'mailto://mail.example.com/{OWNER}'}}]\n"
    nobody = "canary.yaml:3: notify[0].apprise: reaches nobody: no canary has an `owner`"
    assert parse(SOUND + mail, "canary.yaml", {}).warnings == (nobody,)
    trial = "canaries:\n  - {name: c, match: {models: [m]}, baseline: {provider: openai, model: a}, "
    trial += "candidate: {provider: openai, model: b}, share: 5%, owner: Anna}\n"
    address = "canary.yaml:4: canaries[0].owner: must be an address for notify's mail to {owner}"
    assert address in parse(SOUND + trial + mail, "canary.yaml", {}).warnings
    assert refusal(SOUND + "notify: [{apprise: hunter2}]\n") == [
        "canary.yaml:3: notify[0].apprise: must be a URL of Apprise, such as "
        "mailto://mail.example.com/{owner}?from=canary@example.com"
    ]


def test_a_receiver_must_not_have_two_kinds() -> None:
    assert refusal(SOUND + "notify:\n  - slack: https://a.example\n    webhook: https://b.example\n") == [
        "canary.yaml:4: notify[0]: names slack and webhook; each receiver needs its own entry"
    ]


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("alertmanager: am.example", "alertmanager"),
        ("slack: hunter2", "slack"),
        ("webhook: 'ftp://hunter2'", "webhook"),
        ("pagerduty: {key: k, url: hunter2}", "pagerduty.url"),
    ],
)
def test_a_receivers_url_is_checked_and_not_quoted(entry: str, key: str) -> None:
    assert refusal(SOUND + f"notify:\n  - {entry}\n") == [
        f"canary.yaml:4: notify[0].{key}: must be a URL with http:// or https:// and a host"
    ]


@pytest.mark.parametrize(
    "store", ["sqlite:///canary.db", "sqlite:////var/c.db", "postgresql://u:p@db/canary"]
)
def test_stores_are_kept_as_given(store: str) -> None:
    assert parse(SOUND + f"store: {store}\n", "canary.yaml", {}).store == store


@pytest.mark.parametrize(
    "store", ["postgresql://u:p@db", "postgresql://u:p@db:port/canary", "postgresql://u:p/w@db:5432"]
)
def test_a_postgresql_url_names_host_and_database(store: str) -> None:
    (problem,) = refusal(SOUND + f'store: "{store}"\n')
    assert problem.startswith("canary.yaml:3: store: must be postgresql://USER:PASSWORD@HOST:PORT/NAME")
    assert "u:p" not in problem


@pytest.mark.parametrize("store", ["canary.db", "mysql://db/canary", "sqlite:", "sqlite://", "postgresql://"])
def test_other_stores_are_refused(store: str) -> None:
    assert refusal(SOUND + f'store: "{store}"\n') == [
        "canary.yaml:3: store: must be sqlite:///FILE or postgresql://…"
    ]


@pytest.mark.parametrize("shared", ["none", "redis://redis:6379/0", "rediss://redis"])
def test_shared_is_kept_as_given(shared: str) -> None:
    assert parse(SOUND + f"shared: {shared}\n", "canary.yaml", {}).shared == shared


def test_other_shared_places_are_refused() -> None:
    assert refusal(SOUND + "shared: memcached://m\n") == [
        "canary.yaml:3: shared: must be none, redis://… or rediss://…"
    ]


def test_the_two_listeners_need_an_address_each() -> None:
    assert refusal(SOUND + "traffic: 127.0.0.1:9000\nadmin: 127.0.0.1:9000\n") == [
        "canary.yaml:4: admin: is also the traffic listener's address; set a different one"
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "auth: azure, api_key: k",
            "`azure` fetches tokens; remove api_key, or set `auth` to the header that takes the key",
        ),
        ("auth: aws", "`aws` signs requests to Bedrock only; set `kind: bedrock`"),
        (
            "kind: azure, auth: google",
            "`google` is not a credential for `kind: azure`; set `azure`",
        ),
    ],
)
def test_a_credential_that_cannot_be_is_refused(keys: str, message: str) -> None:
    line = f'  own: {{api: openai, base_url: "https://own.example", {keys}}}'
    assert refusal(f"providers:\n{line}\n") == [f"canary.yaml:2: providers.own.auth: {message}"]


@pytest.mark.parametrize("keys", ["auth: azure", "kind: azure, auth: azure", "auth: google", "auth: bearer"])
def test_other_credentials_are_accepted(keys: str) -> None:
    path = "" if "kind" in keys else "/v1"
    line = f'  own: {{api: openai, base_url: "https://own.example{path}", {keys}}}'
    assert parse(f"providers:\n{line}\n", "canary.yaml", {}).warnings == ()


@pytest.mark.parametrize(
    ("more", "warned"), [("", 0), ("auth: aws", 0), ("api_key: k", 0), ("auth: bearer", 1)]
)
def test_an_entry_that_sends_the_callers_key_to_bedrock_cannot_serve_callers_that_sign(
    more: str, warned: int
) -> None:
    entry = f'{{api: anthropic, kind: bedrock, base_url: "https://b.example", region: eu-west-1, {more}}}'
    config = parse(f"providers:\n  aws: {entry}\n", "canary.yaml", {})
    assert len(config.warnings) == warned
    assert all("a caller that signs (SigV4) will be refused" in str(each) for each in config.warnings)


def test_a_model_has_one_price() -> None:
    both = SOUND + "prices: {a: {input: 1, output: 1}}\nprice_as: {a: gpt-4o}\n"
    assert refusal(both) == ['canary.yaml:4: price_as.a: "a" has a price in `prices`; remove one of them']
    assert refusal(SOUND + "price_as: {a: b, b: gpt-4o}\n") == [
        'canary.yaml:3: price_as.a: "b" is itself priced as "gpt-4o"; write a model with a price'
    ]
    assert parse(SOUND + "price_as: {a: gpt-4o}\n", "canary.yaml", {}).price_as == {"a": "gpt-4o"}


CLOUDS = (
    'anthropic: {api: anthropic, base_url: "https://api.anthropic.com"}',
    'azure: {api: openai, kind: azure, base_url: "https://res.openai.azure.com"}',
)


def test_the_embedding_model_is_at_openais_or_geminis_own_api() -> None:
    text = f"{SOUND}embeddings: {{provider: openai, model: text-embedding-3-small}}\n"
    found = parse(text, "canary.yaml", {}).bench.embeddings
    assert found is not None
    assert (found.provider, found.model) == ("openai", "text-embedding-3-small")
    assert parse(SOUND, "canary.yaml", {}).bench.embeddings is None
    assert refusal(f"{SOUND}embeddings: {{provider: opnai, model: m}}\n") == [
        'canary.yaml:3: embeddings.provider: there is no provider "opnai"; did you mean "openai"?'
    ]
    for entry, what in zip(CLOUDS, ("api: anthropic", "kind: azure"), strict=True):
        name = entry.partition(":")[0]
        assert refusal(f"{SOUND}  {entry}\nembeddings: {{provider: {name}, model: m}}\n") == [
            "canary.yaml:4: embeddings.provider: canary asks OpenAI's and Gemini's own APIs for embeddings, "
            f"not `{what}`; name such an entry"
        ]


def test_a_models_last_day_is_a_day() -> None:
    first, second = LastDay(on=date(2027, 2, 1)), LastDay(on=date(2027, 2, 1), successor="gpt-5")
    both = "retires: {gpt-4o: 2027-02-01, openai/o1: {on: 2027-02-01, successor: gpt-5}}\n"
    assert parse(SOUND + both, "canary.yaml", {}).retires == {"gpt-4o": first, "openai/o1": second}


@pytest.mark.parametrize(
    ("day", "wrong"),
    [
        ("2027-02-30", "must be a day, such as 2027-02-01"),
        ("{on: soon}", "must be a day, such as 2027-02-01"),
        ("{successor: gpt-5}", "needs the day: {on: 2027-02-01, successor: MODEL}"),
        ("{on: 2027-02-01, sucessor: gpt-5}", "has on and successor, and not sucessor"),
    ],
)
def test_what_is_no_last_day_is_refused(day: str, wrong: str) -> None:
    assert refusal(SOUND + f"retires: {{gpt-4o: {day}}}\n") == [f"canary.yaml:3: retires.gpt-4o: {wrong}"]


def test_an_arm_whose_model_retires_soon_or_has_is_warned_of() -> None:
    arms = "baseline: {provider: openai, model: old}, candidate: {provider: openai, model: new}"
    trial = f"canaries: [{{name: c, match: {{models: [old]}}, {arms}, share: 5%}}]\n"
    config = parse(SOUND + trial + "retires: {old: 2027-02-01, new: 2027-02-25}\n", "canary.yaml", {})
    today = date(2027, 2, 2)
    assert urgent({}, config.retires, config.uses, date(2026, 12, 1)) == []
    assert [each.sentence(today) for each in urgent({}, config.retires, config.uses, today)] == [
        "openai/old retired on 2027-02-01; it was the baseline of c; "
        "a canary of 14 days cannot finish any more",
        "openai/new retires on 2027-02-25, in 23 days; it is the candidate of c",
    ]
    assert list(config.watch.uses) == ["openai/old", "openai/new"]


def test_the_report_job_has_a_time_and_a_zone() -> None:
    text = SOUND + 'report_job: {at: "09:00", timezone: Europe/Berlin}\n'
    assert parse(text, "canary.yaml", {}).control.report_job == DailyTime(
        at=time(9), timezone="Europe/Berlin"
    )
    assert parse(SOUND + "report_job: {at: 9:05}\n", "canary.yaml", {}).report_job == DailyTime(at=time(9, 5))
    assert parse(SOUND, "canary.yaml", {}).report_job is None


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ("{at: 24:00}", 'report_job.at: must be a time of day, such as "09:00"'),
        ("{at: 9}", 'report_job.at: must be a time of day, such as "09:00"'),
        ("{at: 9:00, timezone: Berlin}", "must be a time zone of the IANA database, such as Europe/Berlin"),
        ("{at: 9:00, timezone: ../etc}", "must be a time zone of the IANA database, such as Europe/Berlin"),
        ("{timezone: UTC}", "report_job.at: is missing"),
    ],
)
def test_a_report_job_that_cannot_be_is_refused(job: str, says: str) -> None:
    (line,) = refusal(SOUND + f"report_job: {job}\n")
    assert says in line


@pytest.mark.parametrize(
    "place",
    [
        "elsewhere",
        "/mnt/outcomes",
        "s3://bucket/canary",
        "gs://b",
        "az://container/canary?account=a",
        "store",
    ],
)
def test_outcomes_lie_where_the_file_says(place: str) -> None:
    assert parse(SOUND + f"outcomes: {place}\n", "canary.yaml", {}).outcomes == place


def test_outcomes_lie_in_a_folder_or_with_replicas_in_the_database() -> None:
    assert parse(SOUND, "canary.yaml", {}).outcomes == "outcomes"
    assert parse(SOUND + "shared: redis://cache\n", "canary.yaml", {}).outcomes == "store"
    for place in ("/mnt/outcomes", "s3://bucket/canary"):
        shared = SOUND + f"shared: redis://cache\noutcomes: {place}\n"
        assert parse(shared, "canary.yaml", {}).outcomes == place


_OWN = "needs a folder of its own; write outcomes, for one in the data folder, or its absolute path"
_PLACES = "must be a folder, s3://BUCKET/…, gs://BUCKET/…, az://CONTAINER/…?account=NAME, or store"


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("s3://", "s3:// needs a bucket: write s3://BUCKET/PREFIX"),
        ("az://container/canary", "az:// needs its account: write az://container/canary?account=NAME"),
        ("hdfs://name/x", _PLACES),
        ("~/out", "~ is not expanded; write the absolute path, for example /home/canary/outcomes"),
        (".", _OWN),
        ("./", _OWN),
        ("/", _OWN),
        ("file:///mnt/outcomes", _PLACES),
    ],
)
def test_other_places_of_outcomes_are_refused(place: str, says: str) -> None:
    assert refusal(SOUND + f"outcomes: {place}\n") == [f"canary.yaml:3: outcomes: {says}"]


def test_a_relative_folder_of_outcomes_is_refused_with_replicas() -> None:
    (found,) = refusal(SOUND + "shared: redis://cache\noutcomes: outcomes\n")
    assert found.startswith("canary.yaml:4: outcomes: a relative folder is in each replica's own data folder")
    assert "write s3://BUCKET/PREFIX" in found


def _entry(keys: str, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    return parse(f"providers:\n  own: {{{keys}}}\n", "canary.yaml", environment or {}).warnings


@pytest.mark.parametrize(
    ("api", "url", "right"),
    [
        ("openai", "https://own.example", "https://own.example/v1"),
        ("openai", "http://127.0.0.1:8082/", "http://127.0.0.1:8082/v1"),
        ("anthropic", "https://own.example/v1", "https://own.example"),
        ("gemini", "https://own.example/llm/v1beta", "https://own.example/llm"),
    ],
)
def test_a_base_url_that_most_likely_gets_404_is_named_with_the_right_one(
    api: str, url: str, right: str
) -> None:
    (warning,) = _entry(f'api: {api}, base_url: "{url}"')
    assert f'write "{right}"' in warning
    assert _entry(f'api: {api}, base_url: "{right}"') == ()
    assert _entry('api: openai, base_url: "https://api.deepseek.com"') == ()


@pytest.mark.parametrize("written", ["OPENAI_API_KEY", "$OPENAI_API_KEY"])
def test_a_variables_name_is_no_key(written: str) -> None:
    with pytest.raises(ConfigError, match=r'for the value of this variable write "\$\{OPENAI_API_KEY\}"'):
        _entry(f'api: openai, base_url: "https://own.example/v1", api_key: {written}')


def test_a_key_that_stands_in_the_file_is_a_warning_that_does_not_repeat_it() -> None:
    entry = 'api: openai, base_url: "https://own.example/v1", api_key: '
    (warning,) = _entry(f"{entry}sk-0123456789abcdef")
    assert 'write the name of a variable that holds it, "${OWN_API_KEY}"' in warning
    assert "sk-0123" not in warning
    assert _entry(f'{entry}"${{OWN_API_KEY}}"', {"OWN_API_KEY": "sk-0123456789abcdef"}) == ()
    assert _entry('api: openai, base_url: "http://localhost:1/v1", api_key: sk-0123456789abcdef') == ()


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("canaries[0].baseline.model", "baseline: {provider: own, model: URL}"),
        ("canaries[0].match.models[0]", "match: {models: [URL]}"),
    ],
)
def test_a_url_is_no_model(place: str, key: str) -> None:
    keys = {
        "match": "match: {models: [a]}",
        "baseline": "baseline: {provider: own, model: a}",
        "candidate": "candidate: {provider: own, model: b}",
    } | {key.partition(":")[0]: key.replace("URL", '"https://own.example/v1/gpt-4o"')}
    canary = ", ".join(["name: trial", "share: 5%", *keys.values()])
    providers = 'providers: {own: {api: openai, base_url: "https://own.example/v1"}}'
    text = f"{providers}\ncanaries: [{{{canary}}}]\n"
    with pytest.raises(ConfigError) as refused:
        parse(text, "canary.yaml", {})
    assert f"{place}: is a URL; write the name that the provider has for the model" in str(refused.value)
