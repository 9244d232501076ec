//! serde's messages, in our words: which key, what stands there, what may stand there, and the nearest match.
//!
//! Works on the text of the message because that is all that serde gives; a message that it does not know it passes
//! on, with the key in front.

use crate::report::{At, Step};

/// What serde's `message` about `at` means.
pub(crate) fn explain(message: &str, at: &At) -> String {
    if let Some((field, expected)) = split(message, "unknown field ", ", expected ") {
        return unknown_key(unquote(field), expected, at);
    }
    if message.starts_with("unknown field ") {
        return format!("unknown key in {}, which has none", table(&parent(at)));
    }
    let key = last_key(at).map_or_else(String::new, |key| format!("{key}: "));
    if let Some((found, expected)) = split(message, "unknown variant ", ", expected ") {
        let choices = quoted(expected);
        let choice = if choices.len() == 1 { "" } else { "one of " };
        let hint = hint(unquote(found), &choices);
        let choices: Vec<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
        return format!("{key}{:?} is not {choice}{}{hint}", unquote(found), choices.join(", "));
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("{} needs the key {:?}", table(at), unquote(field));
    }
    let found = split(message, "invalid type: ", ", expected ")
        .or_else(|| split(message, "invalid value: ", ", expected "));
    if message.ends_with("found in string") || message.starts_with("number too ") {
        // What the standard library says of a table's key that is to be a number, as trunk's are.
        let name = last_key(at).unwrap_or_default();
        return format!("unknown key {name:?} {}; its keys are numbers from 0 to 65535", place(&parent(at)));
    }
    match found {
        Some((found, expected)) => format!("{key}{} stands where {} belongs", value(found), wanted(expected)),
        None => format!("{key}{message}"),
    }
}

/// Whether serde misses a key.
pub(crate) fn is_missing_key(message: &str) -> bool {
    message.starts_with("missing field ")
}

/// `; did you mean "gateway"?`, or nothing if no candidate is near.
pub(crate) fn hint(name: &str, candidates: &[&str]) -> String {
    nearest(name, candidates).map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}

/// The candidate with the fewest typing errors, if they are few for its length.
fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let distance = |candidate: &&'a str| (strsim::damerau_levenshtein(name, candidate), *candidate);
    let errors_max = name.chars().count() / 3;
    candidates.iter().map(distance).min().filter(|(errors, _)| *errors <= errors_max).map(|(_, near)| near)
}

fn unknown_key(key: &str, expected: &str, at: &At) -> String {
    let keys = quoted(expected);
    let hint = match nearest(key, &keys) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => format!("; its keys are {}", keys.join(", ")),
    };
    format!("unknown key {key:?} {}{hint}", place(&parent(at)))
}

fn place(at: &At) -> String {
    if at.0.is_empty() { "at the top".to_owned() } else { format!("in {}", table(at)) }
}

/// `[network.a]`, `[[publish]]`.
fn table(at: &At) -> String {
    match at.0.as_slice() {
        [] => "the file".to_owned(),
        [keys @ .., Step::Index(_)] => format!("[[{}]]", At(keys.to_vec())),
        [.., Step::Key(_)] => format!("[{at}]"),
    }
}

fn parent(at: &At) -> At {
    At(at.0.split_last().map_or_else(Vec::new, |(_, parent)| parent.to_vec()))
}

fn last_key(at: &At) -> Option<&str> {
    at.0.iter().rev().find_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Index(_) => None,
    })
}

fn split<'m>(message: &'m str, start: &str, middle: &str) -> Option<(&'m str, &'m str)> {
    message.strip_prefix(start)?.split_once(middle)
}

fn unquote(name: &str) -> &str {
    name.trim_matches('`')
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn value(found: &str) -> String {
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        other => other
            .trim_start_matches("string ")
            .trim_start_matches("integer ")
            .trim_start_matches("boolean ")
            .replace('`', ""),
    }
}

fn wanted(expected: &str) -> &str {
    match expected {
        "u8" => "a number from 0 to 255",
        "u16" => "a number from 0 to 65535",
        "u32" => "a number from 0 to 4294967295",
        "a sequence" => "a list",
        "a map" => "a table",
        "a boolean" => "true or false",
        other => other,
    }
}
