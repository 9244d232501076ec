//! The subnet file: what dockerd's start-up script and the flannel CNI plugin read.
//!
//! ```text
//!  FLANNEL_NETWORK=10.5.0.0/16
//!  FLANNEL_SUBNET=10.5.72.1/24              the subnet's first host address, not its own
//!  FLANNEL_IPV6_NETWORK=fd00::/48           these two only with IPv6
//!  FLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64
//!  FLANNEL_MTU=1450
//!  FLANNEL_IPMASQ=true
//! ```
//!
//! Written beside and renamed, mode 0644 whatever the umask, its directory made with 0755. Read back at the next start,
//! when it says which subnet we had. Of a file that is not ours only what can be understood is read, at most
//! [`FILE_MAX`] octets.
//!
//! Source: flannel pkg/subnet/subnet.go (`WriteSubnetFile`, `ReadCIDRFromSubnetFile`).

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use wire::Cidr;

use crate::registry::lease::Subnets;
use crate::registry::network::Network;

/// Octets of an old file that are read.
const FILE_MAX: u64 = 64 << 10;

/// What a file said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) network: Option<Cidr>,
    pub(super) subnets: Option<Subnets>,
}

/// What the file is to say.
pub(super) fn contents(network: &Network, subnets: Subnets, mtu: u16, ip_masq: bool) -> String {
    let mut text = String::new();
    let families = [("", network.v4, Some(subnets.v4)), ("IPV6_", network.v6, subnets.v6)];
    for (family, pool, subnet) in families {
        let (Some(pool), Some(subnet)) = (pool, subnet) else { continue };
        let gateway = subnet.nth(1).expect("a lease has room for four addresses");
        text += &format!("FLANNEL_{family}NETWORK={}\n", pool.network());
        text += &format!("FLANNEL_{family}SUBNET={gateway}/{}\n", subnet.prefix_len());
    }
    text + &format!("FLANNEL_MTU={mtu}\nFLANNEL_IPMASQ={ip_masq}\n")
}

/// Puts the file there whole.
///
/// # Errors
/// The operating system's refusal. The file is the old one or the new one.
pub(super) fn write(path: &Path, contents: &str) -> io::Result<()> {
    let directory =
        path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    let name =
        path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "names no file"))?;
    let temporary = directory.join(format!(".{}.{}", name.display(), std::process::id()));
    let written = (|| {
        // Whatever a process of this number has left behind goes first: its mode may be another.
        drop(fs::remove_file(&temporary));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(contents.as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written.inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// What an earlier run has written; nothing of a file that is not there or makes no sense.
pub(super) fn read(path: &Path) -> Previous {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_string(&mut text));
    if read.is_err() {
        return Previous::default();
    }
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
        line.trim_matches('"').parse::<Cidr>().ok().map(Cidr::network)
    };
    let v4 = value("FLANNEL_SUBNET").filter(|subnet| subnet.address().is_ipv4());
    let v6 = value("FLANNEL_IPV6_SUBNET").filter(|subnet| subnet.address().is_ipv6());
    Previous { network: value("FLANNEL_NETWORK"), subnets: v4.map(|v4| Subnets { v4, v6 }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUAL: &str = r#"{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"}"#;
    const TEXT: &str = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_IPV6_NETWORK=fd00::/48\n\
                        FLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

    fn network(document: &str) -> Network {
        Network::parse(document.as_bytes()).unwrap()
    }

    #[test]
    fn the_file_is_flannelds_line_for_line() {
        let dual: Subnets = "10.5.72.0-24&fd00:0:0:1::-64".parse().unwrap();
        assert_eq!(contents(&network(DUAL), dual, 1450, true), TEXT);
        let only =
            contents(&network(r#"{"Network":"10.5.0.0/16"}"#), Subnets { v6: None, ..dual }, 1472, false);
        let lines = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n";
        assert_eq!(only, lines);
    }

    #[test]
    fn it_appears_whole_with_its_mode_and_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/flannel/subnet.env");
        for text in ["old\n", TEXT] {
            write(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        let previous = read(&path);
        assert_eq!(previous.network, Some("10.5.0.0/16".parse().unwrap()));
        assert_eq!(previous.subnets.unwrap().to_string(), "10.5.72.0-24&fd00:0:0:1::-64");
        assert!(write(&path.join("below"), "x").is_err());
    }

    #[test]
    fn a_file_that_makes_no_sense_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("subnet.env");
        assert_eq!(read(&path), Previous::default());
        for text in ["", "FLANNEL_SUBNET=ten\n", "FLANNEL_SUBNET=fd00::1/64\n", "XFLANNEL_SUBNET=10.5.1.1/24"]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).subnets, None, "{text}");
        }
        fs::write(&path, [0xff; 9]).unwrap();
        assert_eq!(read(&path), Previous::default());
        fs::write(&path, " FLANNEL_SUBNET=\"10.5.1.1/24\"\n").unwrap();
        assert_eq!(read(&path).subnets.unwrap().to_string(), "10.5.1.0-24");
    }
}
