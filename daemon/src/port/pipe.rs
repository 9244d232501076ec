//! A port for tests: one end of a socket pair instead of a device. The other end is the station. Frames whose last octets
//! are a *pill* make it misbehave.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crossbeam_channel::Sender;
use wire::{FrameBuf, Offload};

use super::PortIo;

/// Long enough for any machine; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const PANIC_PILL: &[u8] = b"panic";
pub(crate) const VANISH_PILL: &[u8] = b"vanish";
pub(crate) const REFUSE_PILL: &[u8] = b"refuse";
pub(crate) const UNREADABLE_PILL: &[u8] = b"unreadable";

/// A port whose device is one end of a socket pair. What it receives may make it panic or vanish; it may refuse
/// to send.
pub(crate) struct Pipe {
    pub(crate) device: UnixDatagram,
    /// Where sent frames go instead of the device: a socket holds ten datagrams and refuses more, this one makes the
    /// worker wait.
    pub(crate) patient: Option<Sender<Vec<u8>>>,
    /// Whether it says EINVAL to frames with offload metadata, as some kernels did (tailscale issue 13041).
    pub(crate) refuses_offload: bool,
    /// Frames that it says it had no room for.
    pub(crate) overruns: u64,
    pub(crate) is_only_queue: bool,
}

impl PortIo for Pipe {
    fn receive(&mut self, frame: &mut FrameBuf) -> io::Result<()> {
        let read = self.device.recv(frame.receive_area())?;
        frame.received(read);
        if frame.bytes().ends_with(PANIC_PILL) {
            panic!("swallowed a pill");
        }
        if frame.bytes().ends_with(VANISH_PILL) {
            return Err(io::Error::from_raw_os_error(libc::EBADFD));
        }
        if frame.bytes().ends_with(UNREADABLE_PILL) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(())
    }

    fn send(&mut self, frame: &mut FrameBuf) -> io::Result<()> {
        let is_refused = self.refuses_offload && frame.offload != Offload::NONE;
        if is_refused || frame.bytes().ends_with(REFUSE_PILL) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        if let Some(patient) = &self.patient {
            patient.send(frame.bytes().to_vec()).expect("the test listens");
            return Ok(());
        }
        self.device.send(frame.send_area()).map(drop)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    fn is_only_queue(&self) -> bool {
        self.is_only_queue
    }

    fn take_overruns(&mut self) -> u64 {
        std::mem::take(&mut self.overruns)
    }
}

/// A port's end of a socket pair, and the station's.
pub(crate) fn pipe() -> (Pipe, UnixDatagram) {
    let (device, far) = UnixDatagram::pair().unwrap();
    device.set_nonblocking(true).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    (Pipe { device, patient: None, refuses_offload: false, overruns: 0, is_only_queue: false }, far)
}
