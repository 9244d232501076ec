//! Watching interfaces: a thread that hears what rtnetlink tells everybody, for as long as its [`Monitor`] lives.
//!
//! What it hears is taken as a hint that something may have changed, never as the state itself: messages may be old by
//! the time they are read. Whoever is called looks for himself. When messages were lost (the socket's buffer was full)
//! or the connection had to be made anew, everything may have changed, and that is what he is told.

use std::io;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use tokio::sync::oneshot;

/// How long a connection that could not be made is not tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The interface of this index, which has or had this name.
    Interface(u32, Option<String>),
    /// The addresses of some interface.
    Addresses,
    /// Anything.
    Everything,
}

/// A thread that watches. Dropping it ends the thread, and with it the socket.
#[derive(Debug)]
pub struct Monitor {
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Monitor {
    /// Watches the interfaces of the calling thread's namespace from now on. `on_change` is called on the monitor's own
    /// thread: once at first, and then for each hint.
    ///
    /// # Errors
    /// If there is no thread or no runtime to be had.
    pub fn start(mut on_change: impl FnMut(Changed) + Send + 'static) -> io::Result<Self> {
        let (end, mut ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let thread = thread::Builder::new().name("links".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = &mut ended => return,
                        () = watch(&mut on_change) => {}
                    }
                }
            });
        })?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Monitor {
    /// Waits for the thread, so that its socket no longer keeps the namespace. Not to be called from the thread itself
    /// but then: there it only ends what is to come.
    fn drop(&mut self) {
        drop(self.end.take());
        let Some(thread) = self.thread.take() else { return };
        if thread.thread().id() != thread::current().id() {
            drop(thread.join()); // A panic in `on_change` has been printed; there is nobody to hear it again.
        }
    }
}

/// One connection, to its end.
async fn watch(on_change: &mut impl FnMut(Changed)) {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, _handle, mut messages) = match rtnetlink::new_multicast_connection(&groups) {
        Ok(made) => made,
        Err(error) => {
            tracing::warn!("interfaces cannot be watched: {error}");
            return tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    let connection = tokio::spawn(connection);
    on_change(Changed::Everything); // What happened before we listened.
    while let Some((message, _)) = messages.next().await {
        if let Some(changed) = hint(&message.payload) {
            on_change(changed);
        }
    }
    connection.abort();
    on_change(Changed::Everything);
    tokio::time::sleep(AGAIN_AFTER).await;
}

#[expect(clippy::wildcard_enum_match_arm, reason = "netlink's messages, not ours")]
fn hint(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<Changed> {
    match payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
        ) => Some(Changed::Interface(link.header.index, name(link))),
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_),
        ) => Some(Changed::Addresses),
        NetlinkPayload::Overrun(_) | NetlinkPayload::Error(_) => Some(Changed::Everything),
        _ => None,
    }
}

fn name(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::IfName(name) = attribute { Some(name.clone()) } else { None }
    })
}
