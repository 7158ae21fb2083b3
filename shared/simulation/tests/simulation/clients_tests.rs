use super::*;
use crate::chance::Chance;
use crate::checks::{Truth, check};
use crate::conditions::Conditions;
use crate::faults::Plan;
use crate::history::{Deed, Records};
use crate::steps::Steps;
use config::{Config, StackConfig};
use domain::{AccountKey, PaymentKey, PaymentRecord};
use gateway::border::{Border, BorderParts};
use runtime::broker::{MemoryStreams, Streams};
use runtime::drain::Drain;
use runtime::telemetry::{Metrics, Traces};
use std::collections::{BTreeSet, HashMap};
use store::{Account, BorderLedger, Known, StatusRow, StoreError};
use wire::{Caller, Role, Stream, Subject};

/// A ledger that has nothing.
#[derive(Clone)]
struct Empty;

impl BorderLedger for Empty {
    async fn known(&self, _: &[PaymentKey]) -> Result<HashMap<PaymentKey, Known>, StoreError> {
        Ok(HashMap::new())
    }

    async fn status(&self, _: &PaymentKey) -> Result<StatusRow, StoreError> {
        Ok(StatusRow::default())
    }

    async fn statuses(&self, _: &[PaymentKey]) -> Result<HashMap<PaymentKey, StatusRow>, StoreError> {
        Ok(HashMap::new())
    }

    async fn account(&self, _: &AccountKey) -> Result<Option<Account>, StoreError> {
        Ok(None)
    }
}

/// Two gateways on one intake, and nobody behind it. A few requests are never answered, some of them carried
/// out.
#[derive(Clone)]
struct Gateways {
    borders: [Arc<Border<MemoryStreams, Empty>>; 2],
    streams: MemoryStreams,
    chance: Chance,
}

impl Gateways {
    async fn new(chance: &Chance) -> Gateways {
        let (streams, config) = (MemoryStreams::default(), Config::on(StackConfig::shifted(0)));
        streams.declare_all(&config.pipeline).await.unwrap();
        let metrics = Metrics::new(Role::Gateway, false).unwrap();
        let border = |number: u64| {
            let chance = chance.clone();
            let (border, mut accepting) = Border::start(BorderParts {
                streams: streams.clone(),
                look_ups: Empty,
                reads: Empty,
                config: &config,
                fresh_id: Arc::new(move || format!("fresh-{number}-{}", chance.below(1 << 32))),
                metrics: &metrics,
                traces: Traces::inert(),
                drain: Drain::default(),
            });
            accepting.detach_all();
            Arc::new(border)
        };
        Gateways { borders: [1, 2].map(border), streams: streams.clone(), chance: chance.clone() }
    }

    fn stored(&self) -> HashMap<String, Vec<u8>> {
        let named = |subject: &str| Subject::payment_token(subject).to_owned();
        let messages = self.streams.messages(Stream::Accepted).into_iter();
        messages.map(|message| (named(&message.subject), message.payload.to_vec())).collect()
    }
}

impl Door for Gateways {
    fn gateways(&self) -> usize {
        self.borders.len()
    }

    async fn submit(&self, gateway: usize, body: Vec<u8>, key: Option<String>) -> Option<Answered> {
        if self.chance.one_in(12) {
            return None;
        }
        let answered = self.borders[gateway].submit(&Caller::default(), &body, key).await;
        if self.chance.one_in(12) {
            return std::future::pending().await;
        }
        Some(answered)
    }

    async fn status(&self, gateway: usize, id: String) -> Option<Answered> {
        Some(self.borders[gateway].status(&Caller::default(), &id).await)
    }

    fn standing(&self, id: &str) -> Standing {
        Standing { is_in_intake: self.stored().contains_key(id), ..Standing::default() }
    }
}

/// In the end all that was accepted is buried.
impl Truth for Gateways {
    fn record(&self, _: &str) -> Option<PaymentRecord> {
        None
    }

    fn letter(&self, id: &str) -> Option<Vec<u8>> {
        self.stored().remove(id)
    }

    fn standing(&self, id: &str) -> Standing {
        Door::standing(self, id)
    }

    fn recorded(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What clients meet in a run of this seed, and what is wrong with it.
fn run(seed: u64) -> (Records, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let chance = Chance::new(seed);
        let conditions = Conditions::new(chance.clone(), Steps::new(false), Plan::of(&[]), None);
        let (history, gateways) = (History::new(conditions), Gateways::new(&chance).await);
        let clients = start(&gateways, &history);
        tokio::time::sleep(Duration::from_secs(60)).await; // What clients do meanwhile is what is tested.
        clients.ended().await;
        ask_for_all(&gateways, &history).await;
        let records = history.copy();
        let found = check(&records, &gateways);
        (records, found)
    })
}

#[test]
fn clients_meet_everything_and_gateways_that_keep_their_promises_are_not_blamed() {
    let mut met = BTreeSet::new();
    for seed in 0..40 {
        let (records, found) = run(seed);
        assert!(found.is_empty(), "seed {seed}: {found:?}");
        for request in &records.requests {
            let sent = match request.deed {
                Deed::Asked => "asked",
                Deed::Sent(_) if request.id.is_none() => "sent without a name",
                Deed::Sent(_) if request.id.as_ref().is_some_and(|id| id.len() == 32) => "sent by a key",
                Deed::Sent(_) => "sent by an id",
            };
            let heard = request.answer().map_or("nothing".to_owned(), |answer| {
                let replayed = if answer.is_replayed { " replayed" } else { "" };
                format!("{}{replayed}{}", answer.status, answer.code.as_deref().unwrap_or(""))
            });
            met.insert(format!("{sent}: {heard}"));
        }
    }
    let expected = [
        "asked: 200",
        "asked: 404not_found",
        "sent without a name: 202",
        "sent without a name: nothing",
        "sent by a key: 202",
        "sent by a key: 202 replayed",
        "sent by a key: 422idempotency_mismatch",
        "sent by an id: 202",
        "sent by an id: 202 replayed",
        "sent by an id: 400malformed_json",
        "sent by an id: 400missing_field",
        "sent by an id: 400unknown_field",
        "sent by an id: 422amount_not_positive",
        "sent by an id: 422amount_precision",
        "sent by an id: 422idempotency_mismatch",
        "sent by an id: 422invalid_account",
        "sent by an id: 422same_account",
        "sent by an id: 422unknown_currency",
        "sent by an id: nothing",
    ];
    let missing: Vec<&&str> = expected.iter().filter(|expected| !met.contains(**expected)).collect();
    assert!(missing.is_empty(), "{missing:?} of {met:?}");
}

#[test]
fn a_seed_is_a_run() {
    for seed in 0..4 {
        let ((first, _), (second, _)) = (run(seed), run(seed));
        assert_eq!(first.requests, second.requests, "seed {seed}");
    }
    assert_ne!(run(1).0.requests, run(2).0.requests);
}
