//! A watch: the answer to one request that does not end, a line of JSON for whatever happens.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::message::{Event, WatchLine};
use super::{Error, LINE_MAX, Pair, Position};

/// A watch under way.
#[derive(Debug)]
pub struct Watch {
    body: Incoming,
    buffer: Vec<u8>,
    /// How much of the buffer has been searched for the end of a line.
    searched: usize,
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// It has begun, and the cluster stands here.
    Begun(Position),
    /// This has happened, in order.
    Changed(Position, Vec<Change>),
    /// What was asked for has been forgotten; everything has to be listed again.
    Compacted,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was written.
    Put(Pair),
    /// It was deleted, or has expired.
    Deleted(Vec<u8>),
}

impl From<Event> for Change {
    fn from(event: Event) -> Self {
        if event.kind == "DELETE" { Self::Deleted(event.kv.key.0) } else { Self::Put(event.kv.into()) }
    }
}

impl Watch {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, buffer: Vec::new(), searched: 0 }
    }

    /// What happens next. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// If the server ends the watch or makes no sense. It has ended then.
    pub async fn next(&mut self) -> Result<Watched, Error> {
        loop {
            while let Some(line) = self.line() {
                if let Some(watched) = read(&line)? {
                    return Ok(watched);
                }
            }
            if self.buffer.len() > LINE_MAX {
                return Err(Error::Nonsense(format!("a line of more than {LINE_MAX} octets")));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                }
                Some(Err(error)) => return Err(Error::Unreachable(super::said(&error))),
                None => return Err(Error::Unreachable("the server has ended the watch".to_owned())),
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let found = self.buffer[self.searched..].iter().position(|&octet| octet == b'\n');
        let Some(offset) = found else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.drain(..=self.searched + offset).collect();
        self.searched = 0;
        Some(line)
    }
}

/// What a line says; `None` if nothing that matters (a progress report, a blank line).
fn read(line: &[u8]) -> Result<Option<Watched>, Error> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let line: WatchLine = serde_json::from_slice(line).map_err(|error| Error::Nonsense(error.to_string()))?;
    if let Some(error) = line.error {
        return Err(Error::Refused(format!("the watch: {error}")));
    }
    let answer =
        line.result.ok_or_else(|| Error::Nonsense("a line of a watch without a result".to_owned()))?;
    if answer.compact_revision.0 != 0 {
        return Ok(Some(Watched::Compacted));
    }
    if answer.canceled {
        return Err(Error::Refused(format!("the watch was cancelled: {}", answer.cancel_reason)));
    }
    let position = answer.header.into();
    if answer.created {
        return Ok(Some(Watched::Begun(position)));
    }
    let changes: Vec<Change> = answer.events.into_iter().map(Change::from).collect();
    Ok((!changes.is_empty()).then_some(Watched::Changed(position, changes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        for (line, meaning) in [
            ("\n", "Ok(None)"),
            (
                r#"{"result":{"header":{"cluster_id":"1","revision":"3"},"created":true}}"#,
                "Begun(Position { cluster: \"\\\"1\\\"\", revision: 3 })",
            ),
            (r#"{"result":{"header":{"revision":"3"}}}"#, "Ok(None)"),
            (
                r#"{"result":{"header":{"revision":"4"},"events":[{"kv":{"key":"YQ==","mod_revision":"4"}}]}}"#,
                "[Put(Pair { key: [97]",
            ),
            (
                r#"{"result":{"header":{"revision":"5"},"events":[{"type":"DELETE","kv":{"key":"YQ=="}}]}}"#,
                "[Deleted([97])]",
            ),
            (r#"{"result":{"canceled":true,"compact_revision":"7"}}"#, "Compacted"),
            (r#"{"result":{"canceled":true,"cancel_reason":"no leader"}}"#, "cancelled: no leader"),
            (r#"{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}"#, "Refused("),
            ("{}", "without a result"),
            ("[]", "Nonsense("),
            ("{", "Nonsense("),
        ] {
            let said = format!("{:?}", read(line.as_bytes()));
            assert!(said.contains(meaning), "{line}: {said}");
        }
    }
}
