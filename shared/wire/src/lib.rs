//! What leaves a process: subjects, streams, messages, headers, request-reply bodies and problems.
//!
//! Architecture invariants: every subject and stream name in the project is spelled here and nowhere else; a
//! message type exists for what is known *after* each hop, so no field of it is ever "not yet". The committed
//! files in `tests/golden` are the wire format: a change of theirs is a change for everyone who reads the
//! streams.

pub mod caller;
pub mod dead_letter;
pub mod envelope;
pub mod figures;
pub mod header;
pub mod limits;
pub mod live;
pub mod message;
pub mod object;
pub mod problem;
pub mod rates;
pub mod role;
pub mod route;
pub mod service;
pub mod stream;
pub mod subject;

mod own_object;
mod record;

pub use caller::Caller;
pub use domain::StageName;
pub use figures::RoleFigures;
pub use live::LiveReport;
pub use message::{HopMessage, Message};
pub use problem::{Code, Problem};
pub use role::Role;
pub use route::{Method, Route};
pub use stream::Stream;
pub use subject::{Hop, Place, Subject};
