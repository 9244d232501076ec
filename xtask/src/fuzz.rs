//! Fuzzing on stable Rust, without cargo-fuzz.
//!
//! libFuzzer needs to see which branches run. That instrumentation is a pass of LLVM that the stable compiler has;
//! only the sanitizers need nightly, and they look for memory errors that code without `unsafe` cannot have.

use std::fs;

use crate::step::{Failed, Step, root};

/// What cargo-fuzz passes, less the sanitizer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions";

/// Build scripts must not be instrumented: naming the target keeps the flags from them.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Runs every target of `fuzz/fuzz_targets` for `seconds`, from its committed corpus. What it finds beyond is kept from
/// run to run beside the program, not among what is committed.
pub(crate) fn run(seconds: u32) -> Result<(), Failed> {
    let build = ["build", "--manifest-path", "fuzz/Cargo.toml", "--release", "--bins", "--target", TARGET];
    Step::cargo(&build).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", "fuzz/target").run()?;
    for name in targets()? {
        let (found, artifacts) = (format!("fuzz/target/corpus/{name}"), format!("fuzz/artifacts/{name}/"));
        let corpus = format!("fuzz/corpus/{name}");
        for folder in [&found, &corpus, &artifacts] {
            fs::create_dir_all(root().join(folder))
                .map_err(|error| Failed(format!("create {folder}: {error}")))?;
        }
        let program = root().join("fuzz/target").join(TARGET).join("release").join(&name);
        let limits = [format!("-max_total_time={seconds}"), format!("-artifact_prefix={artifacts}")];
        Step::new(program, &[&limits[0], &limits[1], "-timeout=60", &found, &corpus]).run()?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>, Failed> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries =
        fs::read_dir(&folder).map_err(|error| Failed(format!("read {}: {error}", folder.display())))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}
