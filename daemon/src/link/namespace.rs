//! Network namespaces: found by name or path, made to be thrown away, and visited by a thread that ends there.
//!
//! A thread belongs to one namespace, and what it opens (sockets, devices, netlink) belongs to the thread's. So nothing
//! here changes the caller: [`Namespace::run`] runs a closure on a thread of its own, and what the closure returns, a
//! bound socket say, keeps working from anywhere.
//!
//! For tests, nothing to clean up and nothing that two tests could share:
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! use tapestry::link::Namespace;
//!
//! let here = Namespace::anonymous("host")?;          // Loopback is up. Gone when the last user of it is.
//! let listener = here.run(|| std::net::TcpListener::bind("127.0.0.1:0"))??;
//! let path = here.path();                            // For another process, or `netns = "…"`, while this lives.
//! # drop((listener, path));
//! # Ok(()) }
//! ```

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::netlink;
use crate::sys;
use crate::sys::tried;

/// Where `ip netns add NAME` puts a namespace.
const NAMED: &str = "/run/netns";
/// The calling thread's.
const THREADS: &str = "/proc/thread-self/ns/net";
/// What messages call the one that the daemon was started in.
const OURS: &str = "the daemon's namespace";

/// A network namespace, kept alive by being open. A clone is the same namespace.
#[derive(Clone)]
pub struct Namespace {
    file: Arc<File>,
    label: Arc<str>,
}

impl Namespace {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// If /proc is not mounted.
    pub fn current() -> io::Result<Self> {
        let file = File::open(THREADS).map_err(tried(format!("opening {THREADS}")))?;
        Ok(Self { file: Arc::new(file), label: OURS.into() })
    }

    /// The namespace that a person means: a name as `ip netns` lists it, or, with a slash in it, a path such as
    /// `/proc/1234/ns/net` or `/run/docker/netns/…`.
    ///
    /// # Errors
    /// With the path that was looked at, and how to make a namespace there.
    pub fn open(spec: &str) -> io::Result<Self> {
        if spec.contains('/') {
            return Self::open_path(
                spec,
                Path::new(spec),
                "is its process running, and is this the whole path?",
            );
        }
        if spec.is_empty() || spec == "." || spec == ".." {
            let message = format!("{spec:?} is no name of a namespace: give a name like ns1 or a path");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Self::open_path(spec, &Path::new(NAMED).join(spec), &format!("`ip netns add {spec}` makes it"))
    }

    fn open_path(spec: &str, path: &Path, advice: &str) -> io::Result<Self> {
        let refused = |kind, why: &dyn fmt::Display| {
            io::Error::new(kind, format!("namespace {spec}: {} {why}; {advice}", path.display()))
        };
        // Should the path be a FIFO or a device, opening must neither wait nor make it our terminal.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(refused(error.kind(), &"does not exist"));
            }
            Err(error) => return Err(refused(error.kind(), &format_args!("cannot be opened: {error}"))),
        };
        if !sys::namespace::is_network(file.as_fd()) {
            return Err(refused(io::ErrorKind::InvalidInput, &"is not a network namespace"));
        }
        Ok(Self { file: Arc::new(file), label: spec.into() })
    }

    /// A fresh namespace without a name, its loopback up. It vanishes with its last user: this value, its clones, and
    /// sockets and interfaces made there; so with the process at the latest. `label` is what messages call it.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN.
    pub fn anonymous(label: &str) -> io::Result<Self> {
        let file = on_a_thread(|| {
            sys::namespace::enter_new()
                .map_err(tried(format!("making namespace {label} (this needs CAP_SYS_ADMIN)")))?;
            File::open(THREADS).map_err(tried(format!("opening {THREADS}")))
        })?;
        let namespace = Self { file: Arc::new(file), label: label.into() };
        netlink::raise_loopback(&namespace)?;
        Ok(namespace)
    }

    /// A fresh namespace with a name that `ip netns` knows, its loopback up, removed when the value is dropped (a
    /// killed process leaves it: prefer [`Namespace::anonymous`] where a path will do).
    ///
    /// # Errors
    /// If the name is taken; EPERM without CAP_SYS_ADMIN.
    pub fn named(name: &str) -> io::Result<NamedNamespace> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            let message = format!("{name:?} is no name of a namespace: give a name like ns1");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        prepare_named_directory().map_err(tried(format!("preparing {NAMED}")))?;
        let path = Path::new(NAMED).join(name);
        let at = || format!("making namespace {name} at {}", path.display());
        let namespace = Self::anonymous(name)?;
        OpenOptions::new().write(true).create_new(true).open(&path).map_err(tried(at()))?;
        if let Err(error) = rustix::mount::mount_bind(namespace.path(), &path) {
            fs::remove_file(&path).map_err(tried(at()))?;
            return Err(tried(at())(error.into()));
        }
        Ok(NamedNamespace { namespace, path })
    }

    /// Runs `visit` on a thread of its own in the namespace and waits for it. A panic in it is passed on.
    ///
    /// # Errors
    /// If the namespace cannot be entered: EPERM without CAP_SYS_ADMIN.
    pub fn run<T: Send>(&self, visit: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            sys::namespace::enter(self.file.as_fd()).map_err(tried(format!("entering {self}")))?;
            Ok(visit())
        })
    }

    /// A path by which any process allowed to look at this one can open the namespace, as long as this value lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// The name or path that it was opened by, or the label that it was given.
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if &*self.label == OURS { f.write_str(OURS) } else { write!(f, "namespace {}", self.label) }
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({})", self.label)
    }
}

/// A namespace with a name, which goes when this value does.
#[derive(Debug)]
pub struct NamedNamespace {
    namespace: Namespace,
    path: PathBuf,
}

impl std::ops::Deref for NamedNamespace {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Drop for NamedNamespace {
    /// Both fail only if somebody else has removed the name, which is what is wanted.
    fn drop(&mut self) {
        if rustix::mount::unmount(&self.path, UnmountFlags::DETACH).is_ok() {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Makes the directory of names as `ip netns add` does: a shared mount, so that names appear in other mount
/// namespaces too.
fn prepare_named_directory() -> io::Result<()> {
    fs::create_dir_all(NAMED)?;
    let share =
        || rustix::mount::mount_change(NAMED, MountPropagationFlags::SHARED | MountPropagationFlags::REC);
    if share().is_err() {
        rustix::mount::mount_bind_recursive(NAMED, NAMED)?; // It has to be a mount to be a shared one.
        share()?;
    }
    Ok(())
}

fn on_a_thread<T: Send>(task: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, task)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
