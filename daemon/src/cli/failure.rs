//! How a mode can end badly, and with which exit code.

use std::io;
use std::path::{Path, PathBuf};
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
    /// A file that was named could not be written.
    File(PathBuf, io::Error),
}

impl Failure {
    /// Bad input that was found before the daemon was asked.
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Refused(ApiError::new(ErrorKind::Invalid, what, why))
    }

    /// Output that goes to this file, or to standard output if it is `-`, could not be written.
    pub(crate) fn writing(to: &Path, error: io::Error) -> Self {
        if to == Path::new("-") { Self::Output(error) } else { Self::File(to.to_owned(), error) }
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
            Self::Output(_) | Self::File(..) => 1,
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
        Failure::File(path, error) => {
            let next = after_writing_failed(error.kind());
            eprintln!("error: {} cannot be written: {error}\n  next: {next}", path.display());
        }
    }
    ExitCode::from(failure.exit_code())
}

fn after_writing_failed(why: io::ErrorKind) -> &'static str {
    use io::ErrorKind::{BrokenPipe, FileTooLarge, QuotaExceeded, StorageFull};
    if [StorageFull, QuotaExceeded, FileTooLarge].contains(&why) {
        "make room, or name a file elsewhere; what is in it until here holds"
    } else if why == BrokenPipe {
        "see why its reader has gone; what came after that is lost"
    } else {
        "name another file; what is in it until here holds"
    }
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
        // Nobody reads a file by name for its first lines.
        let writing = |to: &str| Failure::writing(Path::new(to), io::ErrorKind::BrokenPipe.into());
        assert_eq!((writing("a.fifo").exit_code(), writing("-").exit_code()), (1, 0));
    }
}
