//! The streams, and which stage consumes which.

use crate::subject::Place;
use crate::{Hop, StageName, Subject};

/// A JetStream stream of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// The intake: on disk, every message fsynced. With Postgres it is the truth; every other stream is
    /// derived.
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
        let carrying = Hop::ALL.into_iter().flat_map(|hop| {
            let shards = if hop.is_sharded() { shards } else { 1 };
            (0..shards).map(move |shard| Stream::of(hop, shard))
        });
        carrying.chain([Stream::Dead]).collect()
    }

    /// The hop whose messages it carries, and the shard where it has some; nothing of what was buried.
    const fn content(self) -> Option<(Hop, Option<u16>)> {
        match self {
            Stream::Accepted => Some((Hop::Accepted, None)),
            Stream::Screened(shard) => Some((Hop::Screened, Some(shard))),
            Stream::Quoted(shard) => Some((Hop::Quoted, Some(shard))),
            Stream::Reserved(shard) => Some((Hop::Reserved, Some(shard))),
            Stream::Rejected(shard) => Some((Hop::Rejected, Some(shard))),
            Stream::Finished => Some((Hop::Finished, None)),
            Stream::Dead => None,
        }
    }

    /// The shard whose messages it carries; 0 where there are no shards.
    pub fn shard(self) -> u16 {
        self.content().and_then(|(_, shard)| shard).unwrap_or(0)
    }

    /// The hop whose messages it carries; nothing of what was buried.
    pub fn hop(self) -> Option<Hop> {
        self.content().map(|(hop, _)| hop)
    }

    /// The stream's name.
    pub fn name(self) -> String {
        let name = |hop: Hop| format!("PAY_{}", hop.as_str().to_ascii_uppercase());
        match self.content() {
            Some((hop, Some(shard))) => format!("{}_{shard}", name(hop)),
            Some((hop, None)) => name(hop),
            None => "PAY_DEAD".to_owned(),
        }
    }

    /// The subjects that the stream stores.
    pub fn subjects(self) -> Subject {
        match self.content() {
            Some((hop, shard)) => Subject::all_of(hop, shard.unwrap_or(0)),
            None => Subject::all_dead(),
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

    /// Where its messages stand in a payment's life; nowhere when they were buried.
    pub fn place(self) -> Option<Place> {
        self.content().map(|(hop, _)| hop.place())
    }

    /// Whether the stream is derived from the truth and may be lost at any moment.
    pub fn is_derived(self) -> bool {
        match self.place() {
            Some(Place::OnTheWay | Place::Refused | Place::End) => true,
            Some(Place::Intake) | None => false,
        }
    }
}

impl std::fmt::Display for Stream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hop_has_its_streams_and_each_stage_one_to_consume() {
        let rows = [
            (Stream::Accepted, "PAY_ACCEPTED", "pay.accepted.0.*", false),
            (Stream::Screened(0), "PAY_SCREENED_0", "pay.screened.0.*", true),
            (Stream::Screened(1), "PAY_SCREENED_1", "pay.screened.1.*", true),
            (Stream::Quoted(0), "PAY_QUOTED_0", "pay.quoted.0.*", true),
            (Stream::Quoted(1), "PAY_QUOTED_1", "pay.quoted.1.*", true),
            (Stream::Reserved(0), "PAY_RESERVED_0", "pay.reserved.0.*", true),
            (Stream::Reserved(1), "PAY_RESERVED_1", "pay.reserved.1.*", true),
            (Stream::Rejected(0), "PAY_REJECTED_0", "pay.rejected.0.*", true),
            (Stream::Rejected(1), "PAY_REJECTED_1", "pay.rejected.1.*", true),
            (Stream::Finished, "PAY_FINISHED", "pay.finished.0.*", true),
            (Stream::Dead, "PAY_DEAD", "pay.dead.*.*", false),
        ];
        let found: Vec<_> = Stream::all(2)
            .into_iter()
            .map(|stream| (stream, stream.name(), stream.subjects(), stream.is_derived()))
            .collect();
        assert_eq!(found.len(), rows.len());
        assert_eq!(Stream::all(2).into_iter().map(Stream::shard).filter(|shard| *shard == 1).count(), 4);
        for ((stream, name, subjects, is_derived), row) in found.iter().zip(rows) {
            assert_eq!((*stream, name.as_str(), subjects.as_str(), *is_derived), row);
        }
        let consumers: Vec<StageName> = Stream::all(1).into_iter().filter_map(Stream::consumer).collect();
        assert_eq!(consumers, StageName::ALL, "each stage consumes one stream of a shard");
    }
}
