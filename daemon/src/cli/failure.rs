//! How a mode can end badly, and with which exit code.

use std::io;
use std::process::ExitCode;

use crate::api::{ApiError, ErrorKind};

/// Why a mode did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The daemon, or a check before asking it, refused.
    Refused(ApiError),
    /// No daemon answers.
    Unreachable(ApiError),
    /// Everything is said already; the exit code remains.
    Said(u8),
    /// Standard output could not be written.
    Output(io::Error),
}

impl Failure {
    /// Bad input that was found before the daemon was asked.
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused(ApiError::new(ErrorKind::Invalid, what, why))
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(error) => match error.kind {
                ErrorKind::Invalid | ErrorKind::Conflict => 2,
                ErrorKind::NotFound => 3,
                ErrorKind::Unavailable | ErrorKind::Internal => 1,
            },
            Self::Unreachable(_) => 4,
            Self::Said(code) => *code,
            // Whoever closed the pipe has read enough (`tapestry fdb ls | head`).
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 1,
        }
    }
}

/// Says what went wrong, if something did, and gives the exit code.
pub fn finish(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    match &failure {
        Failure::Refused(error) | Failure::Unreachable(error) => eprintln!("error: {error}"),
        Failure::Said(_) => {}
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Failure::Output(error) => eprintln!("error: standard output: {error}"),
    }
    ExitCode::from(failure.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_contract() {
        let refused = |kind| Failure::Refused(ApiError::new(kind, "", "")).exit_code();
        assert_eq!(refused(ErrorKind::Invalid), 2);
        assert_eq!(refused(ErrorKind::Conflict), 2);
        assert_eq!(refused(ErrorKind::NotFound), 3);
        assert_eq!(refused(ErrorKind::Unavailable), 1);
        assert_eq!(refused(ErrorKind::Internal), 1);
        assert_eq!(Failure::Unreachable(ApiError::new(ErrorKind::Unavailable, "", "")).exit_code(), 4);
        assert_eq!(Failure::Output(io::ErrorKind::BrokenPipe.into()).exit_code(), 0);
        assert_eq!(Failure::Output(io::ErrorKind::StorageFull.into()).exit_code(), 1);
    }
}
