//! Configurations that must be refused, with every fault found, in the words that a person reads.
//!
//! The cases are in `data/refused.txt`: a title, the text, and the report. `REFRESH=1 cargo test -p config` writes the
//! reports anew; read the difference before keeping it.
use config::check;

const CASES: &str = include_str!("data/refused.txt");
const TITLE: &str = "=== ";
const REPORT: &str = "---\n";

#[test]
fn faults_are_told_with_place_reason_and_remedy() {
    let refresh = std::env::var_os("REFRESH").is_some();
    let mut refreshed = String::new();
    let mut wrong = Vec::new();
    for case in CASES.split(TITLE).skip(1) {
        let (title, rest) = case.split_once('\n').expect("a title is a line");
        let (text, expected) = rest.split_once(REPORT).expect("a text is followed by its report");
        let actual = match check("x.toml", text) {
            Ok(_) => "accepted".to_owned(),
            Err(report) => report.to_string(),
        };
        if actual != expected.trim_end() {
            wrong.push(format!("{title}:\n{actual}\ninstead of\n{expected}"));
        }
        refreshed.push_str(&format!("{TITLE}{title}\n{text}{REPORT}{actual}\n\n"));
    }
    if refresh {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/refused.txt");
        std::fs::write(path, refreshed.trim_end().to_owned() + "\n").expect("the cases can be written");
    } else {
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn lines_may_end_in_carriage_return_and_line_feed() {
    let report = check("x.toml", "workers = 1\r\n\r\nspin_us = 201\r\n").unwrap_err();
    assert_eq!(report.to_string(), "x.toml:3:11: spin_us is 201; choose 0 to 200");
}

#[test]
fn a_report_lists_no_more_faults_than_it_may() {
    let text: String = (0..500).map(|index| format!("x{index} = 1\n")).collect();
    assert_eq!(check("x.toml", &text).unwrap_err().faults.len(), config::FAULTS_MAX);
    let text: String = (0..500).map(|index| format!("[port.p{index}]\n")).collect();
    assert_eq!(check("x.toml", &text).unwrap_err().faults.len(), config::FAULTS_MAX);
}
