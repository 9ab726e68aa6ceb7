"""A small Hub on this machine, for demos, tests and work without internet.

It speaks the Hub's own protocol to the unmodified client libraries. For everything else there is
the real Hub.
"""

from hftune.hub.server.auth import Token
from hftune.hub.server.engine import RunningHub, running, serve

__all__ = ["RunningHub", "Token", "running", "serve"]
