//! Rows of `payments` and what they mean.

use crate::StoreError;
use crate::columns::{At, PgQuery, columns};
use crate::error::is_taken;
use domain::facts::{AppliedRate, Quote, RecordState, Rejection, Reserved, Screening};
use domain::fx::Rate;
use domain::{
    AccountId, Currency, Facts, Fingerprint, Metadata, Money, Payment, PaymentId, PaymentKey, PaymentRecord,
    Refusal, StageName, Tenant, Timestamp, TraceContext,
};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::HashMap;
use std::sync::LazyLock;
use time::OffsetDateTime;

columns! {
    /// A row of `payments`, but for the instant that the database gives it.
    RecordColumns<'r> of row: Parts<'r> {
        tenant: &'r str as "text" = row.facts.payment.tenant.as_str();
        id: &'r str as "text" = row.facts.payment.id.as_str();
        status: &'r str as "text" = row.status;
        source_account: &'r str as "text" = row.facts.payment.source_account.as_str();
        destination_account: &'r str as "text" = row.facts.payment.destination_account.as_str();
        currency: &'r str as "text" = row.facts.payment.amount.currency.code();
        amount: i64 as "bigint" = row.facts.payment.amount.minor;
        requested_currency: Option<&'r str> as "text" = row.facts.payment.destination_currency.map(Currency::code);
        description: Option<&'r str> as "text" = row.facts.payment.description.as_deref();
        metadata: Option<&'r str> as "text" = row.facts.payment.metadata.as_ref().map(Metadata::as_str);
        fingerprint: &'r [u8] as "bytea" = &row.facts.fingerprint.0;
        accepted_seq: i64 as "bigint" = i64::try_from(row.facts.accepted_seq).unwrap_or(i64::MAX);
        accepted_at: OffsetDateTime as "timestamptz" = row.facts.accepted_at.to_datetime();
        risk_score: Option<i16> as "smallint" = row.screening.map(|screening| i16::from(screening.score));
        screened_at: Option<OffsetDateTime> as "timestamptz" = row.screening.map(|screening| screening.at.to_datetime());
        destination_currency: Option<&'r str> as "text" = row.quote.map(|quote| quote.destination_amount.currency.code());
        destination_amount: Option<i64> as "bigint" = row.quote.map(|quote| quote.destination_amount.minor);
        rate_numerator: Option<i64> as "bigint" = row.conversion().map(|applied| applied.rate.numerator);
        rate_denominator: Option<i64> as "bigint" = row.conversion().map(|applied| applied.rate.denominator);
        spread_bps: Option<i32> as "integer" = row.conversion().map(|applied| i32::try_from(applied.spread_bps).unwrap_or(i32::MAX));
        gross_amount: Option<i64> as "bigint" = row.conversion().map(|applied| applied.gross_minor);
        residue: Option<i64> as "bigint" = row.conversion().map(|applied| applied.residue);
        rate_as_of: Option<OffsetDateTime> as "timestamptz" = row.conversion().map(|applied| applied.as_of.to_datetime());
        quoted_at: Option<OffsetDateTime> as "timestamptz" = row.quote.map(|quote| quote.at.to_datetime());
        reserved_at: Option<OffsetDateTime> as "timestamptz" = row.reserved_at.map(Timestamp::to_datetime);
        refused_by: Option<&'r str> as "text" = row.rejection.map(|rejection| rejection.stage.as_str());
        reason: Option<&'r str> as "text" = row.rejection.map(|rejection| rejection.reason.code());
        // An array of arrays would have to be rectangular, so each row's are one text on their way.
        rules: String as "text" read "string_to_array(n.rules, ',')" = row.rejection.map(|rejection| rejection.rules.join(",")).unwrap_or_default();
        refused_at: Option<OffsetDateTime> as "timestamptz" = row.rejection.map(|rejection| rejection.at.to_datetime());
        finished_at: Option<OffsetDateTime> as "timestamptz" = row.finished_at.map(Timestamp::to_datetime);
        traceparent: Option<String> as "text" = row.trace.map(|trace| trace.to_string());
    }
}

/// Whether this column of `payments` is written, be it with a null.
pub(crate) fn writes(column: &str) -> bool {
    RecordColumns::TABLE.has(column)
}

/// A record taken apart as a row has it.
struct Parts<'r> {
    facts: &'r Facts,
    status: &'static str,
    screening: Option<&'r Screening>,
    quote: Option<&'r Quote>,
    reserved_at: Option<Timestamp>,
    rejection: Option<&'r Rejection>,
    finished_at: Option<Timestamp>,
    trace: Option<TraceContext>,
}

impl<'r> Parts<'r> {
    fn of(record: &'r PaymentRecord) -> Parts<'r> {
        let (facts, trace) = (&record.facts, record.trace);
        let held = |status, reserved: &'r Reserved, finished_at| Parts {
            facts,
            status,
            screening: Some(&reserved.screening),
            quote: Some(&reserved.quote),
            reserved_at: Some(reserved.at),
            rejection: None,
            finished_at,
            trace,
        };
        match &record.state {
            RecordState::Reserved(reserved) => held("RESERVED", reserved, None),
            RecordState::Captured { reserved, finished_at } => held("CAPTURED", reserved, Some(*finished_at)),
            RecordState::Failed { screening, quote, reserved_at, rejection, finished_at } => Parts {
                facts,
                status: "FAILED",
                screening: screening.as_ref(),
                quote: quote.as_ref(),
                reserved_at: *reserved_at,
                rejection: Some(rejection),
                finished_at: Some(*finished_at),
                trace,
            },
        }
    }

    fn conversion(&self) -> Option<&'r AppliedRate> {
        self.quote.and_then(|quote| quote.conversion.as_ref())
    }
}

/// Inserts records, the statement's first parameters, in the order of the parameters. A row that is already there
/// ends the statement, as [`is_taken`] says: whoever inserts has looked before, so that is rare, and to be ready
/// for it would cost each row one more search of the key and one more record of the log.
pub(crate) fn insertion() -> String {
    let (names, values, rows) =
        (RecordColumns::TABLE.names(), RecordColumns::TABLE.values(), RecordColumns::TABLE.rows(1));
    format!("INSERT INTO payments ({names}) SELECT {values} FROM {rows} RETURNING id")
}

/// Binds the parameters of an [`insertion`]. Sorted by id, so that two writers meet in one order.
pub(crate) fn bind<'q>(query: PgQuery<'q>, records: &[PaymentRecord]) -> PgQuery<'q> {
    let mut sorted: Vec<&PaymentRecord> = records.iter().collect();
    sorted.sort_unstable_by_key(|record| {
        let payment = &record.facts.payment;
        (payment.tenant.as_str(), payment.id.as_str())
    });
    RecordColumns::of(sorted.into_iter().map(Parts::of)).bind(query)
}

/// Whether all was inserted. A payment that another transaction has inserted meanwhile is none that was, and the
/// batch is judged again.
pub(crate) fn unless_taken(inserted: Result<bool, sqlx::Error>) -> Result<bool, sqlx::Error> {
    match inserted {
        Err(error) if is_taken(&error) => Ok(false),
        inserted => inserted,
    }
}

/// Every column that a record is made of, of the table that the query calls `p`: the first columns of a query, or
/// [`decode`] does not find them.
pub(crate) fn selection() -> String {
    RecordColumns::TABLE.names_in("p")
}

/// Finds payments by tenant and id, which the query calls `k`, each at its `place`.
pub(crate) fn by_place() -> String {
    format!(
        "SELECT {} FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS k(tenant, id, place)
         JOIN payments p ON p.tenant = k.tenant AND p.id = k.id",
        selection()
    )
}

static BY_KEY: LazyLock<String> = LazyLock::new(by_place);

/// Asks for the rows of these payments, those that exist.
pub(crate) fn by_keys(keys: &[PaymentKey]) -> PgQuery<'static> {
    let (tenants, ids): (Vec<&str>, Vec<&str>) =
        keys.iter().map(|key| (key.tenant.as_str(), key.id.as_str())).unzip();
    sqlx::query(BY_KEY.as_str()).bind(tenants).bind(ids)
}

/// Where a column of a [`selection`] is.
macro_rules! at {
    ($column:ident) => {
        const { RecordColumns::TABLE.at(stringify!($column)) }
    };
}

/// What rows of a [`selection`] say.
pub(crate) fn decode_all(rows: &[PgRow]) -> Result<HashMap<PaymentKey, PaymentRecord>, StoreError> {
    rows.iter().map(|row| decode(row).map(|record| (record.facts.payment.key(), record))).collect()
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("payments.{what}"))
}

fn time(row: &PgRow, column: At) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<Option<OffsetDateTime>, _>(column)?.map(Timestamp::from))
}

fn required_time(row: &PgRow, column: At) -> Result<Timestamp, StoreError> {
    time(row, column)?.ok_or_else(|| corrupt(column.name))
}

fn currency(row: &PgRow, column: At) -> Result<Option<Currency>, StoreError> {
    let code = row.try_get::<Option<&str>, _>(column)?;
    code.map(|code| Currency::parse(code).map_err(|_| corrupt(column.name))).transpose()
}

/// What a row of a [`selection`] says.
pub(crate) fn decode(row: &PgRow) -> Result<PaymentRecord, StoreError> {
    let fingerprint = <[u8; 32]>::try_from(row.try_get::<&[u8], _>(at!(fingerprint))?)
        .map_err(|_| corrupt("fingerprint"))?;
    let accepted_seq =
        u64::try_from(row.try_get::<i64, _>(at!(accepted_seq))?).map_err(|_| corrupt("accepted_seq"))?;
    Ok(PaymentRecord {
        facts: Facts {
            payment: decode_payment(row)?,
            fingerprint: Fingerprint(fingerprint),
            accepted_seq,
            accepted_at: required_time(row, at!(accepted_at))?,
        },
        state: decode_state(row)?,
        // One that cannot be read is none: it is worth no payment.
        trace: row.try_get::<Option<&str>, _>(at!(traceparent))?.and_then(TraceContext::parse),
    })
}

fn decode_payment(row: &PgRow) -> Result<Payment, StoreError> {
    let metadata = row.try_get::<Option<&str>, _>(at!(metadata))?;
    let text = |column: At| row.try_get::<String, _>(column);
    let account = |column: At| -> Result<AccountId, StoreError> {
        AccountId::parse(text(column)?).map_err(|_| corrupt(column.name))
    };
    Ok(Payment {
        tenant: Tenant::parse(text(at!(tenant))?).map_err(|_| corrupt("tenant"))?,
        id: PaymentId::parse(text(at!(id))?).map_err(|_| corrupt("id"))?,
        source_account: account(at!(source_account))?,
        destination_account: account(at!(destination_account))?,
        amount: Money::new(
            row.try_get(at!(amount))?,
            currency(row, at!(currency))?.ok_or_else(|| corrupt("currency"))?,
        ),
        destination_currency: currency(row, at!(requested_currency))?,
        description: row.try_get(at!(description))?,
        metadata: metadata.map(|text| Metadata::parse(text).map_err(|_| corrupt("metadata"))).transpose()?,
    })
}

fn decode_state(row: &PgRow) -> Result<RecordState, StoreError> {
    let reserved = || -> Result<Reserved, StoreError> {
        Ok(Reserved {
            screening: decode_screening(row)?.ok_or_else(|| corrupt("screened_at"))?,
            quote: decode_quote(row)?.ok_or_else(|| corrupt("quoted_at"))?,
            at: required_time(row, at!(reserved_at))?,
        })
    };
    match row.try_get::<&str, _>(at!(status))? {
        "RESERVED" => Ok(RecordState::Reserved(reserved()?)),
        "CAPTURED" => Ok(RecordState::Captured {
            reserved: reserved()?,
            finished_at: required_time(row, at!(finished_at))?,
        }),
        "FAILED" => Ok(RecordState::Failed {
            screening: decode_screening(row)?,
            quote: decode_quote(row)?,
            reserved_at: time(row, at!(reserved_at))?,
            rejection: decode_rejection(row)?,
            finished_at: required_time(row, at!(finished_at))?,
        }),
        _ => Err(corrupt("status")),
    }
}

fn decode_screening(row: &PgRow) -> Result<Option<Screening>, StoreError> {
    let score = row.try_get::<Option<i16>, _>(at!(risk_score))?;
    let at = time(row, at!(screened_at))?;
    Ok(score.zip(at).map(|(score, at)| Screening { score: u8::try_from(score).unwrap_or(u8::MAX), at }))
}

fn decode_quote(row: &PgRow) -> Result<Option<Quote>, StoreError> {
    let arrives = row
        .try_get::<Option<i64>, _>(at!(destination_amount))?
        .zip(currency(row, at!(destination_currency))?);
    let Some(((minor, currency), at)) = arrives.zip(time(row, at!(quoted_at))?) else {
        return Ok(None);
    };
    let conversion = match row.try_get::<Option<i64>, _>(at!(rate_numerator))? {
        None => None,
        Some(numerator) => Some(AppliedRate {
            rate: Rate { numerator, denominator: row.try_get(at!(rate_denominator))? },
            spread_bps: u32::try_from(row.try_get::<i32, _>(at!(spread_bps))?)
                .map_err(|_| corrupt("spread_bps"))?,
            gross_minor: row.try_get(at!(gross_amount))?,
            residue: row.try_get(at!(residue))?,
            as_of: required_time(row, at!(rate_as_of))?,
        }),
    };
    Ok(Some(Quote { destination_amount: Money::new(minor, currency), conversion, at }))
}

fn decode_rejection(row: &PgRow) -> Result<Rejection, StoreError> {
    let refused_by = row.try_get::<&str, _>(at!(refused_by))?;
    Ok(Rejection {
        stage: StageName::ALL
            .into_iter()
            .find(|stage| stage.as_str() == refused_by)
            .ok_or_else(|| corrupt("refused_by"))?,
        reason: Refusal::from_code(row.try_get(at!(reason))?).ok_or_else(|| corrupt("reason"))?,
        rules: row.try_get(at!(rules))?,
        at: required_time(row, at!(refused_at))?,
    })
}
