//! Burial: the dead letter, then the buried message, then the acknowledgement. It cannot fail on what is
//! buried, and it has a brake.

use super::Harness;
use super::brake::Permission;
use super::patience::{Abandoned, Pause};
use super::postponed::{Company, Wait};
use crate::broker::Outgoing;
use crate::dead_letters::{BurialError, DeadLetter, DeadLetters};
use crate::stage::Stage;
use crate::telemetry::Outcome;
use crate::transport::{Delivery, Transport};
use bytes::Bytes;
use domain::TraceContext;
use tokio::time::Instant;
use wire::header::Headers;
use wire::{Stream, Subject, dead_letter};

impl<S: Stage, T: Transport, D: DeadLetters> Harness<S, T, D> {
    /// Buries a delivery, or has it wait while burials are halted. What names no payment is nobody's money,
    /// and nobody can drive it again: it is buried whatever the brake says.
    pub(super) async fn bury(
        &mut self,
        delivery: Delivery<T::Receipt>,
        reason: String,
    ) -> Result<(), Abandoned> {
        let token = Subject::payment_token(&delivery.subject);
        let trace_id = delivery.headers.trace.map(|trace| trace.trace_id_text());
        if Subject::payment(&delivery.subject).is_ok() {
            match self.brake.ask(Instant::now()) {
                Permission::Granted => {}
                Permission::Halting => {
                    tracing::error!(stage = %S::NAME, payment = token, trace_id, reason, "too many burials at once: they are halted, and payments wait");
                    self.metrics.halted(true);
                    self.postpone(vec![(delivery, "burials to go on")], Company::Alone).await;
                    return Ok(());
                }
                Permission::Halted => {
                    tracing::debug!(stage = %S::NAME, payment = token, trace_id, reason, "not buried while burials are halted");
                    self.postpone(vec![(delivery, "burials to go on")], Company::Alone).await;
                    return Ok(());
                }
            }
        }
        self.bury_now(delivery, &reason).await
    }

    /// A payment that the ledger has lost and the intake has no room for waits as long as any other. Then it
    /// gets a dead letter, whatever the brake says: nothing would bring it back if it were let go.
    pub(super) async fn keep_homeless(&mut self, delivery: Delivery<T::Receipt>) -> Result<(), Abandoned> {
        match self.postponed.wait(delivery.seq, Company::Others, Instant::now()) {
            Wait::Again(after) => {
                self.spans.outcome(delivery.seq, Outcome::Later);
                self.deliver_again(vec![(delivery, after)]).await;
                Ok(())
            }
            Wait::LetGo => {
                self.bury_now(
                    delivery,
                    "the ledger has lost it, and the intake has no room to accept it again",
                )
                .await
            }
        }
    }

    async fn bury_now(&mut self, delivery: Delivery<T::Receipt>, reason: &str) -> Result<(), Abandoned> {
        let trace_id = delivery.headers.trace.map(|trace| trace.trace_id_text());
        let token = Subject::payment_token(&delivery.subject);
        let (token, reason) = (dead_letter::token(token).into_owned(), dead_letter::reason(reason));
        tracing::error!(stage = %S::NAME, payment = token, trace_id, reason, "buried");
        self.spans.outcome(delivery.seq, Outcome::Buried);
        let payload = delivery.payload.clone();
        let stream = self.transport.stream().name();
        let letter = DeadLetter { stage: S::NAME, token, stream, seq: delivery.seq, reason, payload };
        self.write_letter(letter, &delivery).await?;
        self.metrics.buried();
        self.acknowledge(&[delivery]).await;
        Ok(())
    }

    /// Writes the letter in the ledger and in the stream of the dead. Where either objects to the message
    /// itself, a letter without it takes its place: the reason and the place where it came from are worth
    /// more than no letter at all.
    async fn write_letter(
        &mut self,
        mut letter: DeadLetter,
        of: &Delivery<T::Receipt>,
    ) -> Result<(), Abandoned> {
        let mut pause = Pause::new(self.pipeline.retry_ms_max);
        loop {
            match self.keeping(self.dead_letters.write(&letter)).await {
                Ok(()) => break,
                Err(BurialError::Outage(outage)) => self.outage(&mut pause, &outage).await?,
                Err(BurialError::Objection(objection)) if letter.payload.is_empty() => {
                    tracing::error!(stage = %S::NAME, payment = letter.token, objection, "a dead letter cannot be written");
                    break;
                }
                Err(BurialError::Objection(objection)) => letter = without_message(letter, &objection),
            }
        }
        let trace = self.spans.context(of);
        let publishing = self.spans.publish(Stream::Dead, [(of, letter.payload.len())].into_iter());
        if let Err(objection) = self.publish(Stream::Dead, &[message(&letter, trace)]).await? {
            publishing.failed("refused");
            let letter = without_message(letter, &objection);
            let publishing = self.spans.publish(Stream::Dead, [(of, 0)].into_iter());
            match self.publish(Stream::Dead, &[message(&letter, trace)]).await? {
                Ok(()) => publishing.done(),
                Err(objection) => {
                    publishing.failed("refused");
                    tracing::error!(stage = %S::NAME, objection, "a buried message cannot be published");
                }
            }
            return Ok(());
        }
        publishing.done();
        Ok(())
    }

    /// Lets burials go on once the fault that halted them is over.
    pub(super) fn release_brake(&mut self) {
        if self.brake.release_if_over(Instant::now()) {
            tracing::info!(stage = %S::NAME, "burials may go on");
            self.metrics.halted(false);
        }
    }
}

fn message(letter: &DeadLetter, trace: Option<TraceContext>) -> Outgoing {
    let message =
        Outgoing::new(Subject::dead(letter.stage, &letter.token).into_string(), letter.payload.clone());
    Outgoing { headers: Headers { trace, ..Headers::buried(letter.reason.clone()) }, ..message }
}

fn without_message(letter: DeadLetter, objection: &str) -> DeadLetter {
    let reason =
        dead_letter::reason(&format!("{}; the message could not be kept: {objection}", letter.reason));
    DeadLetter { reason, payload: Bytes::new(), ..letter }
}
