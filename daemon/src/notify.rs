//! Telling the service manager how we are (sd_notify(3)): one datagram a message to the socket that it named.
//!
//! Without `NOTIFY_SOCKET` there is nobody to tell and every call does nothing. Nothing here fails loudly: the switch
//! works as well without a service manager.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The switch forwards; `status` is a line for `systemctl status`.
pub fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={}", one_line(status)));
}

/// The switch goes on; `status` is a line for `systemctl status`.
pub fn status(status: &str) {
    tell(&format!("STATUS={}", one_line(status)));
}

/// The switch drains and ends.
pub fn stopping() {
    tell("STOPPING=1");
}

/// A message has a field a line, so a status may not have more than one.
fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

fn tell(message: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, message) {
        tracing::warn!("the service manager could not be told {message:?} at {}: {error}", socket.display());
    }
}

/// Sends to a socket in the file system, or to an abstract one, whose name is written with `@` in front.
fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(manager: &UnixDatagram) -> String {
        let mut buffer = [0xa5; 256];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_socket_in_the_file_system_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&manager), "READY=1");
    }

    #[test]
    fn an_abstract_socket_is_told() {
        let name = format!("tc-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").unwrap();
        assert_eq!(received(&manager), "STOPPING=1");
    }

    #[test]
    fn a_missing_manager_is_an_error_and_a_status_one_line() {
        let directory = tempfile::tempdir().unwrap();
        assert!(send(directory.path().join("nobody").as_os_str(), "READY=1").is_err());
        assert_eq!(one_line("a\nb"), "a b");
    }
}
