//! The state file: what must be known again after a restart and stands in no configuration: the leases of automatic
//! addresses.
//!
//! ```text
//!  PATH         {"version": 1, "checksum": "FNV-1a of the leases as written", "leases": {PORT: {"network", "addresses"}}}
//!  PATH.lock    locked for as long as the switch lives
//!  PATH.tmp     what is being written
//!  PATH.bad-N   a file that could not be understood
//! ```
//!
//! A file is written beside, synced, and renamed over the old one; then the directory is synced. So there is the old file
//! or the new one, whole, however the machine ends. What cannot be read, is of another version or does not match its
//! checksum is set aside under the first free N up to [`BAD_MAX`] (at it the last is overwritten), and the switch begins
//! without. Nothing that goes wrong here stops a switch: it is told, and at worst ports get other addresses after the
//! next restart. A second switch with the same path keeps nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use config::Leases;
use serde::{Deserialize, Serialize};

/// Where the state is kept by a switch of root with the default socket.
pub const STATE_DEFAULT: &str = "/var/lib/tapestry/state.json";
/// Files set aside. At it the last one is overwritten.
pub const BAD_MAX: u32 = 100;
/// The version that is written, and the only one that is understood.
const VERSION: u32 = 1;
/// Octets of a file that is read. A longer one is set aside: this program has not written it.
const FILE_MAX: u64 = 64 << 20;

/// A state file that is ours while this lives.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    _lock: File,
}

/// What the file says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    checksum: String,
    leases: Leases,
}

/// What came of opening a state file.
#[derive(Debug, Default)]
pub struct Opened {
    /// Where to keep what changes; nowhere without.
    pub store: Option<Store>,
    /// What was kept.
    pub leases: Leases,
    /// What went wrong, a sentence each.
    pub warnings: Vec<String>,
}

/// Opens the state file at `path`, which need not exist, and makes its directory. Never fails: see [`Opened::warnings`].
pub fn open(path: &Path) -> Opened {
    let store = match Store::claim(path) {
        Ok(store) => store,
        Err(why) => {
            let warning = format!("state file {}: {why}; automatic addresses are not kept", path.display());
            return Opened { warnings: vec![warning], ..Opened::default() };
        }
    };
    match read(path) {
        Ok(leases) => Opened { store: Some(store), leases, warnings: Vec::new() },
        Err(why) => {
            let (aside, is_safe) = match set_aside(path) {
                Ok(aside) => (format!("it is set aside as {}", aside.display()), true),
                Err(error) => (format!("it cannot be set aside ({error}), so nothing is kept"), false),
            };
            let warning = format!(
                "state file {} is of no use: {why}; {aside}, and automatic addresses are chosen anew",
                path.display()
            );
            Opened { store: is_safe.then_some(store), leases: Leases::default(), warnings: vec![warning] }
        }
    }
}

impl Store {
    fn claim(path: &Path) -> Result<Self, String> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory)
                .map_err(|error| format!("its directory cannot be made: {error}"))?;
        }
        let lock = beside(path, ".lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock);
        let file = file.map_err(|error| format!("{} cannot be opened: {error}", lock.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(fs::TryLockError::WouldBlock) => Err("another switch keeps it".to_owned()),
            Err(fs::TryLockError::Error(error)) => Err(format!("it cannot be locked: {error}")),
        }
    }

    /// Keeps the leases.
    ///
    /// # Errors
    /// The operating system's refusal. The file is the old one or the new one.
    pub fn save(&self, leases: &Leases) -> io::Result<()> {
        let contents = Contents { version: VERSION, checksum: checksum(leases), leases: leases.clone() };
        let json = serde_json::to_vec_pretty(&contents).expect("leases have only string keys");
        let temporary = beside(&self.path, ".tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        let directory = self.path.parent().filter(|directory| !directory.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What was kept; nothing if there is no file. Otherwise why it is of no use.
fn read(path: &Path) -> Result<Leases, String> {
    let len = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Leases::default()),
        Err(error) => return Err(format!("it cannot be looked at: {error}")),
    };
    if len > FILE_MAX {
        return Err(format!("it has {len} octets, more than the {FILE_MAX} that are read"));
    }
    let octets = fs::read(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let value: serde_json::Value =
        serde_json::from_slice(&octets).map_err(|error| format!("it is no JSON: {error}"))?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if version != Some(u64::from(VERSION)) {
        let version = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
        return Err(format!("its version is {version}, and this program knows {VERSION}"));
    }
    let contents: Contents =
        serde_json::from_value(value).map_err(|error| format!("it does not say what it should: {error}"))?;
    if contents.checksum != checksum(&contents.leases) {
        return Err("its checksum does not match".to_owned());
    }
    Ok(contents.leases)
}

fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let free =
        (1..BAD_MAX).map(|number| beside(path, &format!(".bad-{number}"))).find(|aside| !aside.exists());
    let aside = free.unwrap_or_else(|| beside(path, &format!(".bad-{BAD_MAX}")));
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// 64 bits of FNV-1a over the leases as compact JSON: against damage, not against forgery.
fn checksum(leases: &Leases) -> String {
    let json = serde_json::to_vec(leases).expect("leases have only string keys");
    let hash = json.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
