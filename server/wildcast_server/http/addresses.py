"""Which addresses a request may go to whose URL somebody else has chosen."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")

# Python's own `is_global` has changed with its versions; so what matters is written out. IANA, "IPv4 Special-Purpose
# Address Registry" and "IPv6 Special-Purpose Address Registry".
_SPECIAL = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
)


def address_of(text: str) -> Address:
    """Read an address as a resolver gives it; one of IPv4 that is wrapped in IPv6 is unwrapped.

    Raises
    ------
    ValueError
        If it is none.
    """
    address = ip_address(text)
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    # A gateway makes it a connection of IPv4 (RFC 6052).
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


def is_permitted(address: Address, allowed: Iterable[Network]) -> bool:
    """Whether a request may go to `address`: it is on the public internet, or in one of the networks `allowed`.

    Parameters
    ----------
    address
        As `address_of` returns it.
    allowed
        Networks that whoever runs the server has named; what is in none of them must be public: not loopback, private,
        shared (CGNAT), link-local (there the credentials of cloud machines are), multicast or reserved.
    """
    if any(address in network for network in allowed):
        return True
    if isinstance(address, IPv6Address) and (address not in _GLOBAL_UNICAST or address.scope_id is not None):
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _SPECIAL)
