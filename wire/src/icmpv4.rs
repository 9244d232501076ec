//! ICMP for IPv4 (RFC 792): smoltcp's view and summary, under our names.
//!
//! A [`Packet`] reads and writes fields in place. `new_checked` refuses a slice shorter than the header of its type;
//! after it no reading accessor panics. `new_unchecked` and the setters panic on a slice that is too short.
//! [`Repr`] borrows the data; it knows echo, destination unreachable and time exceeded, and refuses the rest.

pub use smoltcp::phy::ChecksumCapabilities;
pub use smoltcp::wire::{
    Icmpv4DstUnreachable as DstUnreachable, Icmpv4Message as Message, Icmpv4Packet as Packet,
    Icmpv4Repr as Repr, Icmpv4TimeExceeded as TimeExceeded,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Sum;

    /// Echo request 0x1234, sequence 1, data "hi"; checksum computed by other means.
    const ECHO: [u8; 10] = [8, 0, 0x7d, 0x61, 0x12, 0x34, 0, 1, b'h', b'i'];

    #[test]
    fn header_round_trips() {
        let repr = Repr::EchoRequest { ident: 0x1234, seq_no: 1, data: b"hi" };
        let packet = Packet::new_checked(&ECHO[..]).unwrap();
        assert_eq!(Repr::parse(&packet, &ChecksumCapabilities::default()), Ok(repr));
        let mut bytes = [0xa5; 10];
        repr.emit(&mut Packet::new_unchecked(&mut bytes[..]), &ChecksumCapabilities::default());
        assert_eq!(bytes, ECHO);
        assert!(Sum::of(&bytes).is_intact());
    }

    #[test]
    fn a_cut_header_is_refused() {
        assert!(Packet::new_checked(&ECHO[..7]).is_err());
        let mut bytes = ECHO;
        bytes[9] ^= 1;
        let packet = Packet::new_checked(&bytes[..]).unwrap();
        assert!(Repr::parse(&packet, &ChecksumCapabilities::default()).is_err());
    }
}
