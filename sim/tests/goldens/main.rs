//! Goldens: what a switch does, as captures that can be opened side by side.
//!
//! `sim/goldens/CASE/` holds `case.md` (what is shown), `case.toml` (the switch), `in/PORT.pcapng` (what enters) and
//! `out/` (what leaves, and every counter that changed). The cases themselves are the tables in this folder: they say
//! what enters. Every case runs at batch 1, 7 and 64 and must come to the same octets.
//!
//! `cargo xtask bless` (TAPESTRY_BLESS=1) rewrites the folders; read the diff. A case can be run by hand:
//! `tapestry replay -c case.toml --in c1=in/c1.pcapng … --out /tmp/out --expect out`.

mod case;
mod cases;
mod runner;

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io;
use std::panic::catch_unwind;

use case::Case;
use runner::{goldens, run};

/// One test, because blessing rewrites what the second step reads. That every drop has its golden is tidy's matter.
#[test]
fn every_case_comes_to_what_it_came_to() {
    let cases = cases::all();
    // A law that is broken panics; the other cases are told all the same.
    let attempt =
        |case: &Case| catch_unwind(|| run(case)).unwrap_or_else(|_| Err("it panics, see above".to_owned()));
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| attempt(case).err().map(|what| format!("{}: {what}", case.name)))
        .collect();
    assert!(failures.is_empty(), "{} goldens differ:\n{}\n", failures.len(), failures.join("\n\n"));
    every_folder_is_a_case(&cases);
}

fn every_folder_is_a_case(cases: &[Case]) {
    let names: BTreeSet<String> = cases.iter().map(|case| case.name.to_owned()).collect();
    assert_eq!(names.len(), cases.len(), "two cases share a name");
    let entries = fs::read_dir(goldens()).expect("the goldens can be read");
    let name = |entry: io::Result<DirEntry>| entry.expect("the goldens can be read").file_name();
    let folders: BTreeSet<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    let stale: Vec<_> = folders.symmetric_difference(&names).collect();
    assert!(stale.is_empty(), "folders without a case, which someone should delete: {stale:?}");
}
