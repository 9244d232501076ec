//! serde's messages, in our words: which key, what stands there, what may stand there, and the nearest match.
//!
//! Works on the text of the message because that is all that serde gives; a message that it does not know it passes
//! on, with the key in front.

use crate::report::{At, Step};

/// What serde's `message` about one of this crate's types means: for JSON that was refused before it was a
/// [`crate::Document`]. The line and column that serde_json puts at the end come first.
pub fn explain(message: &str) -> String {
    match message.rsplit_once(" at line ") {
        Some((message, place)) => format!("line {place}: {}", meaning(message, None)),
        None => meaning(message, None),
    }
}

/// What serde's `message` about `at` means.
pub(crate) fn explain_at(message: &str, at: &At) -> String {
    meaning(message, Some(at))
}

fn meaning(message: &str, at: Option<&At>) -> String {
    let place = at.map_or_else(String::new, |at| format!(" {}", place(&parent(at))));
    if let Some((field, expected)) = split(message, "unknown field ", ", expected ") {
        return unknown_key(unquote(field), expected, &place);
    }
    if message.starts_with("unknown field ") {
        return format!("unknown key{place}, where there are none");
    }
    let key = at.and_then(last_key).map_or_else(String::new, |key| format!("{key}: "));
    if let Some((found, expected)) = split(message, "unknown variant ", ", expected ") {
        let choices = quoted(expected);
        let choice = if choices.len() == 1 { "" } else { "one of " };
        let hint = hint(unquote(found), &choices);
        let choices: Vec<String> = choices.iter().map(|choice| format!("{choice:?}")).collect();
        return format!("{key}{:?} is not {choice}{}{hint}", unquote(found), choices.join(", "));
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        let table = at.map_or_else(|| "the table".to_owned(), table);
        return format!("{table} needs the key {:?}", unquote(field));
    }
    let found = split(message, "invalid type: ", ", expected ")
        .or_else(|| split(message, "invalid value: ", ", expected "));
    if message.ends_with("found in string") || message.starts_with("number too ") {
        // What the standard library says of a table's key that is to be a number, as trunk's are.
        let name = at.and_then(last_key).map_or_else(String::new, |name| format!(" {name:?}"));
        return format!("unknown key{name}{place}; its keys are numbers from 0 to 65535");
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

fn unknown_key(key: &str, expected: &str, place: &str) -> String {
    let keys = quoted(expected);
    let hint = match nearest(key, &keys) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => format!("; its keys are {}", keys.join(", ")),
    };
    format!("unknown key {key:?}{place}{hint}")
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
    message.strip_prefix(start)?.rsplit_once(middle) // What was found may say anything.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NetworkSpec, PortSpec};

    #[test]
    fn json_is_explained_like_toml() {
        let network = |json| explain(&serde_json::from_str::<NetworkSpec>(json).unwrap_err().to_string());
        assert_eq!(
            network(r#"{"gatway":[]}"#),
            "line 1 column 9: unknown key \"gatway\"; did you mean \"gateway\"?"
        );
        assert_eq!(network(r#"{"vxlan":{"vni":1}}"#), "line 1 column 18: the table needs the key \"local\"");
        assert_eq!(
            network(r#"{"mtu":"x"}"#),
            "line 1 column 10: \"x\" stands where a number from 0 to 65535 belongs"
        );
        let port = |json| explain(&serde_json::from_str::<PortSpec>(json).unwrap_err().to_string());
        assert_eq!(
            port(r#"{"guard":["ra","dchp"]}"#),
            "line 1 column 21: \"dchp\" is not one of \"mac\", \"arp\", \"nd\", \"ra\", \"dhcp\"; did you mean \"dhcp\"?"
        );
    }
}
