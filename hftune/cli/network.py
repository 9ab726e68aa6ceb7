"""Addresses that a server of ours may listen on."""

from hftune.errors import RequestError
from hftune.hub.server import is_loopback


def check_host(host: str, *, open_to_network: bool, problem: str, remedy: str) -> None:
    """Raise RequestError for an address that others can reach, unless that was asked for."""
    if not (open_to_network or is_loopback(host)):
        raise RequestError(
            problem,
            found=f"--host {host}",
            allowed="an address of this machine alone, such as 127.0.0.1",
            remedy=remedy,
        )
