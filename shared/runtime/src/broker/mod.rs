//! JetStream: the only place that names async-nats.
//!
//! Two connections a process: one publishes, one consumes, so that acknowledgements never queue behind
//! payloads. Every answer of the server is sorted into one of the kinds of [`BrokerError`], by what is to be
//! done about it.

mod bucket;
mod connect;
mod consume;
mod error;
mod figures;
mod follow;
mod headers;
mod memory_consumer;
mod memory_inbox;
mod memory_log;
mod memory_marks;
mod memory_streams;
mod memory_transport;
mod publish;
mod read;
mod ready;
mod scan;
mod seam;
mod services;
mod settings;
mod singles;
mod streams;
mod trim;

pub use bucket::{BucketChange, BucketEvent};
pub use connect::{Broker, Subscription};
pub use consume::{JetStreamTransport, Receipt};
pub use error::BrokerError;
pub use figures::{ConsumerFigures, StreamFigures};
pub use follow::Follower;
pub use memory_streams::MemoryStreams;
pub use memory_transport::{MemoryReceipt, MemoryTransport};
pub use publish::Outgoing;
pub use read::Stored;
pub use scan::{AcceptedHead, Bounds, Progress, Since};
pub use seam::Streams;
pub use services::{Call, Reply, ServiceHandler};
