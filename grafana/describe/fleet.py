"""The proxy itself over all replicas: availability, speed, and delivery of records."""

from grafana.describe.dashboard import Dashboard
from grafana.describe.expressions import CANARY, happening, per_second, quantile, total
from grafana.describe.panel import Panel, PanelRow, Query

_LOST = 'sum(increase(canary_errors_total{error_type="lost_outcome"}[$__range])) or vector(0)'

NOW = PanelRow(
    title="Now",
    panels=(
        Panel(
            title="Replicas",
            description="Scraped servers with traffic workers. Admin processes do not count.",
            kind="stat",
            unit="short",
            queries=[
                Query(
                    expr="count(canary_inflight_requests unless on (instance) canary_leader)",
                    legend="scraped",
                )
            ],
            width=4,
            height=4,
            decimals=0,
        ),
        Panel(
            title="Requests",
            description="All exchanges per second, including those that no canary matches.",
            kind="stat",
            unit="reqps",
            queries=[Query(expr="sum(rate(canary_requests_total[$__rate_interval]))", legend="all")],
            width=4,
            height=4,
            decimals=1,
        ),
        Panel(
            title="In flight",
            description="Requests being served now. A worker sheds load beyond 4,096.",
            kind="stat",
            unit="short",
            queries=[Query(expr="sum(canary_inflight_requests)", legend="requests")],
            width=4,
            height=4,
            decimals=0,
        ),
        Panel(
            title="Overhead, p99",
            description="The time that the proxy added before it sent the upstream request.",
            kind="stat",
            unit="s",
            queries=[Query(expr=quantile(0.99, "canary_proxy_overhead_seconds", "", ""), legend="p99")],
            width=4,
            height=4,
        ),
        Panel(
            title="Waiting to be stored",
            description="Records in the spools that are not in the database yet. Grows while the database "
            "is down.",
            kind="stat",
            unit="short",
            queries=[Query(expr="sum(canary_records_spooled)", legend="records")],
            width=4,
            height=4,
            decimals=0,
        ),
        Panel(
            title="Lost, dropped, quarantined",
            description="In the time shown: exchanges lost with a worker, records dropped because a spool "
            "was full, and quarantined records. All should be 0.",
            kind="stat",
            unit="short",
            queries=[
                Query(
                    expr=_LOST,
                    legend="lost",
                ),
                Query(expr=total("canary_records_total", 'state="dropped"', "state"), legend="{{state}}"),
                Query(expr=total("canary_records_total", 'state="quarantined"', "state"), legend="{{state}}"),
            ],
            width=4,
            height=4,
            decimals=0,
        ),
    ),
)

TRAFFIC = PanelRow(
    title="Traffic",
    panels=(
        Panel(
            title="Exchanges by outcome",
            description="All exchanges. shed: the proxy refused the request because too many were in flight.",
            kind="timeseries",
            unit="reqps",
            queries=[
                Query(
                    expr=happening("canary_requests_total", "", "outcome"),
                    legend="{{outcome}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            title="Errors by type",
            description="Over all exchanges. proxy_* and lost_outcome are the proxy's own errors.",
            kind="timeseries",
            unit="reqps",
            queries=[
                Query(
                    expr=happening("canary_errors_total", "", "error_type"),
                    legend="{{error_type}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            title="Requests by replica",
            description="The load balancer decides the spread. A replica at 0 gets no requests.",
            kind="timeseries",
            unit="reqps",
            queries=[
                Query(
                    expr=per_second("canary_requests_total", "", "instance"),
                    legend="{{instance}}",
                )
            ],
        ),
        Panel(
            title="In flight by replica",
            description="Requests being served by workers with a heartbeat in the last 5 s.",
            kind="timeseries",
            unit="short",
            queries=[Query(expr="sum by (instance) (canary_inflight_requests)", legend="{{instance}}")],
        ),
        Panel(
            title="Overhead",
            description="The time that the proxy added before it sent the upstream request: p50, p95, p99.",
            kind="timeseries",
            unit="s",
            queries=[
                Query(expr=quantile(q, "canary_proxy_overhead_seconds", "", ""), legend=f"p{q * 100:.0f}")
                for q in (0.5, 0.95, 0.99)
            ],
        ),
        Panel(
            title="Breakers open",
            description="Workers whose breaker is open for a candidate.",
            kind="timeseries",
            unit="short",
            queries=[Query(expr=f"sum by (canary) (canary_breaker_open{{{CANARY}}})", legend="{{canary}}")],
        ),
    ),
)

RECORDS = PanelRow(
    title="Records and canaries",
    panels=(
        Panel(
            title="Records",
            description="accepted = stored + waiting + dropped. If accepted and stored differ for long, the "
            "database has a problem.",
            kind="timeseries",
            unit="wps",
            queries=[Query(expr=per_second("canary_records_total", "", "state"), legend="{{state}}")],
        ),
        Panel(
            title="Waiting to be stored",
            description="By replica. A spool holds 1 GiB; when it is full, new records are dropped and "
            "counted.",
            kind="timeseries",
            unit="short",
            queries=[Query(expr="sum by (instance) (canary_records_spooled)", legend="{{instance}}")],
        ),
        Panel(
            title="Canaries",
            description="Every canary's state and share now.",
            kind="table",
            unit="percentunit",
            queries=[
                Query(
                    expr=f"max by (canary) (canary_share_ratio{{{CANARY}}}) * on (canary) group_right () "
                    f"(max by (canary, state) (canary_state{{{CANARY}}}) == 1)",
                    instant=True,
                )
            ],
        ),
    ),
)

_NOT_TAKEN = per_second("canary_stream_dropped_total", "", "instance")

REPLICAS = PanelRow(
    title="Several replicas (empty on a single server)",
    panels=(
        Panel(
            title="Leader",
            description="The number of leading admin processes. Without one, no guardrail is judged.",
            kind="stat",
            unit="none",
            queries=[Query(expr="sum(canary_leader)", legend="leading")],
            width=4,
            decimals=0,
        ),
        Panel(
            title="Redis reachable",
            description="By process. Without Redis, plans and outcomes go through the database, a little "
            "slower.",
            kind="state-timeline",
            unit="none",
            queries=[Query(expr="min by (instance) (canary_shared_up)", legend="{{instance}}")],
            width=12,
            names={0.0: ("no", "#c4342b"), 1.0: ("yes", "#3f8f5f")},
        ),
        Panel(
            title="Not taken by Redis",
            description="Records that Redis did not take. The leader reads them from the database.",
            kind="timeseries",
            unit="wps",
            queries=[
                Query(expr=per_second("canary_stream_dropped_total", "", "instance"), legend="{{instance}}")
            ],
        ),
    ),
)

FLEET = Dashboard(
    uid="canary-fleet",
    title="Canary: fleet and proxy",
    description="The proxy itself, over all replicas.",
    rows=(NOW, TRAFFIC, RECORDS, REPLICAS),
    since="now-3h",
    by_arm=False,
)
