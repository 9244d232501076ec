//! TCP (RFC 9293): smoltcp's view, under our names.
//!
//! A [`Packet`] reads and writes fields in place. `new_checked` refuses a slice shorter than the data offset it
//! announces and an offset shorter than the header; after it no reading accessor panics. `new_unchecked` and the
//! setters panic on a slice that is too short. Checksums: [`crate::checksum`].

pub use smoltcp::wire::{TcpOption as Option, TcpPacket as Packet, TcpSeqNumber as SeqNumber};

pub use crate::headers::TCP_HEADER_LEN as HEADER_LEN;

/// No more data from the sender.
pub const FIN: u8 = 0x01;
/// The first segment of a direction.
pub const SYN: u8 = 0x02;
/// The connection is refused or aborted.
pub const RST: u8 = 0x04;
/// Hand the data up at once.
pub const PSH: u8 = 0x08;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;
/// The urgent pointer counts.
pub const URG: u8 = 0x20;
/// Congestion experienced (RFC 3168).
pub const ECE: u8 = 0x40;
/// Congestion window reduced (RFC 3168).
pub const CWR: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::IpAddress;

    /// 10.0.0.1:4660 to 10.0.0.2:80, sequence 1, PSH and ACK of 2, window 256, payload "hi"; checksum computed by other means.
    const PACKET: [u8; 22] =
        [0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, PSH | ACK, 1, 0, 0x1f, 0xd8, 0, 0, b'h', b'i'];

    #[test]
    fn header_round_trips() {
        let packet = Packet::new_checked(&PACKET[..]).unwrap();
        assert_eq!((packet.src_port(), packet.dst_port(), packet.window_len()), (0x1234, 80, 256));
        assert_eq!((packet.seq_number(), packet.ack_number()), (SeqNumber(1), SeqNumber(2)));
        assert!(packet.psh() && packet.ack() && !packet.syn() && !packet.fin());
        assert_eq!(packet.payload(), b"hi");
        let (src, dst) = (IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2));
        assert!(packet.verify_checksum(&src, &dst));

        let mut bytes = [0xa5; 22];
        let mut packet = Packet::new_unchecked(&mut bytes[..]);
        packet.set_src_port(0x1234);
        packet.set_dst_port(80);
        packet.set_seq_number(SeqNumber(1));
        packet.set_ack_number(SeqNumber(2));
        packet.clear_flags();
        packet.set_header_len(20);
        packet.set_psh(true);
        packet.set_ack(true);
        packet.set_window_len(256);
        packet.set_urgent_at(0);
        packet.payload_mut().copy_from_slice(b"hi");
        packet.fill_checksum(&src, &dst);
        assert_eq!(bytes, PACKET);
    }

    #[test]
    fn offsets_that_lie_are_refused() {
        for octet in [0x40, 0x60, 0xf0] {
            let mut bytes = PACKET;
            bytes[12] = octet;
            assert!(Packet::new_checked(&bytes[..]).is_err(), "{octet:x}");
        }
    }
}
