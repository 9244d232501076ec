//! Drop reasons: every way a walk can end without the frame going on, in one table.
//!
//! The table is the source. Enum, text and counter arrays come from it; a tidy test fails if a reason has no golden
//! (`sim/goldens/`) and no written exemption. Ids start with the room that refuses.

use serde::{Deserialize, Serialize};

/// Builds the enum and its texts from one table of
/// `Variant => "room.id", "what happened", "likely cause", "what to do";`.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident => $id:literal, $sentence:literal, $cause:literal, $advice:literal;)*) => {
        /// Why a frame went no further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $sentence] $(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// Every reason, in table order; `ALL[reason.index()] == reason`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The stable name that users see and search for, `room.what`.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }

            /// What happened, in one sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// What usually causes it.
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$variant => $cause,)* }
            }

            /// What a user can do about it.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

impl DropReason {
    /// The reason as an index into counter arrays.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The reason with this id.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.id() == id)
    }
}

drop_reasons! {
    // ADMIT: well formed?
    Runt => "admit.runt",
        "The frame is shorter than an Ethernet header, or than the tag it announces.",
        "A broken driver or a hand-made packet.",
        "Capture on the sending interface and look at the sender.";
    Overlong => "admit.over-mtu",
        "The frame, or one segment of it, is longer than the port's MTU allows.",
        "The station's interface has a larger MTU than its network.",
        "Give the interface the network's MTU, or raise `mtu` of the network.";
    VnetGsoType => "admit.vnet-gso-type",
        "The virtio header names a kind of super-segment that was never negotiated.",
        "Another program changed the TAP's offloads, or the header is forged.",
        "Make sure nothing else holds the TAP device open.";
    VnetGsoSize => "admit.vnet-gso-size",
        "The virtio header announces a super-segment without a segment size or a checksum request.",
        "A broken or hostile writer on the other side of the device.",
        "Look at the program that writes to this device.";
    VnetCsum => "admit.vnet-csum",
        "The virtio header places the checksum past the end of the frame, or into its Ethernet header.",
        "A broken or hostile writer on the other side of the device.",
        "Look at the program that writes to this device.";
    Unreadable => "admit.unreadable",
        "The device could not hand the frame over: it is longer than 64 KiB, or a kind of super-segment without a name.",
        "An uplink's interface with a `gro_max_size` above 65536, or one that joins the datagrams of a kernel tunnel.",
        "Set `ip link set dev NAME gro_max_size 65536`, or `ethtool -K NAME rx-gro-list off rx-udp-gro-forwarding off`.";
    Overrun => "admit.overrun",
        "The frame found no room in the socket of an uplink, because the switch had not taken those before it.",
        "More frames than one worker can handle, or a machine that is busy with something else.",
        "See whether worker 0 has a core for itself.";
    FaultIn => "admit.fault",
        "A fault that is set on the port has lost the frame on its way in, on purpose.",
        "Somebody has said `tapestry fault set`.",
        "See `tapestry fault ls`; `tapestry fault clear` ends it.";
    GroupSource => "admit.group-source",
        "The source address is a group address, which no station may use (IEEE 802.3 §3.2.3).",
        "A hand-made or corrupted frame.",
        "Capture on the port and look at the sender.";
    ZeroSource => "admit.zero-source",
        "The source address is 00:00:00:00:00:00.",
        "An interface that was raised before it got an address.",
        "Set the interface's MAC address.";
    ReservedMulticast => "admit.reserved-multicast",
        "The destination is one of 01:80:c2:00:00:00 to 0f, which bridges do not forward (IEEE 802.1Q-2018 table 8-1).",
        "LLDP, LACP, STP, pause frames or 802.1X from a station.",
        "To let a protocol through, list its last digit in `reserved_forward` of the network.";
    // ADMIT: which domain?
    VlanNotAllowed => "admit.vlan-not-allowed",
        "The frame's VLAN is not one that this port carries.",
        "A tagged frame on an access port, or a VLAN missing from the trunk.",
        "Add the VLAN to the port's `trunk`, or remove the tag at the station.";
    UntaggedNotAllowed => "admit.untagged-not-allowed",
        "The frame has no tag and the port has no native network.",
        "A station that does not tag on a trunk port.",
        "Set `network` on the trunk port to give untagged frames a home.";
    DoubleTag => "admit.double-tag",
        "The frame carries a second VLAN tag or a provider tag (802.1ad).",
        "QinQ, which this switch does not carry, or a VLAN hopping attempt.",
        "Remove the outer tag before the frame reaches the switch.";
    // ADMIT: may this port say that?
    SpoofedMac => "admit.spoofed-mac",
        "The source address is not the one bound to this port.",
        "A station that bridges others, changed its MAC, or pretends to be another.",
        "Set the port's `mac` to the station's, or take `mac` out of its `guard`.";
    SpoofedArp => "admit.spoofed-arp",
        "The ARP sender is not an address of this port.",
        "ARP spoofing, or an address that the configuration does not know.",
        "Add the address to the port's `address`, or take `arp` out of its `guard`.";
    SpoofedNd => "admit.spoofed-nd",
        "The neighbour discovery message speaks for an address that is not this port's.",
        "ND spoofing, or an address that the configuration does not know.",
        "Add the address to the port's `address`, or take `nd` out of its `guard`.";
    RogueRa => "admit.rogue-ra",
        "A router advertisement came from a port that may not send one (RFC 6105).",
        "A misconfigured or hostile station that announces itself as a router.",
        "Take `ra` out of the port's `guard` if a router lives there.";
    RogueDhcp => "admit.rogue-dhcp",
        "A DHCP server's message came from a port that may not serve DHCP.",
        "A stray DHCP server, often a VM's own or a home router plugged in backwards.",
        "Take `dhcp` out of the port's `guard` if the DHCP server lives there.";
    // ADMIT and FORWARD: rate?
    StormBroadcast => "admit.storm-broadcast",
        "The port sent more broadcasts than its storm control allows.",
        "A loop, a broken station or an ARP scan.",
        "Find the loop, or raise `storm.broadcast` of the port.";
    StormMulticast => "admit.storm-multicast",
        "The port sent more multicasts than its storm control allows.",
        "A media stream or a broken station.",
        "Raise `storm.multicast` of the port.";
    StormUnknown => "forward.storm-unknown",
        "The port sent more frames to unknown stations than its storm control allows.",
        "A MAC scan, or a station that has gone while traffic to it goes on.",
        "Look at the destinations, or raise `storm.unknown` of the port.";
    // ADMIT: tunnels.
    EncapTruncated => "admit.encap-truncated",
        "The datagram is shorter than the tunnel's header, or than the bare packet that it is said to be.",
        "Something that is not this tunnel's peer sends to its L4 port.",
        "Capture on the underlay and look at the sender.";
    EncapFlags => "admit.encap-flags",
        "The tunnel's header, or the bare packet in its place, is not one (VXLAN: no valid-VNI flag, RFC 7348 §5; udp: no IP packet).",
        "A peer that speaks another encapsulation on this L4 port (VXLAN-GPE, Geneve; VXLAN where udp is meant).",
        "Give the tunnel and its peer the same encapsulation.";
    UnknownVni => "admit.unknown-vni",
        "The datagram names a VNI that this tunnel does not carry.",
        "Peers disagree about the network's `vni`.",
        "Compare `vni` on both hosts.";
    UnlistedPeer => "admit.unlisted-peer",
        "The datagram comes from an address that is no peer of this tunnel.",
        "A host that is not in the configuration, one that sends from another of its addresses, or a forged source.",
        "Add the address to `remotes`, or as an `[[overlay.peer]]`, if it is one of yours.";
    InnerMac => "admit.inner-mac",
        "The frame inside the tunnel is for another MAC address than that of this host's tunnel end.",
        "A peer that remembers this host's former MAC address, or that floods.",
        "Compare `mac` of `[overlay]` with what the peers have for this host.";
    InnerSource => "admit.inner-source",
        "The packet inside the tunnel is not from the subnet of the peer that has sent it.",
        "A peer that forwards what it should translate, or a forged source.",
        "Compare the peer's `subnet` with the addresses behind it.";
    TunnelInjection => "admit.tunnel-injection",
        "The frame is a datagram to an end of one of this host's tunnels, ours or a peer's, where it could pass for the tunnel's.",
        "An attempt to slip into the tunnel; or the host's route to the peer leads back into the switch.",
        "Look at the station; if it has to speak to that host's L4 port itself, give the tunnel another `port`.";
    EncapEcn => "admit.encap-ecn",
        "The datagram was marked for congestion, and the packet inside cannot carry the mark (RFC 6040 §4.2).",
        "A congested underlay; a drop is what tells the sender.",
        "Nothing, unless it is frequent: then look at the queues of the underlay.";
    // ROUTE: for the router's own addresses.
    MalformedArp => "route.malformed-arp",
        "An ARP packet is truncated or not Ethernet/IPv4 (RFC 826).",
        "A broken or hostile station.",
        "Capture on the port and look at the sender.";
    MalformedIp => "route.malformed-ip",
        "A packet to the router has a bad length or checksum.",
        "A corrupting link or a hand-made packet.",
        "Capture on the port and look at the sender.";
    NoService => "route.no-service",
        "A packet to the router's own address asks for something that it does not offer.",
        "A connection to an L4 port of the router that is not published, or a protocol that it does not speak.",
        "Publish the L4 port (`tapestry publish ls`), or connect to the container itself.";
    AnswerRate => "route.answer-rate",
        "The network asks the router more often than it answers.",
        "A scan, a flood ping of the gateway address, or a station in a loop.",
        "Find the station that asks so often with `tapestry port ls`.";
    // ROUTE: who says that?
    MartianSource => "route.martian-source",
        "The source address can be no single host's here (RFC 1812 §5.3.7), or is one that stays on its link (RFC 4291 §2.5.6).",
        "A station without an address yet, or a hand-made packet.",
        "Look at the addresses of the station.";
    OwnSource => "route.own-source",
        "The source address is one of the router's own.",
        "Two stations with one address, a loop, or a hand-made packet.",
        "Look for a station that has the gateway's address.";
    SpoofedSource => "route.spoofed-source",
        "The source address does not belong where the packet came from (RFC 2827).",
        "A station with an address of another network, or a forged source.",
        "Give the station an address of its network, or add the subnet to the network.";
    SourceRouted => "route.source-routed",
        "The packet wants to choose its own way: a source route option or an IPv6 routing header (RFC 5095, RFC 7126).",
        "A hand-made packet.",
        "Nothing: such packets are refused everywhere.";
    // ROUTE: fragments.
    FragmentTiny => "route.fragment-tiny",
        "The first fragment of a packet does not hold its L4 header (RFC 1858).",
        "An attempt to slip past filters.",
        "Capture on the port and look at the sender.";
    FragmentOverlap => "route.fragment-overlap",
        "Fragments of one packet overlap, or one lies past the longest packet (RFC 5722, RFC 3128).",
        "An attack, or a broken stack.",
        "Capture on the port and look at the sender.";
    FragmentLimit => "route.fragment-limit",
        "Too many packets are in pieces at once, or too many pieces wait for their first.",
        "Loss of fragments on the way, or a flood of them.",
        "Lower the senders' MTU so that packets are not fragmented.";
    FragmentTimeout => "route.fragment-timeout",
        "The first fragment of the packet did not come in time.",
        "Loss on the way.",
        "Lower the sender's MTU so that packets are not fragmented.";
    // ROUTE: which way?
    MartianDestination => "route.martian-destination",
        "The destination can be reached through no router: group, loopback, link-local or reserved (RFC 1812 §5.3.7).",
        "A station that sends to a link-local or group address through its default route.",
        "Look at the station's routes.";
    NoRoute => "route.no-route",
        "No route leads to the destination.",
        "No uplink, or no gateway on it, or a network that is not there.",
        "Ask `tapestry route get ADDRESS`; add a route or an `[uplink]` with a `gateway`.";
    Blackhole => "route.blackhole",
        "A route of kind blackhole leads to the destination.",
        "The configuration asks for it.",
        "Ask `tapestry route get ADDRESS` which route it is.";
    RouteUnreachable => "route.unreachable",
        "A route of kind unreachable leads to the destination; the sender has been told.",
        "The configuration asks for it.",
        "Ask `tapestry route get ADDRESS` which route it is.";
    RouteProhibited => "route.prohibited",
        "A route of kind prohibit leads to the destination; the sender has been told.",
        "The configuration asks for it.",
        "Ask `tapestry route get ADDRESS` which route it is.";
    TtlExpired => "route.ttl-expired",
        "The packet has been through as many routers as it may.",
        "`traceroute`, or a routing loop.",
        "Nothing, unless the counter keeps growing: then look for the loop with `traceroute`.";
    // ROUTE: may it?
    Unsolicited => "route.unsolicited",
        "A packet from the uplink belongs to no connection and to nothing that is published.",
        "Somebody outside scans or tries a service that is not published, or a connection older than the switch.",
        "If it should come in, publish it: `tapestry publish add`.";
    Internal => "route.internal",
        "A packet of an internal network was to leave through the uplink.",
        "The network has `internal = true`.",
        "Set `internal = false` if the network's stations may talk to the outside.";
    IsolatedNetworks => "route.isolated",
        "The packet goes from one isolated network to another.",
        "Both networks have `isolated = true`.",
        "Take `isolated` from one of them, or publish what the other needs.";
    OverlayTransit => "route.overlay-transit",
        "The packet comes from another host of the overlay and is not for this host's networks.",
        "A host with an outdated idea of who has which subnet.",
        "Compare the hosts' `[[overlay.peer]]` entries, or their leases.";
    AclDenied => "route.acl-denied",
        "A rule of the access list denies the connection.",
        "The configuration asks for it.",
        "See the hit counters in `tapestry acl ls`.";
    // ROUTE: connections and their translation.
    SessionsMax => "route.sessions-max",
        "The table of connections is full of ones that yield to nobody, or the sender's share of it is.",
        "A scan, a SYN flood, or more connections than the switch is configured for.",
        "See `tapestry nat stats`; raise `sessions_max` or `sessions_per_host_max` in `[nat]`.";
    L4PortsExhausted => "route.l4-ports-exhausted",
        "No L4 port of the outside address is free for another connection.",
        "Very many connections through one outside address.",
        "Give the uplink another address, or shorten the timeouts in `[nat]`.";
    NatProtocol => "route.nat-protocol",
        "The packet needs another address, and its protocol has no L4 ports by which answers could find back.",
        "A tunnel (GRE, ESP), or an ICMP query other than echo, through masquerade.",
        "Give the station an outside address of its own (`[[one_to_one]]`).";
    BadQuote => "route.bad-quote",
        "An ICMP error quotes a packet that belongs to no connection, or not to the one it was sent to (RFC 5508 §7.1).",
        "An answer to a connection that has ended, or a forged error.",
        "Nothing, unless the counter keeps growing.";
    RouteMtu => "route.over-mtu",
        "The packet is longer than the way out lets through and may not be fragmented; the sender has been told.",
        "Path MTU discovery at work, or a network with a smaller MTU.",
        "Nothing, unless connections hang: then something drops ICMP on the way to the sender.";
    // ROUTE: the next hop.
    NeighbourUnreachable => "route.neighbour-unreachable",
        "The next hop did not answer ARP or neighbour solicitations.",
        "The station is down, or there is none with that address.",
        "See `tapestry neigh ls`, and whether the station is attached.";
    NeighbourQueue => "route.neighbour-queue",
        "A packet that waited for its next hop's MAC address gave way to a newer one.",
        "Many packets at once to a station that has not answered yet.",
        "Nothing, unless the counter keeps growing.";
    NeighboursMax => "route.neighbours-max",
        "The next hop is new and the table of neighbours is full of ones in use.",
        "A scan of a large subnet.",
        "Find the scanning station with `tapestry port ls`.";
    // FORWARD.
    SamePort => "forward.same-port",
        "The destination lives behind the port the frame came from.",
        "A hub or bridge behind the port; its stations hear each other without us.",
        "Nothing: this is how a switch avoids duplicates.";
    SplitHorizon => "forward.split-horizon",
        "The frame came from a remote end of a tunnel and is for another of the same tunnel.",
        "Remote ends that do not list each other: every end has to list all others.",
        "Add the missing addresses to `remotes` on the other hosts.";
    Isolated => "forward.isolated",
        "Both ports are isolated from each other.",
        "The network has `icc = false`.",
        "Set `icc = true` if stations of this network may talk to each other.";
    NoReceiver => "forward.no-receiver",
        "The frame was to be flooded and the domain has no other port that may receive it.",
        "The other stations are not attached yet, or their ports are down.",
        "Look at `tapestry port ls` for ports of this network that are not up.";
    NoPort => "forward.no-port",
        "The frame came in through a port that has just been removed.",
        "A configuration change while traffic was flowing.",
        "Nothing, unless the counter keeps growing.";
    // DELIVER.
    EgressMtu => "deliver.over-mtu",
        "The frame, or one segment of it, is longer than the outgoing port's MTU.",
        "Ports of one network have different MTUs.",
        "Give all stations of the network the same MTU.";
    Headroom => "deliver.no-headroom",
        "There is no room before the frame for the tag or tunnel header.",
        "Nested tunnels.",
        "Reduce nesting.";
    NestedTunnel => "deliver.nested-tunnel",
        "The frame has two tunnels inside already, and was to enter a third.",
        "The way to a tunnel's remote end leads through the tunnel itself, or stations that nest tunnels deeply.",
        "Look at the host's route to the remote end: it must not lead into the network that the tunnel carries.";
    NotIp => "deliver.not-ip",
        "The frame holds no IP packet, and the tunnel carries nothing else.",
        "A station that sends other protocols to a peer of an overlay with `backend = \"udp\"`.",
        "Nothing; or use `backend = \"vxlan\"`, which carries frames.";
    BadSuperSegment => "deliver.bad-super-segment",
        "A super-segment had to be cut for this port, and its headers are not those of the kind it claims to be.",
        "A broken or hostile writer on the device the frame came from.",
        "Look at the program that writes to that device.";
    QueueFull => "deliver.queue-full",
        "The outgoing device would not take the frame at once.",
        "The kernel was short of memory for packets, or the device's queue was full.",
        "Look at memory in the kernel's log; the frame's sender will retransmit what matters.";
    DeviceRefused => "deliver.device-refused",
        "The operating system refused the frame.",
        "The device vanished, or its kernel does not accept this offload.",
        "Look at `tapestry port ls` for the port's error.";
    UnderlayMtu => "deliver.underlay-mtu",
        "The datagram is longer than the path to the tunnel's other end takes, and is not to be fragmented.",
        "An inner MTU that is not 50 octets (over IPv6: 70) smaller than the underlay's, or a link on the way that takes less.",
        "Lower the network's `mtu` on all hosts to what the path takes less the tunnel's headers.";
    UnderlayUnreachable => "deliver.underlay-unreachable",
        "This host has no way to the tunnel's other end.",
        "A missing route, an interface that is down, or a neighbour that does not answer.",
        "Look at `ip route get` with the remote's address on this host.";
    FaultOut => "deliver.fault",
        "A fault that is set on the port has lost the frame on its way out, on purpose.",
        "Somebody has said `tapestry fault set`.",
        "See `tapestry fault ls`; `tapestry fault clear` ends it.";
    PortDown => "deliver.port-down",
        "The outgoing interface is down, or its port has been given up.",
        "Somebody took the interface down or deleted it; a flood that reaches such a port counts here too.",
        "See the port's state and error in `tapestry port ls`; raise it with `ip link set dev NAME up`.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn table_is_consistent() {
        let mut ids = BTreeSet::new();
        for (index, &reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(ids.insert(reason.id()), "{} stands twice", reason.id());
            assert_eq!(DropReason::from_id(reason.id()), Some(reason));
            assert!(
                ["admit.", "learn.", "route.", "forward.", "deliver."]
                    .iter()
                    .any(|room| reason.id().starts_with(room)),
                "{} names no room",
                reason.id()
            );
            for text in [reason.sentence(), reason.cause(), reason.advice()] {
                assert!(text.ends_with('.'), "{}: {text}", reason.id());
            }
        }
        assert_eq!(DropReason::from_id("no.such"), None);
    }
}
