"""A real Postgres and a real Redis of one data directory, from the binaries of two wheels.

start            become the owner: adopt or start the servers, end them on `stop()`
attach           use what a live owner runs
attach_or_start  attach, or start them for a while: the last user ends them

Nothing is inherited but locks: every server process holds `<name>.lock` for as long as it or a
child of it lives, its owner holds `lock`, and passing users share `users.lock`. The kernel
releases all of them at any death, so no pid file is ever believed alone.
"""

from storage.embedded.lock import DataDirectoryInUse
from storage.embedded.record import Servers
from storage.embedded.sharing import attach, attach_or_start
from storage.embedded.supervisor import EmbeddedServers, start

__all__ = [
    "DataDirectoryInUse",
    "EmbeddedServers",
    "Servers",
    "attach",
    "attach_or_start",
    "start",
]
