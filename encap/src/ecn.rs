//! Congestion marks through a tunnel (RFC 6040), and the DSCP.
//!
//! On the way in to a VXLAN tunnel the inner bits are copied to the outer header (normal mode, §4.1), so that queues of
//! the underlay can mark instead of drop. A tunnel of bare packets gets 00 outside (compatibility mode), because
//! flannel's own ends do not look there and a mark would be lost. On the way out the two are combined (§4.2):
//!
//! | inside ╲ outside | 00 | 01 | 10 | 11 |
//! |---|---|---|---|---|
//! | 00 | 00 | 00 | 00 | refused |
//! | 01 | 01 | 01 | 01 | 11 |
//! | 10 | 10 | 01 | 10 | 11 |
//! | 11 | 11 | 11 | 11 | 11 |
//!
//! The refused one says that there is congestion to somebody who cannot hear it but by loss. The DSCP is neither copied
//! nor restored: the outer one is 0, the inner one stays (pipe model, RFC 2983 §3).

use wire::{DropReason, Ecn};

/// Lets what the outer header said show in the inner frame.
///
/// # Errors
/// `admit.encap-ecn`: a mark outside, and inside a packet that cannot carry it.
#[inline]
pub fn combine(outer: Ecn, frame: &mut [u8]) -> Result<(), DropReason> {
    match outer {
        Ecn::NotEct | Ecn::Ect0 => Ok(()), // Says nothing that the inner header does not say.
        Ecn::Ect1 | Ecn::Ce => combine_mark(outer, frame),
    }
}

#[cold]
fn combine_mark(outer: Ecn, frame: &mut [u8]) -> Result<(), DropReason> {
    let Some(inner) = Ecn::of_frame(frame) else { return Ok(()) };
    let combined = combined(inner, outer).ok_or(DropReason::EncapEcn)?;
    if combined != inner {
        combined.write(frame);
    }
    Ok(())
}

/// The table; `None` where the packet is to be dropped.
fn combined(inner: Ecn, outer: Ecn) -> Option<Ecn> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => None,
        (Ecn::NotEct | Ecn::Ce | Ecn::Ect1, Ecn::NotEct | Ecn::Ect0 | Ecn::Ect1)
        | (Ecn::Ect0, Ecn::NotEct | Ecn::Ect0) => Some(inner),
        (Ecn::Ect0, Ecn::Ect1) => Some(Ecn::Ect1),
        (Ecn::Ect0 | Ecn::Ect1 | Ecn::Ce, Ecn::Ce) => Some(Ecn::Ce),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_combined_as_in_the_table() {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        let outers = [NotEct, Ect1, Ect0, Ce];
        let table = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ect0, [Some(Ect0), Some(Ect1), Some(Ect0), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in outers.into_iter().zip(row) {
                for ethertype in [[0x08, 0x00], [0x86, 0xdd]] {
                    let mut frame = [0; 60];
                    frame[12..14].copy_from_slice(&ethertype);
                    inner.write(&mut frame);
                    let before = frame;
                    match expected {
                        Some(expected) => {
                            assert_eq!(combine(outer, &mut frame), Ok(()));
                            assert_eq!(Ecn::of_frame(&frame), Some(expected), "{inner:?} in {outer:?}");
                        }
                        None => {
                            assert_eq!(combine(outer, &mut frame), Err(DropReason::EncapEcn));
                            assert_eq!(frame, before);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_ip_hears_nothing() {
        let mut frame = [0; 14];
        assert_eq!(combine(Ecn::Ce, &mut frame), Ok(()));
        assert_eq!(frame, [0; 14]);
    }
}
