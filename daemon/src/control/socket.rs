//! The socket file: taken by one daemon at a time, closed to others before it is reachable, gone when the daemon is.
//!
//! ```text
//!  PATH.lock   locked for as long as the daemon lives; two starters cannot both pass
//!  .tXXXXXX/s  bound here first, inside a directory that only we may enter, and given its mode
//!  PATH        renamed into place, over the socket of a daemon that was killed
//! ```
//!
//! A socket that answers is never replaced, nor is anything that is not a socket.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::api::{ApiError, ErrorKind};

/// Who may talk to the daemon: its user and its group.
const SOCKET_MODE: u32 = 0o660;

/// A listening socket and the files that belong to it, which go when this does.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    /// Which file at `path` is ours; somebody may have put another there.
    inode: u64,
    /// Goes last.
    _lock: Lock,
}

/// Makes `path` ours and listens there.
pub(super) fn claim(path: &Path) -> Result<(UnixListener, Claim), ApiError> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(refused(path, "it names no file")),
    };
    if path == Path::new(super::SOCKET_DEFAULT) {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(|error| refused(path, format!("cannot create {}: {error}", directory.display())))?;
    }
    let lock = Lock::take(path)?;
    refuse_if_alive(path)?;
    let listener = bind(path, directory).map_err(|error| {
        refused(path, error.to_string()).next("choose another place with --socket PATH, or run as root")
    })?;
    let inode = fs::metadata(path).map_err(|error| refused(path, error.to_string()))?.ino();
    Ok((listener, Claim { path: path.to_owned(), inode, _lock: lock }))
}

/// Binds inside a directory of our own, so that nobody can connect before the mode is right.
fn bind(path: &Path, directory: &Path) -> io::Result<UnixListener> {
    let private = tempfile::Builder::new()
        .prefix(".t")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(directory)?;
    let hidden = private.path().join("s");
    let listener = UnixListener::bind(&hidden)?;
    fs::set_permissions(&hidden, Permissions::from_mode(SOCKET_MODE))?;
    fs::rename(&hidden, path)?;
    Ok(listener)
}

/// Whoever stands at `path` must be a socket that nobody listens on.
fn refuse_if_alive(path: &Path) -> Result<(), ApiError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(refused(path, "something that is not a socket has this name")
            .next("remove it, or choose another place with --socket PATH"));
    }
    match UnixStream::connect(path) {
        Ok(stream) => Err(taken(path, listener_pid(&stream))),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(path, format!("cannot tell whether a daemon listens there: {error}"))),
    }
}

/// The process that listens at the other end.
fn listener_pid(stream: &UnixStream) -> Option<i32> {
    rustix::net::sockopt::socket_peercred(stream)
        .ok()
        .map(|credentials| credentials.pid.as_raw_nonzero().get())
}

fn refused(path: &Path, why: impl Into<String>) -> ApiError {
    ApiError::new(ErrorKind::Internal, format!("cannot listen on {}", path.display()), why)
}

fn taken(path: &Path, pid: Option<i32>) -> ApiError {
    let who = pid.map_or_else(|| "another daemon".to_owned(), |pid| format!("another daemon (pid {pid})"));
    let why = format!("{who} listens there");
    ApiError::new(ErrorKind::Conflict, format!("cannot listen on {}", path.display()), why)
        .next("stop that daemon, or give this one another socket with --socket PATH")
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Under the lock, so it cannot be another daemon's; a file that somebody put there by hand stays.
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Drop for Lock {
    /// The file goes while it is ours, so that it cannot be another's.
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// An exclusive lock on `PATH.lock`; the kernel lets go of it however the process ends.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(socket: &Path) -> Result<Self, ApiError> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |error: io::Error| refused(socket, format!("cannot lock {}: {error}", path.display()));
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => {
                    let pid = UnixStream::connect(socket).ok().and_then(|stream| listener_pid(&stream));
                    return Err(taken(socket, pid));
                }
                Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
            }
            // The previous owner may have removed the file between our opening and locking it.
            let ours = file.metadata().map_err(failed)?.ino();
            if fs::metadata(&path).is_ok_and(|metadata| metadata.ino() == ours) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_right_and_files_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let (_listener, claim) = claim(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, SOCKET_MODE);
        drop(claim);
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Watches the directory while the socket appears: whatever is seen at its name must have its mode already.
    #[test]
    fn nobody_sees_another_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let watched = path.clone();
        let watcher = std::thread::spawn(move || {
            loop {
                if let Ok(metadata) = fs::metadata(&watched) {
                    return metadata.mode() & 0o7777;
                }
            }
        });
        let _claim = claim(&path).unwrap();
        assert_eq!(watcher.join().unwrap(), SOCKET_MODE);
    }

    #[test]
    fn a_second_daemon_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let _first = claim(&path).unwrap();
        let error = claim(&path).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert!(error.why.contains(&format!("pid {}", std::process::id())), "{error}");
    }

    #[test]
    fn a_foreign_listener_is_refused_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let _foreign = UnixListener::bind(&path).unwrap();
        assert_eq!(claim(&path).unwrap_err().kind, ErrorKind::Conflict);
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        drop(UnixListener::bind(&path).unwrap()); // Dropping a listener leaves its file, as `kill -9` does.
        fs::write(directory.path().join("s.sock.lock"), "").unwrap();
        let (listener, _claim) = claim(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
    }

    #[test]
    fn what_is_not_a_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "text").unwrap();
        let error = claim(&path).unwrap_err();
        assert!(error.why.contains("not a socket"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"text");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "and nothing is put beside it");
    }
}
