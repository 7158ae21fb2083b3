//! A stage's input as a worker reaches it: acknowledgements may be lost or late, and messages come twice or in
//! another order.

use crate::broker_link::BrokerLink;
use crate::conditions::Conditions;
use crate::faults::Fault;
use crate::guards::Guard;
use crate::process::{Process, Reach, Server};
use crate::strikes::{NEWER, is_strangers};
use config::PipelineConfig;
use runtime::broker::{BrokerError, MemoryReceipt, MemoryTransport, Outgoing, Streams};
use runtime::transport::{Delivery, Transport, Unpublished};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wire::{StageName, Stream, Subject};

/// What waits longer is not let go, where that rule is taken out.
const WAITS_ON: Duration = Duration::from_secs(5);

/// One stage's input in one process.
pub(crate) struct WorkerTransport {
    inner: MemoryTransport,
    broker: BrokerLink,
    stage: StageName,
    pipeline: PipelineConfig,
    seen: Mutex<Seen>,
}

/// What has become of the deliveries so far.
#[derive(Default)]
struct Seen {
    /// The payments in hand, and how often each was delivered.
    tokens: HashMap<u64, (String, u64)>,
    /// Deliveries that were ever postponed.
    postponed: BTreeSet<u64>,
    /// Payments that were told of since they were taken.
    told: BTreeSet<String>,
    /// Of those, what the broker has stored, as far as it has answered.
    stored: BTreeSet<String>,
}

impl WorkerTransport {
    pub(crate) fn new(
        inner: MemoryTransport,
        broker: BrokerLink,
        stage: StageName,
        pipeline: PipelineConfig,
    ) -> WorkerTransport {
        WorkerTransport { inner, broker, stage, pipeline, seen: Mutex::default() }
    }

    fn process(&self) -> &Arc<Process> {
        &self.broker.link.process
    }

    fn conditions(&self) -> &Conditions {
        self.broker.link.conditions()
    }

    /// Whether the broker hears this process now; it may have to stand still first.
    async fn is_heard(&self) -> Result<(), BrokerError> {
        self.conditions().called();
        self.process().goes_on().await;
        match self.process().reach(Server::Broker) {
            Reach::Up => Ok(()),
            Reach::Away | Reach::Silent => Err(BrokerError::Unavailable("not connected".to_owned())),
        }
    }

    /// What is taken, as it comes to the stage.
    fn arrived(&self, mut batch: Vec<Delivery<MemoryReceipt>>) -> Vec<Delivery<MemoryReceipt>> {
        let (conditions, stream) = (self.conditions(), self.inner.stream());
        if batch.len() > 1 && conditions.strikes(Fault::Reorder) {
            conditions.chance().shuffle(&mut batch);
        }
        let mut seen = self.seen.lock().unwrap();
        for delivery in &batch {
            let token = Subject::payment_token(&delivery.subject);
            let place = (stream, delivery.seq);
            self.broker.observed.taken(self.process(), self.stage, place, token, delivery.attempt);
            seen.told.remove(token);
            seen.stored.remove(token);
            seen.tokens.insert(delivery.seq, (token.to_owned(), delivery.attempt));
            if conditions.strikes(Fault::Duplicate) {
                self.broker.streams.redeliver(stream, delivery.seq);
            }
        }
        let is_junk = |delivery: &Delivery<MemoryReceipt>| !delivery.payload.starts_with(b"{");
        if batch.len() > 1 && batch.iter().any(is_junk) {
            conditions.window("W21");
        }
        if batch.iter().any(|delivery| delivery.payload.starts_with(NEWER)) {
            conditions.window("W32");
        }
        self.broker.link.tell(|| {
            let name = |delivery: &Delivery<MemoryReceipt>| {
                let again =
                    if delivery.attempt > 1 { format!("(x{})", delivery.attempt) } else { String::new() };
                format!("{}{again}", Subject::payment_token(&delivery.subject))
            };
            format!("{} takes {}", self.stage, batch.iter().map(name).collect::<Vec<_>>().join(" "))
        });
        batch
    }

    /// Those acknowledgements that arrive at once.
    fn acknowledged_now(&self, receipts: &[MemoryReceipt]) -> Vec<MemoryReceipt> {
        let (conditions, mut now) = (self.conditions(), Vec::with_capacity(receipts.len()));
        for receipt in receipts {
            if conditions.strikes(Fault::AckLost) {
                conditions.window("W23");
                self.broker.link.tell(|| format!("{}'s acknowledgement is lost", self.name(receipt)));
            } else if conditions.strikes(Fault::AckLate) {
                conditions.window("W23");
                self.broker.link.tell(|| format!("{}'s acknowledgement comes late", self.name(receipt)));
                let (streams, receipt) = (self.broker.streams.clone(), *receipt);
                let after = conditions.chance().milliseconds(500..20_000);
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    receipt.acknowledge(&streams);
                });
            } else {
                now.push(*receipt);
            }
        }
        now
    }

    fn name(&self, receipt: &MemoryReceipt) -> String {
        let seen = self.seen.lock().unwrap();
        seen.tokens.get(&receipt.seq()).map(|(token, _)| token.clone()).unwrap_or_default()
    }

    /// Nothing is acknowledged before it is known that what becomes of it is stored, but for what is dead and what
    /// is let go.
    fn check_told(&self, receipts: &[MemoryReceipt]) {
        let seen = self.seen.lock().unwrap();
        // So many wait at once that what comes next is let go without a wait.
        let is_crowded = seen.postponed.len() >= self.waiting_max();
        let may_be_dead = self.conditions().plan().has(Fault::Buried);
        for receipt in receipts {
            let Some((token, _)) = seen.tokens.get(&receipt.seq()) else { continue };
            if seen.stored.contains(token) || is_strangers(token) {
                continue;
            }
            if is_crowded || seen.postponed.contains(&receipt.seq()) {
                self.broker.observed.let_go(token);
            } else if !may_be_dead {
                let stage = self.stage;
                self.conditions()
                    .violated(format!("{token} is acknowledged by {stage}, and nothing is stored of it"));
            }
        }
    }

    /// So many deliveries wait at once in one process.
    fn waiting_max(&self) -> usize {
        usize::try_from(self.pipeline.ack_pending_max / 4).unwrap()
    }

    /// The worker has these in hand no more, whatever the broker hears of it.
    fn has_done_with<'r>(&self, receipts: impl Iterator<Item = &'r MemoryReceipt>) {
        for receipt in receipts {
            self.broker.observed.answered(receipt.stream(), receipt.seq());
        }
    }

    /// What would be let go waits on instead.
    async fn wait_on(&self, receipts: &[MemoryReceipt]) -> Result<Vec<MemoryReceipt>, BrokerError> {
        let is_let_go = |receipt: &&MemoryReceipt| {
            let seen = self.seen.lock().unwrap();
            let is_told = seen.tokens.get(&receipt.seq()).is_none_or(|(token, _)| seen.told.contains(token));
            seen.postponed.contains(&receipt.seq()) && !is_told
        };
        let (let_go, done): (Vec<&MemoryReceipt>, Vec<&MemoryReceipt>) = receipts.iter().partition(is_let_go);
        let again: Vec<(MemoryReceipt, Duration)> =
            let_go.into_iter().map(|receipt| (*receipt, WAITS_ON)).collect();
        self.inner.postpone(&again).await?;
        Ok(done.into_iter().cloned().collect())
    }

    /// What is told of the payments, without those that come again where that rule is taken out.
    fn told_of(&self, batch: &[Outgoing]) -> (Vec<usize>, Vec<Outgoing>) {
        let mut seen = self.seen.lock().unwrap();
        let tokens = batch.iter().map(|message| Subject::payment_token(&message.subject).to_owned());
        seen.told.extend(tokens.collect::<Vec<_>>());
        let writes = matches!(self.stage, StageName::Reserve | StageName::Settle | StageName::SettleRejected);
        if !(writes && self.conditions().lacks(Guard::TellAgain)) {
            return ((0..batch.len()).collect(), batch.to_vec());
        }
        let is_again = |message: &&Outgoing| {
            let token = Subject::payment_token(&message.subject);
            seen.tokens.values().any(|(other, attempt)| other == token && *attempt > 1)
        };
        let told = batch.iter().enumerate().filter(|(_, message)| !is_again(message));
        told.map(|(place, message)| (place, message.clone())).unzip()
    }
}

impl Transport for WorkerTransport {
    type Receipt = MemoryReceipt;

    fn stream(&self) -> Stream {
        self.inner.stream()
    }

    async fn take(&mut self, max: usize) -> Result<Vec<Delivery<MemoryReceipt>>, BrokerError> {
        self.is_heard().await?;
        self.seen.lock().unwrap().tokens.clear();
        let process = self.process().clone();
        // Nothing is awaited after it: whoever stops waiting loses nothing that was taken.
        let batch = tokio::select! {
            biased;
            () = process.broker_is_lost() => return Err(BrokerError::Unavailable("disconnected".to_owned())),
            taken = self.inner.take(max) => taken?,
        };
        let batch = self.arrived(batch);
        if self.conditions().lacks(Guard::AckLast) {
            for delivery in &batch {
                delivery.receipt.acknowledge(&self.broker.streams);
            }
        }
        Ok(batch)
    }

    fn close(&mut self) {
        self.inner.close();
    }

    fn ack_wait(&self) -> Duration {
        self.inner.ack_wait()
    }

    async fn reopen(&mut self) -> Result<(), BrokerError> {
        self.broker.declare_all(&self.pipeline).await?;
        self.inner.reopen().await
    }

    async fn declare(&self) -> Result<(), BrokerError> {
        self.broker.declare_all(&self.pipeline).await
    }

    async fn publish(&self, batch: &[Outgoing]) -> Result<(), Unpublished> {
        let (places, told) = self.told_of(batch);
        if told.is_empty() {
            return Ok(());
        }
        let published = self.broker.publish_each(&told).await;
        // A payment that is put back is where it belongs if the intake has it already.
        let is_stored = |place: &usize| match &published {
            Ok(()) | Err(Unpublished { error: BrokerError::Conflict, .. }) => true,
            Err(unpublished) => unpublished.stored.contains(place),
        };
        let stored = told.iter().enumerate().filter(|(place, _)| is_stored(place));
        let tokens = stored.map(|(_, message)| Subject::payment_token(&message.subject).to_owned());
        self.seen.lock().unwrap().stored.extend(tokens);
        published.map_err(|Unpublished { error, stored }| {
            let stored = stored.into_iter().filter_map(|place| places.get(place).copied()).collect();
            Unpublished { error, stored }
        })
    }

    async fn make_room(&self, stream: Stream) -> Result<(), BrokerError> {
        self.broker.trim(stream, &self.pipeline).await.map(|_| ())
    }

    async fn postpone(&self, receipts: &[(MemoryReceipt, Duration)]) -> Result<(), BrokerError> {
        self.has_done_with(receipts.iter().map(|(receipt, _)| receipt));
        // Whatever the broker hears of it: the harness counts it among those that wait.
        self.seen.lock().unwrap().postponed.extend(receipts.iter().map(|(receipt, _)| receipt.seq()));
        self.is_heard().await?;
        let receipts: Vec<_> =
            receipts.iter().filter(|_| !self.conditions().strikes(Fault::AckLost)).cloned().collect();
        self.inner.postpone(&receipts).await
    }

    async fn acknowledge(&self, receipts: &[MemoryReceipt]) -> Result<(), BrokerError> {
        self.check_told(receipts);
        self.has_done_with(receipts.iter());
        self.is_heard().await?;
        let receipts = match self.conditions().lacks(Guard::LetGo) {
            true => self.wait_on(receipts).await?,
            false => receipts.to_vec(),
        };
        self.inner.acknowledge(&self.acknowledged_now(&receipts)).await
    }

    async fn keep(&self, receipts: &[MemoryReceipt]) -> Result<(), BrokerError> {
        self.is_heard().await?;
        self.inner.keep(receipts).await
    }

    async fn give_back(&mut self, receipts: &[MemoryReceipt]) -> Result<(), BrokerError> {
        self.has_done_with(receipts.iter());
        self.is_heard().await?;
        self.inner.give_back(receipts).await
    }
}
