"""A benchmark's document as text and tables for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from bench.benchmark.rubric import Unit
from common.numbers import count, dollars, rough_percent, seconds
from pages.document import BulletList, Document, Paragraph, Row, Section, Table, columns
from pages.words.bench import number
from pages.words.issues import example_ids
from pages.words.verdict import HEADLINES
from pages.writers import text

_LAYERS = {"synthetic": "Synthetic tasks", "real": "Real-world tasks"}
SPENT = {
    "batch": "Cost, at half the list price as in a batch; latency and throughput are not measured in a batch"
}
_SIDES = ("baseline", "candidate")
_UNITS: dict[str, Unit] = {name: name for name in get_args(Unit)}
_STATES = {"INCONCLUSIVE": "open", "NODATA": "no data"}

Node = Mapping[str, Any]


def rendered(document: Node, *, width: int = 120) -> str:
    """The whole document as text and tables."""
    return text(_page(document), width=width)


def _page(document: Node) -> Document:
    models = f"{document['candidate']} against {document['baseline']}" if document["candidate"] else ""
    return Document(
        title=f"{_headline(document)}: {models or document['baseline']}",
        about="",
        tone="",
        head=[BulletList([*(f"but: {each}" for each in document.get("caveats", ())), *document["reasons"]])],
        sections=[
            Section("Correct answers", [_right(document), *map(Paragraph, _of_answers(document))]),
            Section("The rubric’s rows that a benchmark measures", [_rows(document)]),
            Section(
                SPENT.get(document["via"], "Latency (quantiles: inverted CDF) and cost"),
                [
                    spent(document),
                    *(Paragraph(f"{each['says']}; {each['do']}") for each in document.get("unpriced", ())),
                ],
            ),
            Section("By class", [_classes(document)]),
            *judged(document.get("judge")),
            _alone(*_failed(document)),
            *_checks(document),
            *_beside(document),
        ],
    )


def _alone(*sentences: str) -> Section:
    return Section("", list(map(Paragraph, sentences)))


def _of_answers(document: Node) -> Iterator[str]:
    """How the answers were scored and what they are worth, beside the table."""
    yield from _confidences(document)
    yield _similar(document)
    if (gap := document["gap"]) is not None:
        both = ", ".join(f"{side} {100 * gap[side]:+.1f}" for side in _SIDES if gap[side] is not None)
        yield f"Real-world minus synthetic, in points: {both}"
    yield from by_traffic(document)


def judged(found: Node | None) -> list[Section]:
    """What a judge says of both answers, by dataset and category."""
    if found is None:
        return []
    names = ("", "pairs", "won", "tie", "lost", "no mark", "preference", "by order", "agrees", "kappa")
    rows: list[Row] = [
        [
            name,
            *(str(node[each]) for each in ("pairs", "won", "tie", "lost", "no_mark")),
            _share(node["judged_preference"]),
            rough_percent(node["order_decided"]),
            _share(node["agreement"]["share"]),
            _interval(node["agreement"]["kappa"], "{:.2f}", "{:.2f}"),
        ]
        for each in found["datasets"]
        for name, node in judged_parts(each, mark=" ")
    ]
    cost = "an unknown cost" if found["cost_usd"] is None else dollars(found["cost_usd"])
    words = f"words {found['words_sha256'][:8]}"
    whose = f"{found['provider']}/{found['model']}"
    return [
        Section(
            f"What {whose} says of both answers ({words}, {cost}; decides nothing)",
            [BulletList(found["says"]), Table(columns(*names), rows)],
        )
    ]


def judged_parts(dataset: Node, *, mark: str) -> Iterator[tuple[str, Node]]:
    """The dataset, and each of its categories behind this mark if there are several."""
    yield dataset["dataset"], dataset
    if len(dataset["categories"]) > 1:
        yield from ((f"{mark} {part['value'] or '(no category)'}", part) for part in dataset["categories"])


def _share(found: Node | None) -> str:
    return _interval(found, "{:.0f} %", "{:.0f}", scale=100)


def _interval(found: Node | None, form: str, ends: str, *, scale: float = 1, to: str = " to ") -> str:
    """The estimate with its interval, each in its form."""
    if found is None:
        return "–"
    low, estimate, high = (scale * found[name] for name in ("low", "estimate", "high"))
    return f"{form.format(estimate)} ({ends.format(low)}{to}{ends.format(high)})"


def _failed(document: Node) -> Iterator[str]:
    """The examples that only the candidate fails, and why answers are missing."""
    failed = sorted({each for layer in document["layers"] for each in layer["new_failures"]})
    if failed:
        yield f"New failures: {example_ids(failed)}"
    for side in _SIDES:
        for failure, times in failures(document, side).items():
            yield f"{side}: {times} times {failure}"


def _checks(document: Node) -> Iterator[Section]:
    """The known issues, asked again, and the check of an empty answer."""
    if document["issues"] is not None:
        yield _alone(*issue_lines(document["issues"]))
    if (check := document.get("sanity")) is not None:
        found = "passed" if check["passes"] else f"not passed: {'; '.join(check['against'])}"
        yield _alone(f"Sanity check: {found}")


def _beside(document: Node) -> Iterator[Section]:
    """What is known besides the examples: the forecast, the canary, the vendor's past releases."""
    if (saves := document["forecast"]) is not None:
        month = f"{saves['requests_a_month']:,} requests and {dollars(saves['baseline_usd'])} a month now"
        yield _alone(f"Forecast: {saves['says']} (ratio of the {saves['layer']} tasks; {month})")
    if document["candidate"]:
        yield Section("From the canary", [_canary(document["canary"])])
    if (family := document["family"]) is not None:
        yield _alone(f"Past releases of {family['vendor']}: {_family(family)}")
    yield _alone(made(document))


def made(document: Node) -> str:
    """When, by whom and how a benchmark was made, and how long its stages took."""
    took = ", ".join(f"{stage} {took_s:,.0f} s" for stage, took_s in document["stages"].items())
    return f"{document['at']}, {document['owner']}, {document['via']}; {took}"


def _similar(document: Node) -> str:
    """What scored the examples of the task `similar`; "" without any."""
    by, cost = document.get("similar_by"), document.get("embedding_cost_usd")
    if by is None or by == "words":
        return "Similar answers are those with similar words; no embeddings are configured" if by else ""
    price = "at an unknown cost" if cost is None else f"for {dollars(cost)}"
    return f"Similar answers are those with similar embeddings, by {by} {price}"


def _confidences(document: Node) -> Iterator[str]:
    """Whose confidence each dataset was split by."""
    whose = {
        "tags": "the app's tags",
        "baseline": "the current model's token probabilities",
        "candidate": "the candidate's token probabilities",
    }
    for dataset in _datasets(document):
        if (found := dataset.get("confidence")) is not None:
            by = " and ".join(whose[each] for each in found["by"])
            at = "" if found["threshold"] is None else f", split at their median {found['threshold']:.3g}"
            unknown = f"; {found['unknown']} examples unknown" if found["unknown"] else ""
            says = f"by {by}{at}{unknown}" if by else "unknown: no model gives log probabilities"
            yield f"{dataset['dataset']}, confidence: {says}"


def _headline(document: Node) -> str:
    if document["candidate"] is None:
        return "The current model only"
    if document["verdict"] == "extend":
        return "Not enough data to decide"
    if document["verdict"] != "ship" or document["canary"] is not None:
        return "No verdict yet" if document["verdict"] is None else HEADLINES[document["verdict"]][0]
    if document.get("caveats"):
        return "Ship: no worse answers on these examples, but see what else changes"
    return "Ship: no worse on these examples"


def _canary(found: Node | None) -> Table:
    names = {"user_experience": "User experience", "business": "Business"}
    rows = [["User experience, business", "no canary has run"]]
    if found is not None:
        rows = [[names[layer["layer"]], layer["says"]] for layer in found["layers"]]
        rows.append([f"Verdict of {found['name']}", found["verdict"].replace("_", " ")])
    return Table(columns("", ""), rows)


def _family(found: Node) -> str:
    """5 releases, 4 of them shipped; on average task_completed +1.2 points (-0.4 to +2.8)."""
    releases, needed = found["releases"], found["needed"]
    head = f"{len(releases)} release{'' if len(releases) == 1 else 's'}"
    if len(releases) < needed:
        return f"{head}; more is said from {needed} on"
    head += f", {found['shipped']} of them shipped"
    share = found["accuracy_unit"] == "share"
    changes = [
        f"{name} {_mean(found[key], scale)} {unit}".rstrip()
        for key, name, scale, unit in (
            ("accuracy", found["accuracy_metric"], 100 if share else 1, "points" if share else ""),
            ("cost", "cost", 100, "%"),
            ("latency", "p95", 100, "%"),
        )
        if found[key] is not None
    ]
    return f"{head}; on average {', '.join(changes)}" if changes else head


def _mean(found: Node, scale: float) -> str:
    form = "{:+.1f}" if scale == 100 else "{:+.2f}"
    return _interval(found, form, form, scale=scale)


def _nodes(document: Node) -> Iterator[tuple[str, Node]]:
    """Every layer, dataset, category and tag, with its indented name."""
    for layer in document["layers"]:
        yield _LAYERS[layer["layer"]], layer
        for dataset in layer["datasets"]:
            yield f"  {dataset['dataset']}", dataset
            parts = [*dataset["categories"], *dataset["tags"]]
            if len(parts) > 1 or (parts and parts[0].get("category")):
                for part in parts:
                    yield f"    {part.get('category', part.get('tag')) or '(no category)'}", part
            for level in ("high", "low"):
                if (part := (dataset.get("confidence") or {}).get(level)) is not None:
                    yield f"    {level} confidence", part


def _right(document: Node) -> Table:
    names = ("", "examples", "current", "candidate", "points", "p", "new failures", "")
    rows = [
        [
            name,
            str(node["examples"]),
            _completion(node["baseline"]),
            _completion(node["candidate"]),
            points(node["difference"]),
            "–" if node["mcnemar_p"] is None else f"{node['mcnemar_p']:.2g}",
            str(len(node["new_failures"])) if node["candidate"] else "–",
            "blocks" if node["blocks"] else "look" if node.get("flagged") else "",
        ]
        for name, node in _nodes(document)
    ]
    return Table(columns(*names), rows)


def spent(document: Node) -> Table:
    quantiles = ("p50", "p95", "p99")
    names = ("", "", *quantiles, "p95 ratio", "per hour", "per request", "total", "cost ratio", "judge")
    rows = [
        [
            dataset["dataset"],
            whose,
            *(seconds(side[f"{quantile}_s"]) for quantile in quantiles),
            _ratio(dataset["latency_ratio"]) if whose == "candidate" else "",
            count(side["answers_per_hour"]),
            dollars(side["cost_per_request_usd"]),
            _total(side),
            _ratio(dataset["cost_ratio"]) if whose == "candidate" else "",
            dollars(side["judge_cost_usd"]),
        ]
        for dataset in _datasets(document)
        for whose, side in (("current", dataset["baseline"]), ("candidate", dataset["candidate"]))
        if side is not None
    ]
    return Table(columns(*names), rows)


def _classes(document: Node) -> Table:
    names = ("", "class", "", "examples", "recall", "precision", "false positives")
    rows = [
        [
            dataset["dataset"],
            line["name"],
            "candidate" if side == "candidate" else "current",
            str(line["examples"]),
            *(percent_words(line[name]) for name in ("recall", "precision", "false_positive_rate")),
        ]
        for dataset in _datasets(document)
        for side, lines in dataset["classes"].items()
        for line in lines
    ]
    return Table(columns(*names), rows)


def _rows(document: Node) -> Table:
    """The rubric's rows."""
    rows = [
        [
            row["metric"],
            row["acceptable"],
            *(_row_number(row[side], _UNITS[row["unit"]]) for side in _SIDES),
            " to ".join(number(end, _UNITS[row["unit"]]) for end in row["interval"] or ()),
            _STATES.get(row["state"], row["state"].lower()),
        ]
        for row in document.get("rubric", ())
    ]
    return Table(columns("", "acceptable", "current", "candidate", "", ""), rows)


def _datasets(document: Node) -> Iterator[Node]:
    for layer in document["layers"]:
        yield from layer["datasets"]


def by_traffic(document: Node) -> Iterator[str]:
    """A line for each dataset with weights."""
    for dataset in _datasets(document):
        if (found := dataset.get("weighted")) is not None:
            yield f"{dataset['dataset']} {_totals(found)}"


def _totals(found: Node) -> str:
    sides = (("current", found["baseline"]), ("candidate", found["candidate"]))
    parts = [f"{name} {percent_words(side)}" for name, side in sides if side is not None]
    if (lost := found["difference"]) is not None:
        parts.append(_interval(lost, "{:+.1f} points", "{:+.1f}", scale=100))
    covered = f", {rough_percent(found['covered'])} of it" if found["covered"] < 0.995 else ""
    return f"weighted by the traffic of {found['at'][:10]}{covered}: {', '.join(parts)}"


def _row_number(value: float | None, unit: Unit) -> str:
    return "–" if value is None else number(value, unit)


def failures(document: Node, side: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for layer in document["layers"]:
        for failure, times in (layer[side] or {"failures": {}})["failures"].items():
            found[failure] = found.get(failure, 0) + times
    return found


def _completion(side: Node | None) -> str:
    if side is None or side["completion"] is None:
        return "–"
    low, high = side["interval"]
    return percent_words({"low": low, "estimate": side["completion"], "high": high})


def points(found: Node | None) -> str:
    return _interval(found, "{:+.1f}", "{:+.0f}", scale=100)


def percent_words(found: Node | None) -> str:
    return _interval(found, "{:.1f} %", "{:.0f}", scale=100, to="–")


def _ratio(found: Node | None) -> str:
    return _interval(found, "×{:.2f}", "{:.2f}", to="–")


def _total(side: Node) -> str:
    """$0.12; $0.11 of 55 answers, where others have no known cost."""
    answered = side["examples"] - sum(side["failures"].values())
    some = f" of {side['priced']} answers" if 0 < side["priced"] < answered else ""
    return f"{dollars(side['cost_usd'])}{some}"


def issue_lines(found: Node) -> list[str]:
    """What came of the known issues."""
    head = f"{found['model']}: {found['still_there']} of {len(found['issues'])} known issues still there"
    rows = [(each["state"].replace("_", " "), f"{each['mode']}{_where(each)}") for each in found["issues"]]
    return [head, *(f"  {state:<11}  {mode}" for state, mode in rows)]


def _where(mode: Node) -> str:
    """The examples of a mode that are not gone: (r-17)."""
    ids = [each["id"] for each in mode["examples"] if each["state"] != "gone"]
    return f" ({example_ids(ids)})" if ids else ""
