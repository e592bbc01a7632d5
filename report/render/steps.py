"""What would change the verdict, in words."""

from report.document import MetricLine, Report, SegmentLine
from report.render import prose
from report.wording import bound_words, days, joined, label, title, to_come, too_long


def next_steps(report: Report) -> list[str]:
    """One sentence for each thing that holds the verdict back."""
    blocked: dict[str, list[str]] = {}
    places: list[prose.Part] = [*report.categories, *report.segments]
    for part in places:
        if part.blocks:
            where = f"{part.by} {part.value}" if isinstance(part, SegmentLine) else f"category {part.value}"
            blocked.setdefault(where, []).append(label(part.metric))
    missed_first = sorted(report.metrics, key=lambda line: line.state != "FAIL")
    found = [
        *(
            ["Split: find where users were lost or misrouted, mend it, and run again."]
            if report.srm.blocked
            else []
        ),
        *(sentence for line in missed_first if (sentence := _next_step(line, report)) is not None),
        *(
            f"{where[0].upper()}{where[1:]}: a candidate that does as well there in {joined(metrics)}."
            for where, metrics in blocked.items()
        ),
        *_time(report),
        *_places(report),
    ]
    return found + _by_a_person(report, found)


def _by_a_person(report: Report, found: list[str]) -> list[str]:
    """What is left where no traffic changes it; a broken split is outweighed by nothing."""
    if report.verdict != "dont_ship" or report.srm.blocked:
        return []
    again = [] if found else ["The run was rolled back and stays so: resume it, or try another candidate."]
    return [*again, "Or a person who decides to ship all the same, and records what outweighs it."]


def _next_step(line: MetricLine, report: Report) -> str | None:
    name = title(line.metric)
    if report.verdict == "dont_ship" and line.state != "FAIL":
        # Whatever more evidence says of it, the verdict stays.
        return None
    if prose.unripe(line, report):
        return f"{name}: values are complete {days(line.matures_days)} after a user’s first request."
    if line.state in ("INCONCLUSIVE", "NODATA"):
        return f"{name}: {_evidence_needed(line)}."
    if line.state == "FAIL":
        return (
            f"{name}: a candidate that stays {bound_words(line.acceptable)}; more traffic will not change it."
        )
    if line.state == "PASS" and report.verdict == "ship":
        return f"{name}: ideal once the whole interval is {bound_words(line.ideal)}."
    return None


def _evidence_needed(line: MetricLine) -> str:
    if line.units_needed is None:
        return (
            "cannot be told how much more evidence; what is seen lies at the bound or rests on too few users"
        )
    found = to_come(line.units_needed, line.days_needed)
    if too_long(line.days_needed):
        return (
            f"{found}, too long to wait for; a larger share tells sooner, "
            "and so does a candidate further from the bound"
        )
    return found


def _time(report: Report) -> list[str]:
    """Only where time alone is asked for: a miss does not go away by waiting."""
    done, required = report.window.whole_days, report.window.days_required
    if report.verdict != "extend" or done is None or required is None or done >= required:
        return []
    return [f"Time: {days(required - done, more=True)} of candidate traffic ({done} of {required:g} so far)."]


def _places(report: Report) -> list[str]:
    """What would take away a caveat."""
    if report.verdict != "ship_with_caveats":
        return []
    parts: list[prose.Part] = [*report.segments, *report.categories]
    where = list(dict.fromkeys(_place(part) for part in parts if part.state == "WORSE"))
    return [f"Without caveats: a candidate that is not worse in {joined(where)}."] if where else []


def _place(part: prose.Part) -> str:
    return prose.part_name(part).replace(": ", " ")
