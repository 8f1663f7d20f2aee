"""What our services share as programs: they end on a signal, and say in a line why they cannot start."""

from __future__ import annotations

import gc
import signal
from collections.abc import Awaitable, Callable

import click
import structlog
import trio

log = structlog.get_logger(__name__)

COLLECT_AFTER = (10_000, 10, 20)
"""When Python looks for cyclic garbage, as :func:`gc.set_threshold` takes it: the full search, which stops
everything for some 60 ms at 500 sockets, once in two million new objects instead of 70,000."""


class CannotStart(Exception):
    """A service cannot start; the text says why and what to do."""


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on a TCP port.

    Raises:
        CannotStart: it is not to be had.
    """
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {host}:{port} ({error.strerror or error}): "
            "is another server running there? Choose another with --port."
        ) from None


def run_program(name: str, errors: tuple[type[Exception], ...], main: Callable[[], Awaitable[None]]) -> None:
    """Run a service until SIGTERM or Ctrl-C cancels it.

    Args:
        name: of the program, before what it says.
        errors: whose text says why the service cannot run and what to do; they end the process with status 1.
        main: the service.
    """
    gc.freeze()  # what is there now stays, and need not be looked through again
    gc.set_threshold(*COLLECT_AFTER)
    try:
        trio.run(_until_signal, main)
    except* errors as group:
        for error in _leaves(group):
            click.echo(f"{name}: {error}", err=True)
        raise SystemExit(1) from None


async def _until_signal(main: Callable[[], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_stop_on_signal, nursery.cancel_scope)
        await main()


async def _stop_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Cancel at the first signal; another one then ends the process at once, as usual."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            log.info("stopping", signal=signal.Signals(number).name)
            scope.cancel()
            return


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
