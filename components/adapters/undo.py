"""Brings an InferenceService back to the state before a change that fails in the middle.

It stands apart because the deploy step and the rollout commands undo in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from components.adapters.inference_service import InferenceService
from components.adapters.service_state import State
from components.adapters.workloads import Progress, Superseded
from fairtag.base.errors import FairtagError, UnavailableError


class Undo:
    """Whether a change was made that would have to be undone."""

    made = False

    def after(self, state: State) -> State:
        """Note that a change was made; returns its state."""
        self.made = True
        return state


@contextmanager
def undone_on_failure(service: InferenceService, progress: Progress, *, timeout: float) -> Iterator[Undo]:
    """Bring the whole state back where a change that the block made fails: model, canary, share and record.

    Args:
        service: The service, which is read when the block begins.
        progress: Told what is waited for.
        timeout: Longest wait for what is back, seconds.

    Raises:
        UnavailableError: The block failed; the message says why, and what is back or could not be brought back.
    """
    before, undo = service.read(), Undo()
    served = service.serves(before)
    try:
        yield undo
    except KeyboardInterrupt:
        if undo.made:
            progress("interrupted; the change stays as far as it got, `fairtag rollback` undoes it")
        raise
    except Superseded:
        raise
    except FairtagError as error:
        if not undo.made:
            raise
        progress(f"{error}; going back")
        try:
            restored = service.restore(before)
            if not before.stable:  # nothing that waits for a model is ever ready
                service.clear(restored, timeout=timeout)
            elif served:
                service.wait_ready(restored, progress, timeout=timeout)
        except FairtagError as second:
            raise UnavailableError(
                f"{error}; and going back failed too ({second}): run `fairtag rollback` when the cluster answers"
            ) from error
        raise UnavailableError(f"{error}; {_what_is_back(before, served=served)}") from error


def _what_is_back(before: State, *, served: bool) -> str:
    if not before.stable:
        return "rolled back: the service waits for its first model, as before"
    return f"rolled back: {before.stable} is {'back' if served else 'named again'}"
