"""A small Hub on this machine, for demos, tests and work without internet.

It speaks the Hub's own protocol to the unmodified client libraries. For everything else there is
the real Hub.
"""

from hftune.hub.server.auth import Token
from hftune.hub.server.engine import RunningHub, is_loopback, running, serve

__all__ = ["RunningHub", "Token", "is_loopback", "running", "serve"]
