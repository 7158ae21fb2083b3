//! The broker as one process reaches it.

use crate::faults::Fault;
use crate::guards::Guard;
use crate::link::{Link, Unreached};
use crate::observed::Observed;
use crate::process::Server;
use crate::windows::Struck;
use config::PipelineConfig;
use runtime::broker::{
    AcceptedHead, Bounds, BrokerError, MemoryStreams, Outgoing, Progress, Since, Stored, Streams,
    Subscription,
};
use runtime::transport::Unpublished;
use std::borrow::Cow;
use std::future::Future;
use wire::{Stream, Subject};

/// Clones are the same way to the same broker.
#[derive(Clone)]
pub(crate) struct BrokerLink {
    pub(crate) link: Link,
    pub(crate) streams: MemoryStreams,
    pub(crate) observed: Observed,
}

impl BrokerLink {
    async fn ask<T>(
        &self,
        call: &'static str,
        told: impl Fn() -> String + Send,
        act: impl Future<Output = Result<T, BrokerError>> + Send,
    ) -> Result<T, BrokerError> {
        self.link.ask(Server::Broker, call, told, act).await
    }

    /// A batch as it is sent.
    fn sent<'b>(&self, batch: &'b [Outgoing]) -> Cow<'b, [Outgoing]> {
        if self.link.process.role == "gateway" && self.link.conditions().lacks(Guard::OnlyIfAbsent) {
            let unfenced = |message: &Outgoing| Outgoing { expected_last: None, ..message.clone() };
            return Cow::Owned(batch.iter().map(unfenced).collect());
        }
        Cow::Borrowed(batch)
    }

    /// A batch arrives at the broker.
    async fn store(&self, batch: &[Outgoing]) -> Result<(), BrokerError> {
        let stored = self.streams.publish_batch(batch).await;
        self.note(batch, &stored);
        stored
    }

    fn note(&self, batch: &[Outgoing], stored: &Result<(), BrokerError>) {
        match stored {
            Ok(()) => batch.iter().for_each(|message| self.observed.stored(message)),
            Err(BrokerError::Full) => {
                self.link.conditions().window("W10");
                let is_accepted =
                    batch.first().is_some_and(|first| first.subject.starts_with("pay.accepted"));
                let fault = if is_accepted { Fault::SmallIntake } else { Fault::SmallStreams };
                self.link.conditions().struck(fault);
            }
            Err(_) => {}
        }
        let answer = stored.as_ref().map_or_else(|error| error.kind(), |()| "stored");
        self.link.tell(|| format!("publish {}: {answer}", subjects(batch)));
    }

    /// The messages of a batch arrive one by one: all of them, or those before the connection is cut, of which no
    /// answer tells.
    pub(crate) async fn publish_each(&self, batch: &[Outgoing]) -> Result<(), Unpublished> {
        if self.link.conditions().strikes(Fault::RequestLate) {
            self.link.process.goes_on().await;
            return Err(self.store_late(batch.to_vec()).await.into());
        }
        if batch.len() > 1 && self.link.conditions().strikes(Fault::BatchCut) {
            let count = usize::try_from(self.link.conditions().chance().below(batch.len() as u64)).unwrap();
            let (arrives, _) = batch.split_at(count);
            let told = || format!("publish {}, cut after {count}", subjects(batch));
            self.ask("publish_batch", told, async { Ok(self.store_each(arrives).await) }).await?.ok();
            return Err(BrokerError::Unknown("the connection was cut".to_owned()).into());
        }
        let mut stored = Ok(());
        let act = async {
            stored = self.store_each(batch).await;
            stored.clone().map_err(|unpublished| unpublished.error)
        };
        let answer = self.ask("publish_batch", || format!("publish {}", subjects(batch)), act).await;
        answer.map_err(|error| match stored {
            Err(unpublished) if unpublished.error == error => unpublished,
            // What it had stored was not told.
            _ => error.into(),
        })
    }

    async fn store_each(&self, batch: &[Outgoing]) -> Result<(), Unpublished> {
        let stored = self.streams.publish_each(batch).await;
        match &stored {
            Ok(()) => self.note(batch, &Ok(())),
            Err(Unpublished { error, stored }) => {
                self.note(batch, &Err(error.clone()));
                stored.iter().filter_map(|place| batch.get(*place)).for_each(|one| self.observed.stored(one));
            }
        }
        stored
    }

    async fn publish_single(&self, message: &Outgoing) -> Result<(), BrokerError> {
        if self.link.conditions().strikes(Fault::RequestLate) {
            self.link.process.goes_on().await;
            return Err(self.store_late(vec![message.clone()]).await);
        }
        let act = async {
            if message.headers.redrive.is_some() {
                self.observed.is_driven_again(&self.streams, message).await;
            }
            self.store(std::slice::from_ref(message)).await
        };
        let told = || format!("publish again {}", subjects(std::slice::from_ref(message)));
        self.ask("publish_singles", told, act).await
    }

    /// It is on its way for longer than its sender waits.
    async fn store_late(&self, batch: Vec<Outgoing>) -> BrokerError {
        let conditions = self.link.conditions();
        conditions.struck_call(self.link.process.role, "publish_batch", Struck::Late);
        self.link.tell(|| format!("publish {} is under way for long", subjects(&batch)));
        let (broker, after) = (self.clone(), conditions.chance().seconds(5..20));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            // Whoever sent it has stopped waiting.
            let _ = broker.store(&batch).await;
        });
        self.link.patience(Server::Broker).await;
        BrokerError::unanswered("publish_batch")
    }
}

/// What a batch is about.
pub(crate) fn subjects(batch: &[Outgoing]) -> String {
    let short = |message: &Outgoing| {
        let mut tokens = message.subject.split('.').skip(1);
        let (hop, payment) = (tokens.next().unwrap_or(""), tokens.nth(1).unwrap_or(""));
        format!("{hop}:{payment}")
    };
    batch.iter().map(short).collect::<Vec<_>>().join(" ")
}

impl Streams for BrokerLink {
    async fn declare_all(&self, pipeline: &PipelineConfig) -> Result<(), BrokerError> {
        self.ask("declare_all", || "declare streams".to_owned(), self.streams.declare_all(pipeline)).await
    }

    async fn publish(&self, message: &Outgoing) -> Result<(), BrokerError> {
        self.publish_batch(std::slice::from_ref(message)).await
    }

    async fn publish_singles(
        &self,
        messages: &[Outgoing],
    ) -> Result<Vec<Result<(), BrokerError>>, BrokerError> {
        let messages = self.sent(messages);
        let mut answers: Vec<Result<(), BrokerError>> = Vec::new();
        for message in &*messages {
            // As the client does: after one that is not answered the others are not sent.
            let is_lost = |answer: &Result<(), BrokerError>| {
                matches!(answer, Err(BrokerError::Unknown(_) | BrokerError::Unavailable(_)))
            };
            if answers.last().is_some_and(is_lost) {
                answers.push(Err(BrokerError::Unavailable("not sent".to_owned())));
                continue;
            }
            answers.push(self.publish_single(message).await);
        }
        Ok(answers)
    }

    async fn publish_batch(&self, batch: &[Outgoing]) -> Result<(), BrokerError> {
        let batch = self.sent(batch);
        if self.link.conditions().strikes(Fault::RequestLate) {
            self.link.process.goes_on().await;
            return Err(self.store_late(batch.into_owned()).await);
        }
        self.ask("publish_batch", || format!("publish {}", subjects(&batch)), self.store(&batch)).await
    }

    async fn last(&self, stream: Stream, subject: &Subject) -> Result<Option<Stored>, BrokerError> {
        self.ask("last", || format!("read {subject}"), self.streams.last(stream, subject)).await
    }

    async fn last_of_each(&self, stream: Stream, subjects: &[Subject]) -> Result<Vec<Stored>, BrokerError> {
        let told = || format!("read {} of {stream}", subjects.len());
        self.ask("last_of_each", told, self.streams.last_of_each(stream, subjects)).await
    }

    async fn progress(&self, stream: Stream) -> Result<Option<Progress>, BrokerError> {
        let progress =
            self.ask("progress", || format!("progress of {stream}"), self.streams.progress(stream)).await?;
        let is_blind = self.link.process.role == "janitor"
            && stream == Stream::Accepted
            && self.link.conditions().lacks(Guard::FloorFirst);
        let without_floor = |progress: Progress| Progress { floor: u64::MAX - 1, ..progress };
        Ok(if is_blind { progress.map(without_floor) } else { progress })
    }

    async fn bounds(&self, stream: Stream) -> Result<Option<Bounds>, BrokerError> {
        self.ask("bounds", || format!("bounds of {stream}"), self.streams.bounds(stream)).await
    }

    async fn accepted_heads(&self, seq: u64, max: usize) -> Result<Vec<AcceptedHead>, BrokerError> {
        let told = || format!("heads from {seq}");
        self.ask("accepted_heads", told, self.streams.accepted_heads(seq, max)).await
    }

    async fn accepted_since(
        &self,
        since: Since,
        last: u64,
        visit: &mut (dyn FnMut(Stored) + Send),
    ) -> Result<(), BrokerError> {
        let told = || format!("accepted up to {last}");
        self.ask("accepted_since", told, self.streams.accepted_since(since, last, visit)).await
    }

    async fn purge_below(&self, stream: Stream, seq: u64) -> Result<u64, BrokerError> {
        let told = || format!("purge {stream} below {seq}");
        let act = async {
            let purged = self.streams.purge_below(stream, seq).await;
            self.link.tell(|| format!("purges {stream} below {seq}: {purged:?}"));
            purged
        };
        self.ask("purge_below", told, act).await
    }

    async fn subscribe(&self, subject: &str) -> Result<Subscription, BrokerError> {
        self.ask("subscribe", || format!("subscribe to {subject}"), self.streams.subscribe(subject)).await
    }

    async fn trim(&self, stream: Stream, pipeline: &PipelineConfig) -> Result<Option<Progress>, BrokerError> {
        self.ask("trim", || format!("trim {stream}"), self.streams.trim(stream, pipeline)).await
    }
}
