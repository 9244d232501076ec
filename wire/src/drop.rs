//! Drop reasons: every way a walk can end without the frame going on, in one table.
//!
//! The table is the source. Enum, text and counter arrays come from it; a tidy test fails if a reason has no golden
//! (`sim/goldens/`) and no written exemption. Ids start with the room that refuses.

/// Builds the enum and its texts from one table of
/// `Variant => "room.id", "what happened", "likely cause", "what to do";`.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident => $id:literal, $sentence:literal, $cause:literal, $advice:literal;)*) => {
        /// Why a frame went no further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        "The datagram is shorter than the tunnel's header.",
        "Something that is not this tunnel's peer sends to its L4 port.",
        "Capture on the underlay and look at the sender.";
    EncapFlags => "admit.encap-flags",
        "The VXLAN header lacks the valid-VNI flag (RFC 7348 §5).",
        "A peer that speaks another encapsulation on this L4 port (VXLAN-GPE, Geneve).",
        "Give the tunnel and its peer the same encapsulation.";
    UnknownVni => "admit.unknown-vni",
        "The datagram names a VNI that this tunnel does not carry.",
        "Peers disagree about the network's `vni`.",
        "Compare `vni` on both hosts.";
    // ROUTE: for the router's own addresses.
    MalformedArp => "route.malformed-arp",
        "An ARP packet is truncated or not Ethernet/IPv4 (RFC 826).",
        "A broken or hostile station.",
        "Capture on the port and look at the sender.";
    MalformedIp => "route.malformed-ip",
        "A packet to the router has a bad length or checksum.",
        "A corrupting link or a hand-made packet.",
        "Capture on the port and look at the sender.";
    NoRoute => "route.no-route",
        "A packet to the router's MAC is for another host, and this version does not route.",
        "A station uses the gateway address as its default route.",
        "Put both stations on one network, or wait for routing between networks.";
    NoService => "route.no-service",
        "A packet to the router's own address asks for something other than ICMP echo.",
        "A connection attempt to the gateway address.",
        "Connect to the host or the container instead.";
    AnswerRate => "route.answer-rate",
        "The network asks the router more often than it answers.",
        "A scan, a flood ping of the gateway address, or a station in a loop.",
        "Find the station that asks so often with `tapestry port ls`.";
    // FORWARD.
    SamePort => "forward.same-port",
        "The destination lives behind the port the frame came from.",
        "A hub or bridge behind the port; its stations hear each other without us.",
        "Nothing: this is how a switch avoids duplicates.";
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
