//! Why the stack is not as it was asked to be.

use std::path::PathBuf;

use crate::member::Member;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StackError {
    #[error(transparent)]
    Server(#[from] devstack::Error),
    #[error(
        "{member} needs port {port} ({key}), and another program has it: stop that one, or move the stack, \
         for example with KILAT_STACK__PORT_OFFSET=1000"
    )]
    PortTaken { member: Member, port: u16, key: &'static str },
    #[error(
        "{member} runs on {running}, but the configuration says {configured}: run `make down` with the stack as it is, then up again"
    )]
    OtherPorts { member: Member, running: String, configured: String },
    #[error("no program {0}: run `make build`")]
    NoProgram(PathBuf),
    #[error("the migrations failed ({status}); the end of {log}:\n{tail}")]
    Migrations { status: String, log: PathBuf, tail: String },
    #[error("{0} runs: run `make down` first")]
    StillRunning(Member),
    #[error(
        "no span of {wanted} was received: one payment in a hundred is traced, and the last 64 MiB of spans are \
         kept; to have one traced, send it with -H 'traceparent: {example}'"
    )]
    NoTrace { wanted: String, example: String },
    #[error("cannot {action} spans")]
    Spans { action: &'static str, source: std::io::Error },
    #[error("cannot write to the terminal")]
    Output(#[from] std::io::Error),
}

impl StackError {
    /// The message with those of its sources.
    pub(crate) fn chain(&self) -> String {
        match self {
            Self::Server(error) => error.chain(),
            Self::Spans { source, .. } => format!("{self}: {source}"),
            other => other.to_string(),
        }
    }
}
