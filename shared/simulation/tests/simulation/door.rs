//! The way of clients to the gateways, and what there really is.

use crate::checks::Truth;
use crate::clients::Door;
use crate::history::{Standing, Status, key};
use crate::world::{GATEWAYS, GatewayBorder, World};
use domain::PaymentRecord;
use domain::facts::RecordState;
use gateway::border::Answered;
use std::sync::Arc;
use wire::{Caller, Hop, Stream, Subject};

/// Clones lead to the same world.
#[derive(Clone)]
pub(crate) struct Street(pub(crate) Arc<World>);

impl Street {
    /// Asks a gateway; nothing when it is not there, or dies before it has answered.
    async fn ask<F>(&self, gateway: usize, ask: impl FnOnce(GatewayBorder) -> F) -> Option<Answered>
    where
        F: Future<Output = Answered>,
    {
        let process = self.0.processes[gateway].clone();
        let life = process.life()?;
        let border = self.0.borders.lock().unwrap()[gateway].clone()?;
        tokio::select! {
            biased;
            () = process.outlives(life) => None,
            answered = ask(border) => Some(answered),
        }
    }
}

fn caller() -> Caller {
    Caller { tenant: domain::Tenant::default() }
}

impl Door for Street {
    fn gateways(&self) -> usize {
        GATEWAYS
    }

    async fn submit(&self, gateway: usize, body: Vec<u8>, key: Option<String>) -> Option<Answered> {
        self.ask(gateway, |border| async move { border.submit(&caller(), &body, key).await }).await
    }

    async fn status(&self, gateway: usize, id: String) -> Option<Answered> {
        self.ask(gateway, |border| async move { border.status(&caller(), &id).await }).await
    }

    fn standing(&self, id: &str) -> Standing {
        Truth::standing(self.0.as_ref(), id)
    }
}

impl Truth for World {
    fn record(&self, id: &str) -> Option<PaymentRecord> {
        self.ledger.record(&key(id)?)
    }

    fn letter(&self, id: &str) -> Option<Vec<u8>> {
        self.ledger.open_letters("default", id).pop().map(|letter| letter.payload)
    }

    fn standing(&self, id: &str) -> Standing {
        let Some(payment) = key(id) else { return Standing::default() };
        let record = self.ledger.record(&payment);
        let ended = match record.as_ref().map(|record| &record.state) {
            Some(RecordState::Captured { .. }) => Some(Status::Captured),
            Some(RecordState::Failed { .. }) => Some(Status::Failed),
            Some(RecordState::Reserved(_)) | None => None,
        };
        let subject = Subject::of(Hop::Accepted, 0, &payment);
        Standing {
            is_in_ledger: record.is_some() || self.letter(id).is_some(),
            is_in_intake: self.streams.holds(Stream::Accepted, subject.as_str()),
            ended,
        }
    }

    fn recorded(&self) -> Vec<String> {
        let mut ids = Vec::new();
        self.ledger.each_record(|record, _| ids.push(record.facts.payment.id.to_string()));
        ids
    }
}
