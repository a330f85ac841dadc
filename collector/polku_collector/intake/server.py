"""uvicorn's server, whose connections are guarded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import uvicorn

from .connection import Connection
from .guard import Guard

_TICKS_A_SWEEP: Final = 10  # uvicorn's, of a tenth of a second


class GuardedServer(uvicorn.Server):
    """uvicorn that looks after its connections once a second, and says how many there are."""

    def __init__(self, config: uvicorn.Config, guard: Guard, observe: Callable[[int], None] = lambda number: None):
        config.http = type("GuardedConnection", (Connection,), {"guard": guard})
        super().__init__(config)
        self._guard, self._observe = guard, observe

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SWEEP == 0:
            connections = self.server_state.connections
            self._guard.sweep(connections)
            self._observe(len(connections))
        return await super().on_tick(counter)
