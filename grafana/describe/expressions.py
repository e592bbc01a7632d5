"""PromQL that several dashboards share. Everything is summed over all scraped replicas."""

CANARY = 'canary=~"$canary"'
ARM = 'canary=~"$canary",arm=~"$arm"'
WINDOW = "$__rate_interval"
RANGE = "$__range"

COUNTED = 'outcome=~"ok|fallback|error"'
"""The exchanges that count for the model: without callers' mistakes and aborted exchanges."""

BLAMED = (
    'error_type=~"provider_.*|candidate_rejects|breaker_open",error_type!~"provider_stale|provider_throttled"'
)
"""The error types that count against the assigned arm, as in records/outcome.py."""


def per_second(counter: str, labels: str, by: str, window: str = WINDOW) -> str:
    """A counter's rate, summed over the replicas."""
    return f"sum by ({by}) (rate({counter}{{{labels}}}[{window}]))"


def happening(counter: str, labels: str, by: str) -> str:
    """A counter's rate without series at 0, which would clutter the legend."""
    return f"{per_second(counter, labels, by)} > 0"


def total(counter: str, labels: str, by: str) -> str:
    """A counter's increase in the time shown."""
    return f"sum by ({by}) (increase({counter}{{{labels}}}[{RANGE}]))"


def quantile(q: float, histogram: str, labels: str = ARM, by: str = "arm", window: str = WINDOW) -> str:
    """A quantile in seconds from a histogram's buckets."""
    grouped = ", ".join(["le", *([by] if by else [])])
    return f"histogram_quantile({q:g}, sum by ({grouped}) (rate({histogram}_bucket{{{labels}}}[{window}])))"


def error_rate(by: str = "arm", labels: str = ARM, window: str = WINDOW) -> str:
    """Blamed errors over counted exchanges: 0 for an arm without errors, no value without exchanges."""
    counted = per_second("canary_requests_total", f"{labels},{COUNTED}", by, window)
    blamed = per_second("canary_errors_total", f"{labels},{BLAMED}", by, window)
    return f"({blamed} or {counted} * 0) / {counted}"


def fault_share(window: str = WINDOW) -> str:
    """Answers with each fault over the answers that were read, for the faults that occur."""
    faults = per_second("canary_answer_faults_total", ARM, "arm, fault", window)
    return f"({faults} > 0) / on (arm) group_left () {per_second('canary_answers_total', ARM, 'arm', window)}"


def cost_per_request(by: str = "arm", labels: str = ARM, window: str = WINDOW) -> str:
    """Dollars per answered exchange with a known price."""
    cost = per_second("canary_cost_usd_total", labels, by, window)
    answered = per_second("canary_requests_total", f'{labels},outcome=~"ok|fallback"', by, window)
    unpriced = per_second("canary_unpriced_requests_total", labels, by, window)
    return f"{cost} / ({answered} - ({unpriced} or {answered} * 0) > 0)"


def tokens_per_request(kind: str, by: str = "arm", labels: str = ARM, window: str = WINDOW) -> str:
    """Tokens of one kind per counted exchange."""
    tokens = per_second("canary_tokens_total", f'{labels},kind="{kind}"', by, window)
    return f"{tokens} / {per_second('canary_requests_total', f'{labels},{COUNTED}', by, window)}"


def mean_feedback(by: str = "arm, metric", labels: str = ARM, window: str = WINDOW) -> str:
    """The mean feedback value."""
    values = per_second("canary_feedback_value_sum", labels, by, window)
    return f"{values} / {per_second('canary_feedback_value_count', labels, by, window)}"


def happened(window: str = WINDOW) -> str:
    """What is reported of things that happen, for each exchange of the arm, whether it happened there or
    not."""
    values = per_second("canary_feedback_value_sum", ARM, "arm, metric", window)
    exchanges = per_second("canary_requests_total", f"{ARM},{COUNTED}", "arm", window)
    about = 'max by (metric) (canary_metric_info{per!="value"})'
    return f"{values} / on (arm) group_left () ({exchanges} > 0) * on (metric) group_left () {about}"


def candidate_over_baseline(both_arms: str) -> str:
    """The candidate's value as a multiple of the baseline's, from an expression by arm."""
    return _pair(both_arms, "/")


def candidate_minus_baseline(both_arms: str) -> str:
    """The candidate's value minus the baseline's, from an expression by arm."""
    return _pair(both_arms, "-")


def _pair(both_arms: str, operator: str) -> str:
    candidate = both_arms.replace('arm=~"$arm"', 'arm="candidate"')
    baseline = both_arms.replace('arm=~"$arm"', 'arm="baseline"')
    return f"({candidate}) {operator} ignoring (arm) ({baseline})"
