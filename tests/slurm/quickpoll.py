"""Snakemake, asking a cluster for its jobs once a second: for tests alone.

The plugin waits ten seconds longer after each time at which nothing has ended, and has no option for that: short jobs
would mostly wait to be asked for.
"""

import asyncio

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def one_second(self) -> None:
    await asyncio.sleep(1)


RemoteExecutor.sleep = one_second
main()
