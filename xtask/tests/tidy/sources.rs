//! Rules about single files.

use crate::hold;
use crate::repository::File;
use crate::tokens::{Function, Tokens, functions};

/// A function fits a screen (rule 15).
const FUNCTION_LINES_MAX: usize = 70;
/// A file fits a sitting (rule 16): lines of code, without comments and blank lines, before its tests.
const FILE_LINES_MAX: usize = 600;

/// Functions that are longer, each with the reason: `path`, `name`, why.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];
/// Files that are longer, each with the reason.
const LONG_FILES: &[(&str, &str)] = &[];
/// Test files that sleep, each with the reason why there is no event to wait for.
const SLEEPING_TESTS: &[(&str, &str)] = &[];
/// Files outside `daemon/src/sys/` with the word `unsafe`, each with the reason.
const UNSAFE_FILES: &[(&str, &str)] = &[];

/// The crates that know neither clock nor operating system.
const PURE_CRATES: &[&str] = &["wire", "vswitch", "vrouter", "encap", "node"];

fn is_listed(list: &[(&str, &str)], file: &File) -> bool {
    list.iter().any(|&(path, _)| path == file.path)
}

fn complain(file: &File, lines: &[usize], what: &str) -> Vec<String> {
    lines.iter().map(|line| format!("{}:{line}: {what}", file.path)).collect()
}

#[test]
fn every_source_opens_with_its_theory() {
    fn rule(file: &File) -> Vec<String> {
        let is_missing = file.is_rust() && !file.text.starts_with("//! ");
        complain(file, if is_missing { &[1] } else { &[] }, "starts without a module doc (`//! …`)")
    }
    hold(rule, &[("a.rs", "//! A."), ("a.toml", "")], &[("a.rs", ""), ("a.rs", "// A."), ("a.rs", "//!")]);
}

#[test]
fn functions_fit_a_screen() {
    fn rule(file: &File) -> Vec<String> {
        if !file.is_rust() {
            return Vec::new();
        }
        functions(&file.text)
            .iter()
            .filter(|function| function.lines > FUNCTION_LINES_MAX)
            .filter(|function| {
                !LONG_FUNCTIONS.iter().any(|&(path, name, _)| path == file.path && name == function.name)
            })
            .map(|Function { name, line, lines }| {
                format!("{}:{line}: {name} has {lines} lines, more than {FUNCTION_LINES_MAX}", file.path)
            })
            .collect()
    }
    let sized = |lines: usize| format!("fn long() {{{}}}", "\n".repeat(lines - 1));
    hold(rule, &[("a.rs", &sized(70)), ("a.md", &sized(71))], &[("a.rs", &sized(71))]);
}

#[test]
fn files_fit_a_sitting() {
    fn rule(file: &File) -> Vec<String> {
        let lines = code_lines(file);
        if lines <= FILE_LINES_MAX || is_listed(LONG_FILES, file) {
            return Vec::new();
        }
        complain(file, &[1], &format!("has {lines} lines of code, more than {FILE_LINES_MAX}"))
    }
    let tested = "const A: u8 = 0;\n".repeat(600) + "\n// Why.\n#[cfg(test)]\nmod tests {\nfn a() {}\n}\n";
    hold(
        rule,
        &[("a/src/a.rs", &tested)],
        &[("a/src/a.rs", &format!("fn b() {{}}\n{tested}")), ("a/tests/a.rs", &tested)],
    );
}

/// Lines that are neither blank nor comment, before the tests at the file's end.
fn code_lines(file: &File) -> usize {
    if !file.is_rust() {
        return 0;
    }
    let before = if file.is_test() { usize::MAX } else { tests_line(&file.text).unwrap_or(usize::MAX) };
    let is_code = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    file.text.lines().take(before.saturating_sub(1)).filter(|line| is_code(line)).count()
}

/// Where the tests at the file's end begin.
fn tests_line(text: &str) -> Option<usize> {
    let tokens = Tokens::of(text);
    ["# [ cfg ( test ) ] mod tests {", "# [ cfg ( test ) ] pub ( crate ) mod tests {"]
        .iter()
        .find_map(|pattern| tokens.find(pattern).first().copied())
}

#[test]
fn unsafe_stays_in_its_room() {
    fn rule(file: &File) -> Vec<String> {
        if !file.is_rust() || file.path.starts_with("daemon/src/sys/") || is_listed(UNSAFE_FILES, file) {
            return Vec::new();
        }
        complain(file, &Tokens::of(&file.text).find("unsafe"), "`unsafe` belongs into daemon/src/sys/")
    }
    let used = "fn a() { unsafe { b() } }";
    hold(
        rule,
        &[("daemon/src/sys/tap.rs", used), ("a/src/a.rs", "// unsafe\n")],
        &[("daemon/src/main.rs", used), ("wire/src/a.rs", "unsafe impl Send for A {}")],
    );
}

#[test]
fn pure_crates_are_held_by_the_compiler() {
    fn rule(file: &File) -> Vec<String> {
        if !file.is_rust() || !PURE_CRATES.contains(&file.crate_folder()) || !file.path.contains("/src/") {
            return Vec::new();
        }
        let tokens = Tokens::of(&file.text);
        let mut complaints = Vec::new();
        let std_lines = tokens.find("extern crate std");
        if std_lines.len() > tokens.find("# [ cfg ( test ) ] extern crate std").len() {
            complaints.extend(complain(file, &std_lines[..1], "`extern crate std` outside of cfg(test)"));
        }
        if file.path.ends_with("/src/lib.rs") {
            for attribute in ["# ! [ no_std ]", "# ! [ forbid ( unsafe_code ) ]"] {
                if tokens.find(attribute).is_empty() {
                    complaints.extend(complain(file, &[1], &format!("lacks `{attribute}`")));
                }
            }
        }
        complaints
    }
    let good = "#![no_std]\n#![forbid(unsafe_code)]\n#[cfg(test)]\nextern crate std;\n";
    hold(
        rule,
        &[("wire/src/lib.rs", good), ("daemon/src/lib.rs", ""), ("wire/src/a.rs", "")],
        &[
            ("wire/src/lib.rs", "#![forbid(unsafe_code)]"),
            ("node/src/lib.rs", "#![no_std]"),
            ("node/src/lib.rs", "// #![no_std]\n#![forbid(unsafe_code)]"),
            ("encap/src/lib.rs", "#![no_std]\n#![forbid(unsafe_code)]\nextern crate std;"),
            ("vswitch/src/a.rs", "extern crate std;"),
        ],
    );
}

#[test]
fn nothing_is_left_undone_or_silenced() {
    fn rule(file: &File) -> Vec<String> {
        let mut complaints = Vec::new();
        for (index, line) in file.text.lines().enumerate() {
            if line.contains(concat!("FIX", "ME")) {
                complaints.extend(complain(
                    file,
                    &[index + 1],
                    "fix it, or say in the README what is missing",
                ));
            }
        }
        if !file.is_rust() {
            return complaints;
        }
        let tokens = Tokens::of(&file.text);
        for (pattern, what) in [
            ("# [ ignore", "a test that is not run proves nothing; skip loudly at run time instead"),
            ("todo !", "write it, or say in the README what is missing"),
            ("unimplemented !", "write it, or say in the README what is missing"),
            ("[ allow (", "use #[expect(…, reason = \"…\")], which fails once it is not needed"),
        ] {
            complaints.extend(complain(file, &tokens.find(pattern), what));
        }
        complaints.extend(complain(
            file,
            &expectations_without_reason(&tokens),
            "an #[expect] needs a reason",
        ));
        complaints
    }
    hold(
        rule,
        &[
            ("a.rs", "//! #[ignore] todo!()\n#[expect(dead_code, reason = \"soon\")]\nfn allow(a: u8) {}"),
            ("a.rs", "fn a() { \"#[allow(x)]\"; b.expect(\"why\"); }"),
        ],
        &[
            ("a.rs", "#[test]\n#[ignore]\nfn a() {}"),
            ("a.rs", "#[ignore = \"slow\"]\nfn a() {}"),
            ("a.rs", "fn a() { todo!() }"),
            ("a.rs", "fn a() { unimplemented!(\"later\") }"),
            ("a.rs", "#[allow(dead_code)]\nfn a() {}"),
            ("a.rs", "#![allow(dead_code)]"),
            ("a.rs", "#[expect(dead_code)]\nfn a() {}"),
            ("a.sh", concat!("# FIX", "ME: later")),
        ],
    );
}

/// Lines of `#[expect(…)]` that give no reason: as many as there are more attributes than reasons behind them.
fn expectations_without_reason(tokens: &Tokens) -> Vec<usize> {
    let mut lines = tokens.find("[ expect (");
    let reasons = tokens.find("reason =");
    lines.retain(|&line| !reasons.iter().any(|&at| (line..line + 8).contains(&at)));
    lines
}

#[test]
fn tests_wait_for_events_not_for_time() {
    fn rule(file: &File) -> Vec<String> {
        let start = if file.is_test() { Some(1) } else { tests_line(&file.text) };
        let (true, Some(start)) = (file.is_rust() && !is_listed(SLEEPING_TESTS, file), start) else {
            return Vec::new();
        };
        let lines = Tokens::of(&file.text).starting_at(start).find("sleep");
        complain(file, &lines, "a test that sleeps is slow or wrong: wait for the event")
    }
    let sleeping = "#[cfg(test)]\nmod tests {\nfn a() { thread::sleep(ms(5)); }\n}";
    hold(
        rule,
        &[("a/src/a.rs", "fn a() { thread::sleep(ms(5)); }"), ("a/tests/a.rs", "// sleep")],
        &[
            ("a/src/a.rs", sleeping),
            ("a/src/tests.rs", "fn a() { sleep(ms(5)); }"),
            ("a/tests/a.rs", "use std::thread::sleep;"),
        ],
    );
}

#[test]
fn pages_have_titles() {
    fn rule(file: &File) -> Vec<String> {
        let is_missing = file.path.ends_with(".md") && !file.text.starts_with("# ");
        complain(file, if is_missing { &[1] } else { &[] }, "starts without a title (`# …`)")
    }
    hold(rule, &[("a.md", "# A\n"), ("a.txt", "A")], &[("a.md", "A\n"), ("a.md", ""), ("b/a.md", "## A\n")]);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    fn rule(file: &File) -> Vec<String> {
        // In two halves, so that this list does not complain about itself.
        const MACHINE: &[(&str, &str)] = &[("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/")];
        const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
        let mut complaints = Vec::new();
        for (index, line) in file.text.lines().enumerate() {
            if MACHINE.iter().any(|(head, tail)| line.contains(&format!("{head}{tail}"))) {
                complaints.extend(complain(file, &[index + 1], "names a path of one machine"));
            }
            let is_source = file.path.ends_with("Cargo.lock") && line.starts_with("source = ");
            if is_source && line != format!("source = \"{REGISTRY}\"") {
                complaints.extend(complain(
                    file,
                    &[index + 1],
                    "a package that does not come from crates.io",
                ));
            }
            let is_redirect = file.path.starts_with(".cargo/")
                && ["[source", "[registr", "registry"].iter().any(|word| line.trim_start().starts_with(word));
            if is_redirect {
                complaints.extend(complain(file, &[index + 1], "redirects the registry for everybody"));
            }
        }
        complaints
    }
    let good = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    hold(
        rule,
        &[("Cargo.lock", good), ("a.rs", "/run/tapestry /dev/net/tun")],
        &[
            ("Cargo.lock", "source = \"registry+https://mirror.example/index\""),
            ("Cargo.lock", "source = \"git+https://example.org/a#1\""),
            (".cargo/config.toml", "[source.crates-io]"),
            ("a.md", concat!("see /wo", "rk/notes")),
            ("a.sh", concat!("cd /ho", "me/somebody")),
        ],
    );
}
