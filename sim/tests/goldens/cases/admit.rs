//! Admission: well formed, and from somebody who may exist.

use sim::craft::{ethernet, says, station, tagged};
use wire::Mac;
use wire::offload::{GSO_ECN, VNET_HDR_LEN};

use super::{LAN, from_to};
use crate::case::Case;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = malformed();
    cases.extend(sources());
    cases.extend(lies());
    cases
}

fn malformed() -> Vec<Case> {
    let whole = says(from_to(1, 2), "");
    vec![
        Case::new(
            "drop-admit-runt",
            "A frame that ends within its Ethernet header, or within the tag it announces, is dropped; one with \
             nothing behind its header passes.",
            LAN,
        )
        .send("c1", Vec::new())
        .send("c1", &whole[..13])
        .send("c1", &tagged(0, &whole)[..17])
        .send("c1", whole),
        Case::new(
            "drop-admit-over-mtu",
            "A frame with 1,501 octets behind its header is dropped where the MTU is 1,500, and one with 1,500 passes, \
             priority tag or not.",
            LAN,
        )
        .send("c1", ethernet(from_to(1, 2), 0x88b5, &[0x11; 1501]))
        .send("c1", tagged(0x2000, &ethernet(from_to(1, 2), 0x88b5, &[0x22; 1501])))
        .send("c1", ethernet(from_to(1, 2), 0x88b5, &[0x33; 1500]))
        .send("c1", tagged(0x2000, &ethernet(from_to(1, 2), 0x88b5, &[0x44; 1500]))),
        Case::new(
            "drop-admit-reserved-multicast",
            "What is for the bridge itself (STP, LACP, LLDP: 01:80:c2:00:00:00 to 0f) goes no further; the next \
             address is a multicast like others.",
            LAN,
        )
        .send_all("c1", [0, 2, 14, 15, 16].map(|last| says((reserved(last), station(1)), "bridge"))),
        Case::new(
            "reserved-multicast-forwarded",
            "With `reserved_forward = [14]` LLDP passes and STP still does not.",
            LAN.replace("[network.lan]\n", "[network.lan]\nreserved_forward = [14]\n"),
        )
        .send_all("c1", [0, 14].map(|last| says((reserved(last), station(1)), "bridge"))),
    ]
}

const fn reserved(last: u8) -> Mac {
    Mac([1, 0x80, 0xc2, 0, 0, last])
}

fn sources() -> Vec<Case> {
    let group = Mac([3, 0, 0, 0, 0, 1]);
    vec![
        Case::new(
            "drop-admit-group-source",
            "A frame whose source is a group, or everybody, is dropped and teaches nothing.",
            LAN,
        )
        .send("c1", says((station(2), group), "group"))
        .send("c1", says((station(2), Mac::BROADCAST), "everybody"))
        .send("c2", says((group, station(2)), "a multicast, flooded")),
        Case::new("drop-admit-zero-source", "A frame from 00:00:00:00:00:00 is dropped.", LAN)
            .send("c1", says((station(2), Mac([0; 6])), "nobody")),
    ]
}

/// Virtio headers that say what is not so.
fn lies() -> Vec<Case> {
    let frame = ethernet(from_to(1, 2), 0x88b5, &[0x11; 100]);
    let header = |flags: u8, gso_type: u8, gso_size: u8, csum_start: u16, csum_offset: u16| {
        let mut header = [0; VNET_HDR_LEN];
        (header[0], header[1], header[4]) = (flags, gso_type, gso_size);
        header[6..8].copy_from_slice(&csum_start.to_le_bytes());
        header[8..10].copy_from_slice(&csum_offset.to_le_bytes());
        header
    };
    vec![
        Case::new(
            "drop-admit-vnet-gso-type",
            "A virtio header that names a kind of super-segment which was never offered (UFO, one of the future, ECN \
             without a kind that has it) is dropped.",
            LAN,
        )
        .send_virtio("c1", header(1, 3, 100, 14, 0), &frame)
        .send_virtio("c1", header(1, 2, 100, 14, 0), &frame)
        .send_virtio("c1", header(1, 0x7f, 100, 14, 0), &frame)
        .send_virtio("c1", header(1, GSO_ECN | 3, 100, 14, 0), &frame),
        Case::new(
            "drop-admit-vnet-gso-size",
            "A super-segment without a segment size, or without a checksum to finish, is dropped.",
            LAN,
        )
        .send_virtio("c1", header(1, 1, 0, 34, 16), &frame)
        .send_virtio("c1", header(0, 1, 100, 34, 16), &frame)
        .send_virtio("c1", header(0, 5, 0, 0, 0), &frame),
        Case::new(
            "drop-admit-vnet-csum",
            "A virtio header that places the checksum past the end of the frame, or starts it within the Ethernet \
             header, is dropped; at the very end it passes. What counts is the frame without its tag.",
            LAN,
        )
        .send_virtio("c1", header(1, 0, 0, 114, 0), &frame)
        .send_virtio("c1", header(1, 0, 0, 0xffff, 0xffff), &frame)
        .send_virtio("c1", header(1, 0, 0, 34, 79), &frame)
        .send_virtio("c1", header(1, 0, 0, 2, 114), &tagged(0, &frame))
        .send_virtio("c1", header(1, 0, 0, 17, 2), &tagged(0, &frame))
        .send_virtio("c1", header(1, 0, 0, 13, 2), &frame)
        .send_virtio("c1", header(1, 0, 0, 34, 78), &frame),
    ]
}
