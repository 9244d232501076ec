//! What is wrong with a configuration: every fault found, each with its place, the reason, and what to do about it.

use std::fmt;

use serde::Serialize;

/// Faults listed in one report. Further ones are not.
pub const FAULTS_MAX: usize = 100;

/// Where in a document a fault is, as keys and indexes from the top: `port.c1.address[0]`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct At(pub(crate) Vec<Step>);

/// One step of an [`At`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into a table.
    Key(String),
    /// Into a list.
    Index(usize),
}

impl At {
    /// The value of a key at the top.
    pub(crate) fn top(key: &str) -> Self {
        Self::default().key(key)
    }

    /// The value of `key` in the table that this is.
    pub(crate) fn key(&self, key: impl fmt::Display) -> Self {
        self.step(Step::Key(key.to_string()))
    }

    /// The element `index` of the list that this is.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The object that the fault belongs to, such as a port: the first two steps.
    pub(crate) fn object(&self) -> &[Step] {
        &self.0[..self.0.len().min(2)]
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A fault whose line is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) at: At,
    pub(crate) message: String,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Line, counted from 1; absent if the document is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in characters, counted from 1; absent if the document is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The object or key, like `port.c1.address[0]`; empty for the document itself.
    pub at: String,
    /// What is wrong, why, and what to do.
    pub message: String,
}

/// Everything that was found wrong with a configuration, at most [`FAULTS_MAX`] faults, in the order of the text.
/// Displayed as one line for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The faults, at least one.
    pub faults: Vec<Fault>,
}

impl Report {
    /// A report about a document that is no text.
    pub(crate) fn without_text(findings: Vec<Finding>) -> Self {
        let faults = findings
            .into_iter()
            .take(FAULTS_MAX)
            .map(|finding| Fault {
                line: None,
                column: None,
                at: finding.at.to_string(),
                message: finding.message,
            })
            .collect();
        Self { file: None, faults }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.faults.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            match (&self.file, fault.line, fault.column) {
                (Some(file), Some(line), Some(column)) => write!(f, "{file}:{line}:{column}: ")?,
                (None, _, _) | (_, None, _) | (_, _, None) if fault.at.is_empty() => {}
                (None, _, _) | (_, None, _) | (_, _, None) => write!(f, "{}: ", fault.at)?,
            }
            f.write_str(&fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}
