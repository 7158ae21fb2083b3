//! Traces without a trace store: a receiver of OTLP over HTTP, a folder that keeps what it received, and what
//! is shown of it.
//!
//! Everything has a bound: bodies, connections, the time that each takes, the folder, and what a search holds
//! in memory. What does not fit is dropped and said, never waited for.

mod folder;
mod parts;
mod receiver;
mod search;
mod span;
mod waterfall;

pub use folder::SpanFolder;
pub use receiver::Receiver;
pub use search::{Found, Trace, find, newest_payment};
pub use span::{Attributes, Kind, Span, SpanEvent, SpanLink, Status};
pub use waterfall::waterfall;

/// The attribute of a span that names its payment.
pub const PAYMENT_ID: &str = "kilat.payment.id";
