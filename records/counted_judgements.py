"""Which of a run's judgements count: another judge's taste, or other words, would be another metric."""

from sqlalchemy import ColumnElement, Subquery, func, select

from records import tables


def counted(*runs: ColumnElement[bool]) -> Subquery:
    """The judgements with a result that the newest judge made with its newest words, of each canary, run and
    kind that `runs` selects."""
    table = tables.judgements.c
    of_each = (table.canary, table.run, table.kind)
    newest_first = (table.asked_at.desc(), table.at, table.exchange_id)

    def newest(column: ColumnElement[str]) -> ColumnElement[str]:
        return func.first_value(column).over(partition_by=of_each, order_by=newest_first)

    ended = (
        select(
            *table,
            newest(table.judge).label("newest_judge"),
            newest(table.words_sha256).label("newest_words"),
        )
        .where(table.result != "", *runs)
        .subquery()
    )
    found = ended.c
    same = (found.judge == found.newest_judge) & (found.words_sha256 == found.newest_words)
    return select(ended).where(same).subquery()
