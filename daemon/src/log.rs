//! Logs: to stderr, from `info` upwards unless `TAPESTRY_LOG` says otherwise. Nothing is logged per frame.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Begins to log. `TAPESTRY_LOG` takes tracing's directives: `debug`, `tapestry::link=trace`. A second call does
/// nothing.
pub fn init() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var("TAPESTRY_LOG")
        .from_env_lossy();
    // An error only means that somebody logs already.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_target(false)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_writer(std::io::stderr)
            .try_init(),
    );
}
