//! Rules about who may know whom, read from the manifests.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::clean;
use crate::repository::{File, repository};

/// Each member of the workspace, from the bottom up, and the members it may know. The drawing in ARCHITECTURE.md is
/// the same for people.
const PICTURE: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("vswitch", &["wire"]),
    ("vrouter", &["wire"]),
    ("encap", &["wire"]),
    ("node", &["wire", "vswitch", "vrouter", "encap"]),
    ("config", &["wire", "vswitch", "vrouter", "encap", "node"]),
    ("sim", &["wire", "vswitch", "vrouter", "encap", "node", "config"]),
    ("daemon", &["wire", "vswitch", "vrouter", "encap", "node", "config", "sim"]),
    ("benches", &["wire", "vswitch", "vrouter", "encap", "node", "config", "sim", "tapestry"]),
    // Tidy compares the table of drop reasons with the goldens.
    ("xtask", &["wire"]),
];

/// What the pure crates may use from outside, all of it no_std.
const PURE_EXTERNAL: &[&str] =
    &["etherparse", "smoltcp", "zerocopy", "hashbrown", "foldhash", "prefix-trie", "serde"];
/// Whose dependencies are held to that list.
const PURE: &[&str] = &["wire", "vswitch", "vrouter", "encap", "node"];

/// A manifest with the folder that it stands in.
struct Manifest {
    folder: String,
    table: Table,
}

impl Manifest {
    fn new(folder: &str, text: &str) -> Self {
        let table = text.parse().unwrap_or_else(|error| panic!("{folder}/Cargo.toml: {error}"));
        Self { folder: folder.to_owned(), table }
    }

    /// Names of all dependencies in the given tables, those for single targets included.
    fn dependencies(&self, tables: &[&str]) -> BTreeSet<String> {
        let targets = self.table.get("target").and_then(Value::as_table);
        let places = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
        std::iter::once(&self.table)
            .chain(places)
            .flat_map(|place| tables.iter().filter_map(|&name| place.get(name)?.as_table()))
            .flat_map(|table| table.keys().cloned())
            .collect()
    }
}

const ALL_TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

fn manifests() -> Vec<Manifest> {
    let is_member = |file: &&File| {
        file.path.strip_suffix("/Cargo.toml").is_some_and(|folder| folder != "fuzz" && !folder.contains('/'))
    };
    repository().iter().filter(is_member).map(|file| Manifest::new(file.crate_folder(), &file.text)).collect()
}

/// Complaints about members that know whom they must not.
fn strangers(manifests: &[Manifest]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut ours: BTreeSet<&str> = PICTURE.iter().map(|&(member, _)| member).collect();
    ours.insert("tapestry"); // The package in daemon/.
    for Manifest { folder, .. } in
        manifests.iter().filter(|manifest| !ours.contains(manifest.folder.as_str()))
    {
        complaints.push(format!("{folder} is not in the picture"));
    }
    for &(member, may_know) in PICTURE {
        let Some(manifest) = manifests.iter().find(|manifest| manifest.folder == member) else {
            complaints.push(format!("{member} is in the picture and not in the workspace"));
            continue;
        };
        for known in manifest.dependencies(ALL_TABLES) {
            if ours.contains(known.as_str()) && !may_know.contains(&known.as_str()) {
                complaints.push(format!("{member} must not know {known}"));
            }
        }
    }
    complaints
}

#[test]
fn rooms_know_only_whom_they_may() {
    let with = |changed: &str, text: &str| {
        let text_of = |member: &str| if member == changed { text.to_owned() } else { String::new() };
        let mut all: Vec<_> =
            PICTURE.iter().map(|&(member, _)| Manifest::new(member, &text_of(member))).collect();
        if !PICTURE.iter().any(|&(member, _)| member == changed) {
            all.push(Manifest::new(changed, text));
        }
        strangers(&all)
    };
    assert_eq!(with("node", "[dependencies]\nvswitch = \"1\"\nsmoltcp = \"1\""), Vec::<String>::new());
    assert_eq!(with("vswitch", "[dependencies]\nvrouter.workspace = true").len(), 1);
    assert_eq!(with("vswitch", "[dev-dependencies]\nencap = { path = \"../encap\" }").len(), 1);
    assert_eq!(with("wire", "[target.'cfg(unix)'.dependencies]\nnode = \"1\"").len(), 1);
    assert_eq!(with("sim", "[dependencies]\ntapestry = { path = \"../daemon\" }").len(), 1);
    assert_eq!(with("common", "").len(), 1);
    assert_eq!(strangers(&[]).len(), PICTURE.len());
    clean(&strangers(&manifests()));
}

/// Complaints about members that escape the root's lints.
fn escapees(manifests: &[Manifest]) -> Vec<String> {
    let obeys = |manifest: &&Manifest| {
        manifest.table.get("lints").and_then(|lints| lints.get("workspace")) != Some(&Value::Boolean(true))
    };
    manifests
        .iter()
        .filter(obeys)
        .map(|manifest| format!("{} lacks `[lints] workspace = true`", manifest.folder))
        .collect()
}

#[test]
fn every_member_obeys_the_lints() {
    assert_eq!(escapees(&[Manifest::new("a", "[lints]\nworkspace = true")]), Vec::<String>::new());
    assert_eq!(escapees(&[Manifest::new("a", "")]).len(), 1);
    clean(&escapees(&manifests()));
}

/// Complaints about what pure crates take from outside.
fn impurities(manifests: &[Manifest], root: &Manifest) -> Vec<String> {
    let versions = root.table.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let has_default_features = |name: &str| {
        let entry = versions.and_then(|versions| versions.get(name));
        entry.and_then(|entry| entry.get("default-features")) != Some(&Value::Boolean(false))
    };
    let mut complaints = Vec::new();
    for Manifest { folder, .. } in manifests {
        let manifest =
            manifests.iter().find(|manifest| manifest.folder == *folder).expect("it is one of them");
        if !PURE.contains(&folder.as_str()) {
            continue;
        }
        for name in manifest.dependencies(&["dependencies", "build-dependencies"]) {
            if PICTURE.iter().any(|&(member, _)| member == name) {
                continue;
            }
            if !PURE_EXTERNAL.contains(&name.as_str()) {
                complaints.push(format!("{folder} is pure and must not use {name}"));
            } else if has_default_features(&name) {
                complaints
                    .push(format!("{folder} uses {name} with its default features, which may need std"));
            }
        }
    }
    complaints
}

#[test]
fn pure_rooms_take_nothing_impure() {
    let root = Manifest::new(
        "",
        "[workspace.dependencies]\nsmoltcp = { version = \"1\", default-features = false }\nhashbrown = \"1\"",
    );
    let with = |text: &str| {
        impurities(
            &[Manifest::new("vrouter", text), Manifest::new("daemon", "[dependencies]\nmio = \"1\"")],
            &root,
        )
    };
    assert_eq!(with("[dependencies]\nsmoltcp.workspace = true\nwire.workspace = true"), Vec::<String>::new());
    assert_eq!(with("[dev-dependencies]\nproptest = \"1\""), Vec::<String>::new());
    assert_eq!(with("[dependencies]\nmio.workspace = true").len(), 1);
    assert_eq!(with("[dependencies]\nhashbrown.workspace = true").len(), 1);
    let file = repository().iter().find(|file| file.path == "Cargo.toml").expect("the repository has a root");
    clean(&impurities(&manifests(), &Manifest::new("", &file.text)));
}

/// Complaints about a file of the simulator that opens sockets.
fn sockets(file: &File) -> Vec<String> {
    const SOCKETS: &[&str] =
        &["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "UnixListener", "UnixDatagram"];
    if !file.is_rust() || file.crate_folder() != "sim" {
        return Vec::new();
    }
    let tokens = crate::tokens::Tokens::of(&file.text);
    let found = SOCKETS.iter().filter(|socket| !tokens.find(socket).is_empty());
    found.map(|socket| format!("{}: the simulator opens no {socket}", file.path)).collect()
}

#[test]
fn the_simulator_opens_no_socket() {
    crate::hold(
        sockets,
        &[("daemon/src/a.rs", "use std::net::UdpSocket;"), ("sim/src/a.rs", "// UdpSocket")],
        &[("sim/src/a.rs", "use std::net::UdpSocket;"), ("sim/tests/a.rs", "UnixStream::connect(a)")],
    );
}
