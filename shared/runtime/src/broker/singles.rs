//! Many single messages on their way into one stream, and their answers.
//!
//! For streams in memory this is cheaper than an atomic batch, whose headers the server reads, checks and keeps
//! with every message, and every consumer reads again. Each message has its own answer. A stream answers in the
//! order in which it takes, so the answers of a batch all come to one subject: a reply subject of its own for
//! each message would be looked up by the server as often as there are messages.

use super::{Broker, BrokerError, Outgoing};
use crate::telemetry::Form;
use crate::transport::Unpublished;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Message, StatusCode, Subscriber};
use futures::StreamExt;
use std::future::Future;
use std::time::Instant;

/// Where the answers come that one publisher waits for, a batch at a time.
pub(super) struct Answers {
    inbox: String,
    subscriber: Subscriber,
    /// Tells the answers of a batch from late ones of the batches before.
    batches: u64,
}

impl Broker {
    /// Stores the messages of a batch, all sent before any answer is waited for: all of them, or it says which.
    /// At most 1,000 messages.
    pub(super) async fn publish_each(
        &self,
        answers: &mut Option<Answers>,
        batch: &[Outgoing],
    ) -> Result<(), Unpublished> {
        match batch {
            [] => return Ok(()),
            [message] => return Ok(self.publish(message).await?),
            _ => {}
        }
        self.require_connection()?;
        let open = match answers {
            Some(open) => open,
            None => answers.insert(self.answers().await?),
        };
        let started = Instant::now();
        let mut told = Told::default();
        let received = match self.send_each(open, batch, &mut told).await {
            Ok(sent) => self.receive_each(open, sent, &mut told).await,
            Err(error) => Err(error),
        };
        if received.is_err() {
            // Whatever became of it: the next batch has another.
            *answers = None;
        }
        if let Some(metrics) = &self.metrics
            && let Some(first) = batch.first()
            && !told.stored.is_empty()
        {
            metrics.stored(&first.subject, told.stored.len(), Form::Single, started.elapsed());
        }
        match received.err().or(told.error) {
            None => Ok(()),
            Some(error) if told.is_out_of_order => Err(error.into()),
            Some(error) => Err(Unpublished { error, stored: told.stored }),
        }
    }

    async fn answers(&self) -> Result<Answers, BrokerError> {
        let client = self.publishing.client();
        let inbox = client.new_inbox();
        let subscribing = client.subscribe(format!("{inbox}.*"));
        let subscriber = self.in_time(subscribing).await?.map_err(BrokerError::unavailable)?;
        Ok(Answers { inbox, subscriber, batches: 0 })
    }

    /// Sends a batch; says the places of those that were sent.
    async fn send_each(
        &self,
        answers: &mut Answers,
        batch: &[Outgoing],
        told: &mut Told,
    ) -> Result<Vec<usize>, BrokerError> {
        answers.batches += 1;
        let reply = answers.reply();
        let client = self.publishing.client();
        let sending = async {
            let mut sent = Vec::with_capacity(batch.len());
            for (place, message) in batch.iter().enumerate() {
                if let Some(objection) = message.objection() {
                    told.refuse(objection);
                    continue;
                }
                let (subject, reply, payload) =
                    (message.subject.clone(), reply.clone(), message.payload.clone());
                let headers = message.headers();
                let publishing = if headers.is_empty() {
                    client.publish_with_reply(subject, reply, payload).await
                } else {
                    client.publish_with_reply_and_headers(subject, reply, headers, payload).await
                };
                publishing.map_err(BrokerError::unavailable)?;
                sent.push(place);
            }
            Ok(sent)
        };
        // Without a connection a publish waits in a full queue for ever; and what lies in it may be sent later.
        let in_time = tokio::time::timeout(self.timeout, sending).await;
        in_time.map_err(|elapsed| BrokerError::Unknown(elapsed.to_string()))?
    }

    /// Waits for the answers to what was sent. One that does not come leaves all behind it unknown, too.
    async fn receive_each(
        &self,
        answers: &mut Answers,
        sent: Vec<usize>,
        told: &mut Told,
    ) -> Result<(), BrokerError> {
        let reply = answers.reply();
        let mut sent = sent.into_iter();
        let receiving = async {
            while sent.len() > 0 {
                let Some(answer) = answers.subscriber.next().await else {
                    return Err(BrokerError::Unknown("the connection was closed".to_owned()));
                };
                if answer.subject.as_str() == reply
                    && let Some(place) = sent.next()
                {
                    told.answered(place, &answer);
                }
            }
            Ok(())
        };
        let in_time = tokio::time::timeout(self.timeout, receiving).await;
        in_time.map_err(|elapsed| BrokerError::Unknown(elapsed.to_string()))?
    }

    async fn in_time<F: Future>(&self, work: F) -> Result<F::Output, BrokerError> {
        tokio::time::timeout(self.timeout, work).await.map_err(BrokerError::unavailable)
    }
}

impl Answers {
    /// Where the answers of the batch come.
    fn reply(&self) -> String {
        format!("{}.{}", self.inbox, self.batches)
    }
}

/// What became of the messages of a batch.
#[derive(Default)]
struct Told {
    stored: Vec<usize>,
    error: Option<BrokerError>,
    is_out_of_order: bool,
}

impl Told {
    fn answered(&mut self, place: usize, answer: &Message) {
        match error_of(answer) {
            None => self.stored.push(place),
            Some(error) => {
                // That comes from who takes messages in, not from the stream, and so before the stream's answers
                // to what was sent earlier: no answer says any more which message it is about.
                self.is_out_of_order |= error == BrokerError::Missing;
                self.refuse(error);
            }
        }
    }

    /// A full stream has room in a while, and what else is wrong is told then; but a message that is objected to
    /// is so for good.
    fn refuse(&mut self, error: BrokerError) {
        match (&self.error, &error) {
            (Some(BrokerError::Full), _) => self.error = Some(error),
            (None, _) => self.error = Some(error),
            (Some(_), _) => {}
        }
    }
}

/// Why a message was not stored, if it was not.
fn error_of(answer: &Message) -> Option<BrokerError> {
    // What nearly all of them begin with, and an error does not.
    if answer.payload.starts_with(b"{\"stream\"") {
        return None;
    }
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Some(BrokerError::Missing);
    }
    match serde_json::from_slice::<Response<PublishAck>>(&answer.payload) {
        Ok(Response::Ok(_)) => None,
        Ok(Response::Err { error }) => Some(BrokerError::of_code(&error)),
        Err(error) => Some(BrokerError::Unknown(error.to_string())),
    }
}

#[cfg(test)]
#[path = "singles_tests.rs"]
mod tests;
