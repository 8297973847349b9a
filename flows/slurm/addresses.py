"""The address of this machine that another machine can reach."""

from __future__ import annotations

import socket

import psutil

from preprocess.faults import Fault, FaultsError, did_you_mean

ANY_PORT = 9
"""Nothing is sent to it: the kernel only chooses a route."""


def local_address_towards(host: str) -> str:
    """Return the address of this machine from which packets to `host` are sent.

    Raises OSError when there is no route, or the name can't be resolved.
    """
    family, _, _, _, target = socket.getaddrinfo(host, ANY_PORT, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])


def address_of_interface(name: str) -> str:
    """Return the IPv4 address of a network interface; raises FaultsError when it has none."""
    interfaces = psutil.net_if_addrs()
    for address in interfaces.get(name, []):
        if address.family == socket.AF_INET:
            return str(address.address)
    usable = [key for key, each in interfaces.items() if socket.AF_INET in {a.family for a in each}]
    what = "--slurm.interface: no such network interface with an IPv4 address on this machine"
    raise FaultsError([Fault(what, name, did_you_mean(name, usable))])


def scheduler_address(interface: str, node: str | None) -> str:
    """Return the address to listen on: the named interface's, else the one that faces a node.

    Raises FaultsError when there is no such interface or no route.
    """
    if interface:
        return address_of_interface(interface)
    try:
        return local_address_towards(node or socket.gethostname())
    except OSError as error:
        remedy = "name the interface that nodes can reach: --slurm.interface eth0"
        what = f"no way to the compute node {node} is known ({error})"
        raise FaultsError([Fault(what, remedy=remedy)]) from error
