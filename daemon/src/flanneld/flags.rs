//! flanneld's command line and environment, as Go's `flag` package reads them.
//!
//! `-name value`, `-name=value` and the same with two hyphens; a flag that is on or off takes no separate value
//! (`-ip-masq`, `--ip-masq=false`). `--` or a word that is no flag ends them, and what follows is ignored. A flag that is not
//! given is taken from `FLANNELD_` and its name in capitals with underscores, unless that is empty. The last of several
//! counts, but for `iface` and `iface-regex`, which are lists.
//!
//! Source: flannel main.go; Go src/flag/flag.go; coreos/pkg flagutil/env.go.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use regex::Regex;

/// How a flag's text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Switch,
    List,
}

/// Every flag with its default and what is said about it.
const FLAGS: &[(&str, Kind, &str, &str)] = &[
    (
        "etcd-endpoints",
        Kind::Text,
        "http://127.0.0.1:4001,http://127.0.0.1:2379",
        "a comma-delimited list of etcd endpoints",
    ),
    ("etcd-prefix", Kind::Text, "/coreos.com/network", "etcd prefix"),
    ("etcd-keyfile", Kind::Text, "", "SSL key file used to secure etcd communication"),
    ("etcd-certfile", Kind::Text, "", "SSL certification file used to secure etcd communication"),
    ("etcd-cafile", Kind::Text, "", "SSL Certificate Authority file used to secure etcd communication"),
    ("etcd-username", Kind::Text, "", "username for authentication"),
    ("etcd-password", Kind::Text, "", "password for authentication"),
    (
        "iface",
        Kind::List,
        "",
        "interface to use (IP or name) for inter-host communication; may be given several times",
    ),
    ("iface-regex", Kind::List, "", "regular expression of the interface to use; may be given several times"),
    ("iface-can-reach", Kind::Text, "", "detect the interface by the IP that it can reach"),
    (
        "subnet-file",
        Kind::Text,
        "/run/flannel/subnet.env",
        "filename where env variables (subnet, MTU, ...) are written to",
    ),
    ("public-ip", Kind::Text, "", "IP accessible by other nodes for inter-host communication"),
    ("public-ipv6", Kind::Text, "", "IPv6 accessible by other nodes for inter-host communication"),
    (
        "subnet-lease-renew-margin",
        Kind::Text,
        "60",
        "subnet lease renewal margin, in minutes, from 1 to 1439",
    ),
    ("ip-masq", Kind::Switch, "false", "masquerade traffic that leaves the overlay network"),
    ("ip-masq-fully-random-disable", Kind::Switch, "false", "masquerade without fully random ports"),
    ("kube-subnet-mgr", Kind::Switch, "false", "refused if true: subnets come from etcd only"),
    ("kube-api-url", Kind::Text, "", "ignored"),
    ("kube-annotation-prefix", Kind::Text, "flannel.alpha.coreos.com", "ignored"),
    ("kubeconfig-file", Kind::Text, "", "ignored"),
    ("net-config-path", Kind::Text, "/etc/kube-flannel/net-conf.json", "ignored"),
    ("set-node-network-unavailable", Kind::Switch, "true", "ignored"),
    ("healthz-ip", Kind::Text, "0.0.0.0", "the IP address for the healthz server to listen on"),
    ("healthz-port", Kind::Text, "0", "the port for the healthz server to listen on (0 to disable)"),
    ("iptables-resync", Kind::Text, "5", "how often the firewall's rules are looked at, in seconds"),
    ("iptables-forward-rules", Kind::Switch, "true", "accept forwarded packets of the network"),
    ("ip-blackhole-route", Kind::Switch, "false", "add a blackhole route for the subnet"),
    (
        "tunnel-gso",
        Kind::Switch,
        "false",
        "TCP super-segments leave VXLAN tunnels whole (Linux 6.17); flanneld has no such flag",
    ),
    ("version", Kind::Switch, "false", "print version and exit"),
    ("v", Kind::Text, "0", "ignored: TAPESTRY_LOG says how much is logged"),
    ("vmodule", Kind::Text, "", "ignored"),
    ("log_backtrace_at", Kind::Text, "", "ignored"),
];

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) etcd_endpoints: Vec<String>,
    pub(super) etcd_prefix: String,
    /// `etcd-certfile` and `etcd-keyfile`, if both are given.
    pub(super) etcd_pair: Option<(PathBuf, PathBuf)>,
    pub(super) etcd_ca: Option<PathBuf>,
    pub(super) etcd_credentials: Option<(String, String)>,
    pub(super) iface: Vec<String>,
    pub(super) iface_regex: Vec<Regex>,
    pub(super) iface_can_reach: Option<IpAddr>,
    pub(super) subnet_file: PathBuf,
    pub(super) public_ip: Option<Ipv4Addr>,
    pub(super) public_ipv6: Option<Ipv6Addr>,
    pub(super) renew_margin: Duration,
    pub(super) ip_masq: bool,
    pub(super) random_fully: bool,
    pub(super) kube_subnet_mgr: bool,
    pub(super) healthz: (IpAddr, u16),
    pub(super) resync: Duration,
    pub(super) forward_rules: bool,
    pub(super) blackhole: bool,
    pub(super) tunnel_gso: bool,
}

/// What a command line comes to.
#[derive(Clone, Debug)]
pub(super) enum Parsed {
    Run(Box<Options>),
    Version,
    Help,
}

/// Why a command line was refused, as Go says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the flags are, for people.
pub(super) fn usage() -> String {
    let mut text = "Usage: tapestry flanneld [OPTION]...\n".to_owned();
    for (name, kind, default, help) in FLAGS {
        let value = match kind {
            Kind::Text => " value",
            Kind::Switch => "",
            Kind::List => " value...",
        };
        let default = if default.is_empty() { String::new() } else { format!(" (default {default})") };
        text += &format!("  -{name}{value}\n    \t{help}{default}\n");
    }
    text
}

/// Reads a command line; `env` looks up the environment.
pub(super) fn parse(words: &[String], env: impl Fn(&str) -> Option<String>) -> Result<Parsed, Refused> {
    let mut given: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(flag) =
            word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|flag| !flag.is_empty())
        else {
            break; // Not a flag, or "--", which ends them.
        };
        let (name, value) =
            flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
        if name.is_empty() || name.starts_with('-') {
            return Err(Refused(format!("bad flag syntax: {word}")));
        }
        let Some((known, kind)) = find(name) else {
            if matches!(name, "h" | "help") {
                return Ok(Parsed::Help);
            }
            return Err(Refused(format!("flag provided but not defined: -{name}")));
        };
        let value = match (value, kind) {
            (Some(value), _) => value,
            (None, Kind::Switch) => "true".to_owned(),
            (None, Kind::Text | Kind::List) => {
                words.next().ok_or_else(|| Refused(format!("flag needs an argument: -{name}")))?.clone()
            }
        };
        given.entry(known).or_default().push(value);
    }
    for (name, ..) in FLAGS {
        let variable = format!("FLANNELD_{}", name.to_ascii_uppercase().replace('-', "_"));
        if let Some(value) = env(&variable).filter(|value| !value.is_empty() && !given.contains_key(name)) {
            given.insert(name, vec![value]);
        }
    }
    Values(given).options()
}

fn find(name: &str) -> Option<(&'static str, Kind)> {
    FLAGS.iter().find(|(known, ..)| *known == name).map(|&(known, kind, ..)| (known, kind))
}

struct Values(BTreeMap<&'static str, Vec<String>>);

impl Values {
    fn options(&self) -> Result<Parsed, Refused> {
        if self.switch("version")? {
            return Ok(Parsed::Version);
        }
        let has = |name| !self.text(name).is_empty();
        let minutes: u64 = self.number("subnet-lease-renew-margin")?;
        if !(1..=24 * 60 - 1).contains(&minutes) {
            return Err(Refused(
                "Invalid subnet-lease-renew-margin option, out of acceptable range".to_owned(),
            ));
        }
        let regex = |text: &String| {
            Regex::new(text).map_err(|error| Refused(format!("iface-regex {text:?}: {error}")))
        };
        self.switch("set-node-network-unavailable")?;
        Ok(Parsed::Run(Box::new(Options {
            etcd_endpoints: self
                .text("etcd-endpoints")
                .split(',')
                .map(|each| each.trim().to_owned())
                .collect(),
            etcd_prefix: self.text("etcd-prefix").to_owned(),
            etcd_pair: (has("etcd-keyfile") && has("etcd-certfile"))
                .then(|| (self.text("etcd-certfile").into(), self.text("etcd-keyfile").into())),
            etcd_ca: has("etcd-cafile").then(|| self.text("etcd-cafile").into()),
            etcd_credentials: (has("etcd-username") && has("etcd-password"))
                .then(|| (self.text("etcd-username").to_owned(), self.text("etcd-password").to_owned())),
            iface: self.list("iface").to_vec(),
            iface_regex: self.list("iface-regex").iter().map(regex).collect::<Result<_, _>>()?,
            iface_can_reach: self.optional("iface-can-reach")?,
            subnet_file: self.text("subnet-file").into(),
            public_ip: self.optional("public-ip")?,
            public_ipv6: self.optional("public-ipv6")?,
            renew_margin: Duration::from_secs(60 * minutes),
            ip_masq: self.switch("ip-masq")?,
            random_fully: !self.switch("ip-masq-fully-random-disable")?,
            kube_subnet_mgr: self.switch("kube-subnet-mgr")?,
            healthz: (self.number("healthz-ip")?, self.number("healthz-port")?),
            resync: Duration::from_secs(self.number::<u64>("iptables-resync")?.max(1)),
            forward_rules: self.switch("iptables-forward-rules")?,
            blackhole: self.switch("ip-blackhole-route")?,
            tunnel_gso: self.switch("tunnel-gso")?,
        })))
    }

    fn list(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn text(&self, name: &str) -> &str {
        let default =
            || FLAGS.iter().find(|(known, ..)| *known == name).map_or("", |(_, _, default, _)| default);
        self.list(name).last().map_or_else(default, String::as_str)
    }

    /// What Go's `strconv.ParseBool` takes.
    fn switch(&self, name: &str) -> Result<bool, Refused> {
        match self.text(name) {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => Err(Refused(format!("invalid boolean value {other:?} for -{name}: parse error"))),
        }
    }

    fn number<T: FromStr>(&self, name: &str) -> Result<T, Refused> {
        let text = self.text(name);
        text.parse().map_err(|_| Refused(format!("invalid value {text:?} for flag -{name}: parse error")))
    }

    fn optional<T: FromStr>(&self, name: &str) -> Result<Option<T>, Refused> {
        if self.text(name).is_empty() { Ok(None) } else { self.number(name).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, environment: &[(&str, &str)]) -> Result<Parsed, Refused> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let env = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        parse(&words, env)
    }

    fn options(line: &str, environment: &[(&str, &str)]) -> Options {
        match read(line, environment).unwrap() {
            Parsed::Run(options) => *options,
            other @ (Parsed::Version | Parsed::Help) => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_flannelds() {
        let options = options("", &[]);
        assert_eq!(options.etcd_endpoints, ["http://127.0.0.1:4001", "http://127.0.0.1:2379"]);
        assert_eq!(options.etcd_prefix, "/coreos.com/network");
        assert_eq!(options.subnet_file.to_str(), Some("/run/flannel/subnet.env"));
        assert_eq!(
            (options.renew_margin, options.resync),
            (Duration::from_secs(3600), Duration::from_secs(5))
        );
        assert_eq!((options.ip_masq, options.random_fully, options.forward_rules), (false, true, true));
        assert_eq!(options.healthz, ("0.0.0.0".parse().unwrap(), 0));
    }

    #[test]
    fn go_spellings_are_understood() {
        for line in [
            "-iface eth0 -ip-masq",
            "--iface=eth0 --ip-masq=T",
            "--iface eth0 -ip-masq=1 -- -nonsense",
            "-iface=eth0 --ip-masq word --nonsense",
        ] {
            let options = options(line, &[]);
            assert_eq!((options.iface, options.ip_masq), (vec!["eth0".to_owned()], true), "{line}");
        }
        assert_eq!(options("-iface a -iface b", &[]).iface, ["a", "b"]);
        assert_eq!(
            options("-public-ip 192.0.2.1 -public-ip 192.0.2.2", &[]).public_ip,
            Some(Ipv4Addr::new(192, 0, 2, 2))
        );
        assert!(read("-version -iface", &[]).is_err());
        assert!(matches!(read("-version", &[]), Ok(Parsed::Version)));
        assert!(matches!(read("--help", &[]), Ok(Parsed::Help)));
    }

    #[test]
    fn the_environment_stands_in_for_flags_that_are_not_given() {
        let environment =
            [("FLANNELD_IFACE", "eth1"), ("FLANNELD_IP_MASQ", "true"), ("FLANNELD_ETCD_PREFIX", "")];
        let both = options("-iface eth0", &environment);
        assert_eq!((both.iface, both.ip_masq), (vec!["eth0".to_owned()], true));
        assert_eq!(both.etcd_prefix, "/coreos.com/network", "an empty one is none");
        assert_eq!(options("", &environment).iface, ["eth1"]);
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (line, words) in [
            ("-nonsense", "flag provided but not defined: -nonsense"),
            ("---iface eth0", "bad flag syntax: ---iface"),
            ("-=x", "bad flag syntax: -=x"),
            ("-iface", "flag needs an argument: -iface"),
            ("-ip-masq=yes", "invalid boolean value \"yes\" for -ip-masq"),
            ("-public-ip=fd00::1", "invalid value \"fd00::1\" for flag -public-ip"),
            ("-healthz-port 65536", "invalid value \"65536\" for flag -healthz-port"),
            ("-subnet-lease-renew-margin 0", "out of acceptable range"),
            ("-subnet-lease-renew-margin 1440", "out of acceptable range"),
            ("-iface-regex (", "iface-regex \"(\": "),
        ] {
            let error = read(line, &[]).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn the_table_says_of_every_flag_how_it_is_taken_and_knows_no_other() {
        let document = include_str!("../../../docs/flanneld.md");
        let section = document.split("\n## ").find(|section| section.starts_with("Flags")).unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let mut listed: Vec<&str> = Vec::new();
        for row in rows {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert!(["works", "differs", "refused", "ignored", "added"].contains(&cells[2]), "{row}");
            let needs_words = ["differs", "refused", "added"].contains(&cells[2]);
            assert!(!needs_words || !cells[3].is_empty(), "{row}");
            listed.extend(cells[1].split('`').skip(1).step_by(2));
        }
        let mut known: Vec<&str> = FLAGS.iter().map(|(name, ..)| *name).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
        let of_help = usage();
        let of_help = of_help.lines().filter_map(|line| line.strip_prefix("  -"));
        let mut of_help: Vec<&str> = of_help.filter_map(|line| line.split(' ').next()).collect();
        of_help.sort_unstable();
        assert_eq!(of_help, known);
    }
}
