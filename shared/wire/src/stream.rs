//! The streams, and which stage consumes which.

use crate::{Hop, StageName, Subject};

/// A JetStream stream of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// The intake: on disk, every message fsynced. With Postgres it is the truth; every other stream is derived.
    Accepted,
    /// In memory, one per shard.
    Screened(u16),
    /// In memory, one per shard.
    Quoted(u16),
    /// In memory, one per shard.
    Reserved(u16),
    /// In memory, one per shard.
    Rejected(u16),
    /// In memory; a convenience whose truth is Postgres.
    Finished,
    /// What was buried: on disk, kept until worked off.
    Dead,
}

impl Stream {
    /// The stream that carries a hop's messages.
    pub const fn of(hop: Hop, shard: u16) -> Stream {
        match hop {
            Hop::Accepted => Stream::Accepted,
            Hop::Screened => Stream::Screened(shard),
            Hop::Quoted => Stream::Quoted(shard),
            Hop::Reserved => Stream::Reserved(shard),
            Hop::Rejected => Stream::Rejected(shard),
            Hop::Finished => Stream::Finished,
        }
    }

    /// Every stream of a pipeline with this many shards.
    pub fn all(shards: u16) -> Vec<Stream> {
        let sharded = (0..shards)
            .flat_map(|shard| [Stream::Screened(shard), Stream::Quoted(shard), Stream::Reserved(shard), Stream::Rejected(shard)]);
        [Stream::Accepted, Stream::Dead, Stream::Finished].into_iter().chain(sharded).collect()
    }

    /// The stream's name.
    pub fn name(self) -> String {
        match self {
            Stream::Accepted => "PAY_ACCEPTED".to_owned(),
            Stream::Screened(shard) => format!("PAY_SCREENED_{shard}"),
            Stream::Quoted(shard) => format!("PAY_QUOTED_{shard}"),
            Stream::Reserved(shard) => format!("PAY_RESERVED_{shard}"),
            Stream::Rejected(shard) => format!("PAY_REJECTED_{shard}"),
            Stream::Finished => "PAY_FINISHED".to_owned(),
            Stream::Dead => "PAY_DEAD".to_owned(),
        }
    }

    /// The subjects that the stream stores.
    pub fn subjects(self) -> Subject {
        match self {
            Stream::Accepted => Subject::all_of(Hop::Accepted, 0),
            Stream::Screened(shard) => Subject::all_of(Hop::Screened, shard),
            Stream::Quoted(shard) => Subject::all_of(Hop::Quoted, shard),
            Stream::Reserved(shard) => Subject::all_of(Hop::Reserved, shard),
            Stream::Rejected(shard) => Subject::all_of(Hop::Rejected, shard),
            Stream::Finished => Subject::all_of(Hop::Finished, 0),
            Stream::Dead => Subject::all_dead(),
        }
    }

    /// The stage that consumes the stream, by a durable consumer of the stage's name.
    pub const fn consumer(self) -> Option<StageName> {
        match self {
            Stream::Accepted => Some(StageName::Risk),
            Stream::Screened(_) => Some(StageName::Fx),
            Stream::Quoted(_) => Some(StageName::Reserve),
            Stream::Reserved(_) => Some(StageName::Settle),
            Stream::Rejected(_) => Some(StageName::SettleRejected),
            Stream::Finished | Stream::Dead => None,
        }
    }

    /// Whether the stream is derived from the truth and may be lost at any moment.
    pub const fn is_derived(self) -> bool {
        !matches!(self, Stream::Accepted | Stream::Dead)
    }
}

impl std::fmt::Display for Stream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.name())
    }
}
