//! Tidy: how this repository is written, as tests.
//!
//! A rule is a function from one file, or from the whole repository, to complaints (`path:line: what`). Each test
//! first shows that its rule bites on a bad sample and lets a good one go, and only then reads the repository: a check
//! that cannot fail is no check. Exemptions are constants beside the rule, each with its reason.

mod dependencies;
mod goldens;
mod repository;
mod sources;
mod tokens;

use repository::{File, repository};

/// Runs `rule` over samples and over every file. Each sample is a path and a text.
#[track_caller]
fn hold(rule: fn(&File) -> Vec<String>, good: &[(&str, &str)], bad: &[(&str, &str)]) {
    let judge = |&(path, text): &(&str, &str)| rule(&File { path: path.to_owned(), text: text.to_owned() });
    for sample in good {
        assert_eq!(judge(sample), Vec::<String>::new(), "the rule complains about a good sample");
    }
    for sample in bad {
        assert_ne!(judge(sample), Vec::<String>::new(), "the rule overlooks {sample:?}");
    }
    clean(&repository().iter().flat_map(rule).collect::<Vec<_>>());
}

/// Fails with all complaints at once.
#[track_caller]
fn clean(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}\n", complaints.len(), complaints.join("\n"));
}
