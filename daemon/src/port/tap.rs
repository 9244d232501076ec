//! The TAP driver: Ethernet frames of a network interface, with the kernel's offload metadata, one descriptor a queue.
//!
//! ```text
//!  container's stack ─▶ interface ─▶ queue (txqueuelen frames; full: dropped) ─▶ receive: one read, one frame
//!  container's stack ◀─ interface ◀──────────────── in the writer's context ◀── send: one write, one frame
//! ```
//!
//! Every descriptor is non-blocking (a blocking one misses the kernel's fast path for small frames), has the 24-octet
//! virtio header whatever is offered, little-endian, and takes all offloads that the kernel knows short of tunnel GSO:
//! a super-segment then passes from one TAP to another whole. What was accepted is in [`Capabilities`].
//!
//! Owns: the descriptors, and with them a device it created: the last one closed removes it, so a killed process
//! leaves nothing. An adopted device is persistent and stays, our offers and steering taken back. Refuses: a name that exists and is no TAP, or is in
//! use by another process, which it names. Limit: [`QUEUES_MAX`] queues.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use wire::FrameBuf;
use wire::offload::VNET_HDR_LEN;

use super::{PortIo, exact_header_len, holder, steering};
use crate::sys::tried;
use crate::sys::tun;

/// Queues of one device (`MAX_TAP_QUEUES`, Linux drivers/net/tun.c). More are refused.
pub const QUEUES_MAX: u16 = 256;

/// The name that the kernel completes for a device on its way to another name or namespace. Who meets one in a list of
/// interfaces sees whose it is.
const PROVISIONAL_NAME: &str = "tapestry%d";

/// What the kernel hands to the reader unfinished and, the same, takes from the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Partial checksums.
    pub checksum: bool,
    /// TCP super-segments, both families, with ECN.
    pub tso: bool,
    /// UDP super-segments, both families (Linux 6.2).
    pub uso: bool,
}

/// Where a device comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// We made it; it goes with us.
    Created,
    /// It was there before us and stays.
    Adopted,
}

/// Who chooses the queue on which a frame arrives.
#[derive(Debug)]
pub enum Steering {
    /// One queue: nobody has to.
    Unneeded,
    /// A program of ours, by [`wire::FlowHash`]: every frame arrives at its owner.
    Attached,
    /// The kernel refused the program, for this reason, and chooses by its own hash: frames may arrive elsewhere than
    /// at their owner, and workers have to hand them over.
    Refused(io::Error),
}

/// A TAP device, before its queues are given to workers.
#[derive(Debug)]
pub struct Tap {
    queues: Vec<TapQueue>,
    capabilities: Capabilities,
    origin: Origin,
    steering: Steering,
    is_multi_queue: bool,
}

impl Tap {
    /// Creates a device with a provisional name in the namespace of the calling thread, down and without addresses;
    /// [`crate::link::establish`] does the rest.
    ///
    /// With several queues the kernel is asked to steer each flow to queue [`wire::FlowHash::owner`]. One queue is made
    /// without IFF_MULTI_QUEUE, which saves the kernel 255 idle transmit queues a device.
    ///
    /// # Errors
    /// If /dev/net/tun is absent or the caller lacks CAP_NET_ADMIN, or `queues` is 0 or above [`QUEUES_MAX`].
    pub fn create(queues: u16) -> io::Result<Self> {
        check_count(queues)?;
        let multi = if queues > 1 { tun::IFF_MULTI_QUEUE } else { 0 };
        let first = open()?;
        let name = tun::attach(first.as_fd(), PROVISIONAL_NAME, FLAGS | multi | tun::IFF_TUN_EXCL)
            .map_err(tried("creating a TAP device (this needs CAP_NET_ADMIN)"))?;
        Self::completed(first, &name, queues, multi, Origin::Created)
    }

    /// Creates a TUN device, which carries packets, likewise and with one queue. Its queue is for [`super::TunQueue`].
    ///
    /// # Errors
    /// As [`Tap::create`].
    pub fn create_tun() -> io::Result<Self> {
        let first = open()?;
        let flags = tun::IFF_TUN | tun::IFF_NO_PI | tun::IFF_VNET_HDR | tun::IFF_TUN_EXCL;
        let name = tun::attach(first.as_fd(), PROVISIONAL_NAME, flags)
            .map_err(tried("creating a TUN device (this needs CAP_NET_ADMIN)"))?;
        Self::completed(first, &name, 1, 0, Origin::Created)
    }

    /// Attaches to a persistent TAP of the calling thread's namespace. One made without `multi_queue` has one queue
    /// whatever is asked for: see [`Tap::queue_count`].
    ///
    /// # Errors
    /// If there is no such interface, it is not a TAP, or another process holds it (it is named); else as
    /// [`Tap::create`].
    pub fn adopt(name: &str, queues: u16) -> io::Result<Self> {
        check_count(queues)?;
        if !tun::exists(name)? {
            let message =
                format!("there is no interface {name} to adopt; `ip tuntap add {name} mode tap` makes one");
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        // The kernel lets anybody join a multi-queue device; two readers would each get half of every conversation.
        if holder::of(name).is_some_and(|holder| holder.certain) {
            return Err(busy(name));
        }
        let first = open()?;
        // The flag has to be what the device was made with: EINVAL if it is not, and if it is no TAP at all.
        let attach = |multi| tun::attach(first.as_fd(), name, FLAGS | multi).map(|_| multi);
        let multi = match attach(tun::IFF_MULTI_QUEUE) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => attach(0),
            attached => attached,
        };
        let multi = multi.map_err(|error| adoption_refused(name, error))?;
        if !tun::is_persistent(first.as_fd())? {
            // It goes with its present user, and is not ours to take over, though the kernel lets us join.
            drop(first); // Or we would be found to be the holder.
            return Err(busy(name));
        }
        let queues = if multi == 0 { 1 } else { queues };
        Self::completed(first, name, queues, multi, Origin::Adopted)
    }

    fn completed(first: OwnedFd, name: &str, queues: u16, multi: u16, origin: Origin) -> io::Result<Self> {
        let failed = || tried(format!("setting up TAP device {name}"));
        let mut queues_open = vec![configured(first, origin).map_err(failed())?];
        while queues_open.len() < usize::from(queues) {
            let queue = open()?;
            tun::attach(queue.as_fd(), name, FLAGS | multi)
                .map_err(tried(format!("adding queue {} to TAP device {name}", queues_open.len())))?;
            queues_open.push(configured(queue, origin).map_err(failed())?);
        }
        let capabilities = offer_offloads(queues_open[0].fd()).map_err(failed())?;
        let steering = steering::attach(queues_open[0].fd(), queues);
        Ok(Self { queues: queues_open, capabilities, origin, steering, is_multi_queue: multi != 0 })
    }

    /// The name the device has at this moment.
    ///
    /// # Errors
    /// If it is gone.
    pub fn name(&self) -> io::Result<String> {
        tun::name(self.queues[0].fd()).map_err(tried("asking a TAP device for its name"))
    }

    /// What the kernel accepted.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Whether the device goes with us.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Who chooses the queue.
    pub fn steering(&self) -> &Steering {
        &self.steering
    }

    /// How many queues there are; less than was asked for only if an adopted device has one.
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// Whether it was made with IFF_MULTI_QUEUE, so that it can have more queues than one.
    pub fn is_multi_queue(&self) -> bool {
        self.is_multi_queue
    }

    /// The queues, in the order that steering counts them. A created device lives as long as the last of them.
    pub fn into_queues(self) -> Vec<TapQueue> {
        self.queues
    }
}

/// One queue of a TAP device.
#[derive(Debug)]
pub struct TapQueue {
    file: OwnedFd,
    origin: Origin,
}

impl PortIo for TapQueue {
    fn receive(&mut self, frame: &mut FrameBuf) -> io::Result<()> {
        // The kernel cuts what does not fit and says nothing; the area holds the longest frame there is.
        let area = frame.receive_area();
        let read = rustix::io::read(&self.file, area)?;
        frame.received(read);
        Ok(())
    }

    fn send(&mut self, frame: &mut FrameBuf) -> io::Result<()> {
        frame.offload.hdr_len = exact_header_len(frame.offload, frame.bytes());
        rustix::io::write(&self.file, frame.send_area())?;
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for TapQueue {
    /// Offers and steering belong to the device: a later reader that knows neither would get frames it cannot parse.
    /// The queues of a device go together, so the first to go takes them back. What fails here failed because the
    /// device is gone.
    fn drop(&mut self) {
        match self.origin {
            Origin::Created => {}
            Origin::Adopted => {
                drop(tun::set_offload(self.file.as_fd(), 0));
                drop(tun::clear_steering(self.file.as_fd()));
            }
        }
    }
}

const FLAGS: u16 = tun::IFF_TAP | tun::IFF_NO_PI | tun::IFF_VNET_HDR;

fn open() -> io::Result<OwnedFd> {
    tun::open().map_err(tried(
        "opening /dev/net/tun (modprobe tun makes it; a container needs --device /dev/net/tun)",
    ))
}

fn check_count(queues: u16) -> io::Result<()> {
    if (1..=QUEUES_MAX).contains(&queues) {
        return Ok(());
    }
    let message = format!("a TAP device has 1 to {QUEUES_MAX} queues, not {queues}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn configured(file: OwnedFd, origin: Origin) -> io::Result<TapQueue> {
    tun::set_header_len(file.as_fd(), i32::try_from(VNET_HDR_LEN).expect("24 octets"))?;
    tun::set_header_little_endian(file.as_fd())?;
    Ok(TapQueue { file, origin })
}

/// Offers the kernel everything, then less until it accepts: EINVAL on an unknown bit is how one learns what it knows.
///
/// The mask belongs to the device and outlives its readers, so it is set even when there is nothing to offer: an
/// adopted device may carry a predecessor's.
fn offer_offloads(file: BorrowedFd<'_>) -> io::Result<Capabilities> {
    const TSO: u32 = tun::TUN_F_TSO4 | tun::TUN_F_TSO6 | tun::TUN_F_TSO_ECN;
    const USO: u32 = tun::TUN_F_USO4 | tun::TUN_F_USO6;
    let ladder = [
        (tun::TUN_F_CSUM | TSO | USO, Capabilities { checksum: true, tso: true, uso: true }),
        (tun::TUN_F_CSUM | TSO, Capabilities { checksum: true, tso: true, uso: false }),
        (tun::TUN_F_CSUM, Capabilities { checksum: true, tso: false, uso: false }),
    ];
    for (mask, capabilities) in ladder {
        match tun::set_offload(file, mask) {
            Ok(()) => return Ok(capabilities),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(error),
        }
    }
    tun::set_offload(file, 0)?;
    Ok(Capabilities::default())
}

/// Why a device could not be adopted, in words.
fn adoption_refused(name: &str, refusal: io::Error) -> io::Error {
    match refusal.raw_os_error() {
        Some(libc::EBUSY) => busy(name),
        Some(libc::EINVAL) => {
            let message = format!("{name} exists and is not a TAP device: choose another interface name");
            io::Error::new(io::ErrorKind::AlreadyExists, message)
        }
        Some(_) | None => tried(format!("attaching to TAP device {name}"))(refusal),
    }
}

fn busy(name: &str) -> io::Error {
    let who = holder::of(name).map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
    let message = format!("TAP device {name} is in use by {who}: end that, or choose another interface");
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn queue_counts_have_bounds() {
        for count in [0, QUEUES_MAX + 1] {
            assert_eq!(
                Tap::create(count).map(drop).map_err(|error| error.kind()),
                Err(io::ErrorKind::InvalidInput)
            );
        }
    }
}
