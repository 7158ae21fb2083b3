use super::*;
use crate::memory_ledger::MemoryLedger;
use domain::facts::{Facts, Quote, Reserved, Screening};
use domain::{Payment, PaymentRecord, Timestamp, TraceContext};
use runtime::broker::{MemoryStreams, Outgoing};
use runtime::config::PipelineConfig;
use wire::HopMessage;
use wire::header::Headers;

/// What is there of the payment before its status is asked.
#[derive(Debug, Clone, Copy)]
enum Given {
    /// A message of this hop.
    Message(Hop),
    /// The intake's message, driven again so many times.
    Redriven(u32),
    /// Something else under the intake's subject.
    Junk,
    /// A row, held or captured.
    Row { is_captured: bool },
    /// An open dead letter, whose message can be read or not.
    DeadLetter { is_readable: bool },
    /// The ledger no longer answers.
    LedgerSilent,
    /// The broker no longer answers.
    BrokerAway,
}

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn facts() -> Facts {
    let payment: Payment = serde_json::from_value(serde_json::json!({
        "tenant": "default", "id": "P", "source_account": "S", "destination_account": "D", "amount": {"currency": "USD", "value": "1.00"}
    }))
    .unwrap();
    Facts { fingerprint: payment.fingerprint(), payment, accepted_seq: 1, accepted_at: at(1) }
}

pub(crate) fn reserved() -> Reserved {
    let quote = Quote { destination_amount: facts().payment.amount, conversion: None, at: at(3) };
    Reserved { screening: Screening { score: 7, at: at(2) }, quote, at: at(4) }
}

pub(crate) fn message(hop: Hop) -> HopMessage {
    let (facts, Reserved { screening, quote, at: reserved_at }) = (facts(), reserved());
    match hop {
        Hop::Accepted => PaymentAccepted { payment: facts.payment, fingerprint: facts.fingerprint }.into(),
        Hop::Screened => PaymentScreened { facts, screening }.into(),
        Hop::Quoted => PaymentQuoted { facts, screening, quote }.into(),
        Hop::Reserved => PaymentReserved { facts, screening, quote, reserved_at }.into(),
        Hop::Rejected | Hop::Finished => unreachable!("status does not read them"),
    }
}

fn trace(number: u64) -> TraceContext {
    TraceContext { trace_id: number.into(), span_id: number, is_sampled: true }
}

async fn reader_of(given: &[Given]) -> StatusReader<MemoryStreams, MemoryLedger> {
    let (streams, ledger, pipeline) =
        (MemoryStreams::default(), MemoryLedger::default(), PipelineConfig::default());
    streams.declare_all(&pipeline).await.unwrap();
    streams.set_now(at(1));
    let key = facts().payment.key();
    let subject = |hop| Subject::of(hop, 0, &key).into_string();
    for one in given {
        match one {
            Given::Message(hop) => {
                let headers = Headers { trace: Some(trace(1)), ..Headers::default() };
                let message = Outgoing::new(subject(*hop), message(*hop).encode().unwrap());
                streams.publish(&Outgoing { headers, ..message }).await.unwrap()
            }
            Given::Redriven(times) => {
                let headers = Headers::redriven(*times, at(1));
                let accepted = message(Hop::Accepted).encode().unwrap();
                let outgoing = Outgoing::new(subject(Hop::Accepted), accepted);
                streams.publish(&Outgoing { headers, ..outgoing }).await.unwrap()
            }
            Given::Junk => streams.publish(&Outgoing::new(subject(Hop::Accepted), "{}")).await.unwrap(),
            Given::Row { is_captured: false } => ledger.record(PaymentRecord {
                facts: facts(),
                state: RecordState::Reserved(reserved()),
                trace: Some(trace(2)),
            }),
            Given::Row { is_captured: true } => {
                let state = RecordState::Captured { reserved: reserved(), finished_at: at(5) };
                ledger.record(PaymentRecord { facts: facts(), state, trace: Some(trace(3)) });
            }
            Given::DeadLetter { is_readable: true } => {
                ledger.bury(key.clone(), &message(Hop::Screened).encode().unwrap())
            }
            Given::DeadLetter { is_readable: false } => ledger.bury(key.clone(), b"{}"),
            Given::LedgerSilent => ledger.fall_silent(),
            Given::BrokerAway => streams.begin_outage_after(0),
        }
    }
    StatusReader { ledger, streams, shards: pipeline.shards }
}

/// Status, stage and timeline in one line.
pub(crate) fn line(view: &PaymentView) -> String {
    let body = serde_json::to_value(view).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let timeline = body["timeline"].as_array().into_iter().flatten().map(|moment| text(&moment["stage"]));
    [text(&body["status"]), text(&body["stage"]), timeline.collect::<Vec<_>>().join(" ")].join(": ")
}

#[tokio::test]
async fn a_status_is_true_or_not_told() {
    use Given::{BrokerAway, DeadLetter, Junk, LedgerSilent, Message, Row};
    use Hop::{Accepted, Quoted, Reserved, Screened};
    let (held, captured) = (Row { is_captured: false }, Row { is_captured: true });
    let (dead, unreadable) = (DeadLetter { is_readable: true }, DeadLetter { is_readable: false });
    let rows: [(&[Given], Result<Option<&str>, Code>); 18] = [
        // On its way: as far as the furthest message says, whichever of the derived ones are left.
        (&[Message(Accepted)], Ok(Some("PENDING: accepted: accepted"))),
        (&[Message(Accepted), Message(Screened)], Ok(Some("PENDING: screened: accepted screened"))),
        (&[Message(Accepted), Message(Quoted)], Ok(Some("PENDING: quoted: accepted screened quoted"))),
        (
            &[Message(Accepted), Message(Screened), Message(Quoted)],
            Ok(Some("PENDING: quoted: accepted screened quoted")),
        ),
        (
            &[Message(Accepted), Message(Reserved)],
            Ok(Some("PENDING: reserved: accepted screened quoted reserved")),
        ),
        (&[Junk], Ok(Some("PENDING: accepted: "))),
        // The ledger's word comes first.
        (&[held], Ok(Some("PENDING: reserved: accepted screened quoted reserved"))),
        (
            &[captured, Message(Accepted)],
            Ok(Some("CAPTURED: finished: accepted screened quoted reserved finished")),
        ),
        (&[dead, Message(Accepted)], Ok(Some("PENDING: dead: accepted screened dead"))),
        (&[unreadable], Ok(Some("PENDING: dead: dead"))),
        (&[held, dead], Ok(Some("PENDING: dead: accepted screened quoted reserved dead"))),
        (&[captured, dead], Ok(Some("CAPTURED: finished: accepted screened quoted reserved finished"))),
        // There is none only when both say so.
        (&[], Ok(None)),
        // A derived message proves nothing.
        (&[Message(Screened)], Ok(None)),
        (&[LedgerSilent], Err(Code::Unavailable)),
        (&[Message(Accepted), LedgerSilent], Err(Code::Unavailable)),
        (&[BrokerAway], Err(Code::Unavailable)),
        (&[captured, BrokerAway], Ok(Some("CAPTURED: finished: accepted screened quoted reserved finished"))),
    ];
    for (given, expected) in rows {
        let read = reader_of(given).await.read(&facts().payment.key()).await;
        let found = read.map(|view| view.as_ref().map(line)).map_err(|problem| problem.code);
        assert_eq!(found, expected.map(|line| line.map(str::to_owned)), "{given:?}");
    }
}

/// A time is the last digit of its microseconds.
#[tokio::test]
async fn a_timeline_tells_what_came_of_each_hop() {
    let (held, captured) = (Given::Row { is_captured: false }, Given::Row { is_captured: true });
    let (dead, unreadable) =
        (Given::DeadLetter { is_readable: true }, Given::DeadLetter { is_readable: false });
    let passed = "accepted at 1, screened at 2 since 1 score 7, quoted at 3 since 2, reserved at 4 since 3";
    let rows: [(&[Given], String); 7] = [
        (&[Given::Message(Hop::Accepted)], "accepted at 1".to_owned()),
        (&[Given::Redriven(0)], "accepted at 1".to_owned()),
        (
            &[Given::Redriven(2), Given::Message(Hop::Screened)],
            "accepted at 1 attempt 3, screened at 2 since 1 score 7".to_owned(),
        ),
        (&[captured], format!("{passed}, finished at 5 since 4")),
        (&[held, dead], format!("{passed}, dead at 9 since 4")),
        (&[dead], "accepted at 1, screened at 2 since 1 score 7, dead at 9 since 2".to_owned()),
        (&[unreadable], "dead at 9".to_owned()),
    ];
    for (given, expected) in rows {
        let view = reader_of(given).await.read(&facts().payment.key()).await.unwrap().unwrap();
        let body = serde_json::to_value(&view).unwrap();
        let items = body["timeline"].as_array().unwrap().iter().map(|item| {
            let digit = |name: &str| item[name].as_str().map(|at| at[at.len() - 2..at.len() - 1].to_owned());
            let number = |name: &str| item[name].as_u64().map(|number| number.to_string());
            let parts = [
                ("at", digit("at")),
                ("since", digit("entered_at")),
                ("attempt", number("attempt")),
                ("score", number("score")),
            ];
            let told = parts.into_iter().filter_map(|(name, value)| Some(format!(" {name} {}", value?)));
            format!("{}{}", item["stage"].as_str().unwrap(), told.collect::<String>())
        });
        assert_eq!(items.collect::<Vec<_>>().join(", "), expected, "{given:?}");
    }
}

/// The row knows it, and before there is one the intake.
#[tokio::test]
async fn a_payment_that_is_traced_tells_its_trace() {
    let (held, captured) = (Given::Row { is_captured: false }, Given::Row { is_captured: true });
    let accepted = Given::Message(Hop::Accepted);
    let rows: [(&[Given], Option<u32>); 6] = [
        (&[accepted], Some(1)),
        (&[accepted, Given::Message(Hop::Quoted)], Some(1)),
        (&[held, accepted], Some(2)),
        (&[captured, accepted], Some(3)),
        (&[Given::Junk], None),
        (&[Given::DeadLetter { is_readable: true }], None),
    ];
    for (given, expected) in rows {
        let view = reader_of(given).await.read(&facts().payment.key()).await.unwrap().unwrap();
        let told = serde_json::to_value(&view).unwrap().get("trace_id").cloned();
        assert_eq!(told, expected.map(|number| format!("{number:032x}").into()), "{given:?}");
    }
}

/// An intake that is lost is an outage and no answer; a derived stream that is lost held nothing that counts.
#[tokio::test]
async fn a_lost_stream_is_not_an_absent_payment() {
    let rows = [
        (Stream::Accepted, Err(Code::Unavailable)),
        (Stream::Quoted(0), Ok(Some("PENDING: screened: accepted screened".to_owned()))),
    ];
    for (lost, expected) in rows {
        let reader = reader_of(&[
            Given::Message(Hop::Accepted),
            Given::Message(Hop::Screened),
            Given::Message(Hop::Quoted),
        ])
        .await;
        reader.streams.lose(lost);
        let read = reader.read(&facts().payment.key()).await;
        assert_eq!(
            read.map(|view| view.as_ref().map(line)).map_err(|problem| problem.code),
            expected,
            "{lost}"
        );
    }
}
