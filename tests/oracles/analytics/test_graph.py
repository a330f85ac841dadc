"""Directly-follows graph and variants against pm4py."""

from __future__ import annotations

import pandas as pd
import pm4py
import pyarrow as pa

from polku_analytics.analyses.graph import BEGIN, END, GraphQuestion, run_graph
from polku_analytics.analyses.scope import Scope
from polku_analytics.journeys import Journeys

ALL = 10**9


def log(ecom: pa.Table) -> pd.DataFrame:
    """Equal times in the order of event ids, as ours."""
    frame = ecom.select(["user_id", "event_name", "event_time", "event_id"]).to_pandas()
    frame = frame.sort_values(["user_id", "event_time", "event_id"], kind="stable").reset_index(drop=True)
    return pm4py.format_dataframe(frame, case_id="user_id", activity_key="event_name", timestamp_key="event_time")


def test_the_graph_is_that_of_pm4py(ecom: pa.Table, ecom_journeys: Journeys) -> None:
    edges, starts, ends = pm4py.discover_dfg(log(ecom))
    question = GraphQuestion(by="event", top=ALL, scope=Scope(unit="person"))
    ours = {(row[0], row[1]): row[2] for row in run_graph(ecom_journeys, question).rows}
    theirs = {pair: int(count) for pair, count in edges.items()}
    theirs |= {(BEGIN, item): int(count) for item, count in starts.items()}
    theirs |= {(item, END): int(count) for item, count in ends.items()}
    assert ours == theirs
    assert len(edges) > 300


def test_the_variants_are_those_of_pm4py(ecom: pa.Table, ecom_journeys: Journeys) -> None:
    variants = pm4py.get_variants(log(ecom))
    question = GraphQuestion(show="variants", by="event", top=ALL, scope=Scope(unit="person"))
    ours = {row[0]: row[1] for row in run_graph(ecom_journeys, question).rows}
    assert ours == {
        " → ".join(variant): count if isinstance(count, int) else len(count) for variant, count in variants.items()
    }
