"""The proof that a store lets only one of several writers create an object (it honours `If-None-Match`).

A Delta commit is the creation of one file. A store that lets a second writer replace it loses the first writer's
events without an error anywhere; so it is asked, with several writers at once, before anything is committed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.schema import Field, PrimitiveType

from polku_collector.errors import LakeError, StoreUnreachable, StoreUntrusted
from polku_collector.logs import plain

# Enough writers at once that a store which checks first and writes later is caught, few enough to be cheap.
PROBE_WRITERS = 8
PROBE_ROUNDS = 3


def probe_commits(uri: str, storage_options: dict[str, str], where: str) -> None:
    """Concurrent creations of one commit through deltalake's own client: one may win. Leaves a scratch table.

    Raises like `Store.probe`. `where` is the store's name in the messages.
    """
    schema = Schema([Field("probe", PrimitiveType("long"))])
    no_hooks = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)

    def commit(handle: DeltaTable, writer: int) -> bool:
        # The same application transaction from the same version: deltalake can neither rebase nor repeat it.
        properties = CommitProperties(max_commit_retries=0, app_transactions=[Transaction("probe", writer)])
        try:
            handle.create_write_transaction(
                [], "append", schema, commit_properties=properties, post_commithook_properties=no_hooks
            )
        except CommitFailedError:
            return False
        return True

    def attempt(number: int) -> list[int]:
        handles = [DeltaTable(uri, storage_options=storage_options) for _ in range(PROBE_WRITERS)]
        before = handles[0].version()
        won = at_once([lambda w=w, h=h: commit(h, w) for w, h in enumerate(handles)])  # type: ignore[misc]
        winners = [writer for writer, win in enumerate(won) if win]
        after = DeltaTable(uri, storage_options=storage_options)
        if len(winners) == 1 and after.transaction_version("probe") != winners[0]:
            raise untrusted(where, "a commit that was refused had overwritten the one that was accepted")
        return winners if after.version() > before else []

    try:
        DeltaTable.create(uri, schema, storage_options=storage_options, mode="ignore")
        prove_single_winner(attempt, where)
    except (LakeError, MemoryError):
        raise
    except Exception as error:  # deltalake raises OSError, DeltaError and others for a store that fails
        raise StoreUnreachable(
            f"The store {where} did not let us commit to a scratch table: {plain(str(error))}"
        ) from error


def prove_single_winner(attempt: Callable[[int], list[int]], where: str) -> None:
    """Run the rounds; a round without a winner (a lost answer, all refused) proves nothing and is repeated."""
    proven = 0
    for number in range(2 * PROBE_ROUNDS):
        winners = attempt(number)
        if len(winners) > 1:
            raise untrusted(where, f"{len(winners)} of {PROBE_WRITERS} writers created the same object")
        proven += len(winners)
        if proven == PROBE_ROUNDS:
            return
    raise StoreUnreachable(f"The store {where} let no writer create an object; it will be asked again.")


def untrusted(where: str, finding: str) -> StoreUntrusted:
    """The error that names the store, what was found and what to do."""
    return StoreUntrusted(
        f"The store {where} does not honour If-None-Match: {finding}. Two collectors would silently lose each "
        "other's events there. Use a store with conditional writes (S3, R2, a current MinIO, a local directory)."
    )


def at_once(calls: list[Callable[[], bool]]) -> list[bool]:
    """Run all calls at the same moment; the first exception of any is raised."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], bool]) -> bool:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))
