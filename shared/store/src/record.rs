//! Rows of `payments` and what they mean.

use crate::StoreError;
use crate::columns::{PgQuery, columns};
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

/// Inserts records, the statement's first parameters. Sorted by id, so that two writers meet in one order; a
/// row that is already there is left alone and not returned.
pub(crate) fn insertion() -> String {
    let (names, values, rows) =
        (RecordColumns::TABLE.names(), RecordColumns::TABLE.values(), RecordColumns::TABLE.rows(1));
    format!(
        "INSERT INTO payments ({names}) SELECT {values} FROM {rows}
         ORDER BY n.tenant, n.id
         ON CONFLICT (tenant, id) DO NOTHING
         RETURNING id"
    )
}

/// Binds the parameters of an [`insertion`].
pub(crate) fn bind<'q>(query: PgQuery<'q>, records: &[PaymentRecord]) -> PgQuery<'q> {
    RecordColumns::of(records.iter().map(Parts::of)).bind(query)
}

/// Every column that a record is made of, of the table that the query calls `p`.
pub(crate) fn selection() -> String {
    RecordColumns::TABLE.names_in("p")
}

/// Finds payments by tenant and id.
pub(crate) static BY_KEY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM UNNEST($1::text[], $2::text[]) AS k(tenant, id) JOIN payments p ON p.tenant = k.tenant AND p.id = k.id",
        selection()
    )
});

/// Asks for the rows of these payments, those that exist.
pub(crate) fn by_keys(keys: &[PaymentKey]) -> PgQuery<'static> {
    let (tenants, ids): (Vec<&str>, Vec<&str>) =
        keys.iter().map(|key| (key.tenant.as_str(), key.id.as_str())).unzip();
    sqlx::query(BY_KEY.as_str()).bind(tenants).bind(ids)
}

/// What rows of a [`selection`] say.
pub(crate) fn decode_all(rows: &[PgRow]) -> Result<HashMap<PaymentKey, PaymentRecord>, StoreError> {
    rows.iter().map(|row| decode(row).map(|record| (record.facts.payment.key(), record))).collect()
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("payments.{what}"))
}

fn time(row: &PgRow, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<Option<OffsetDateTime>, _>(column)?.map(Timestamp::from))
}

fn required_time(row: &PgRow, column: &'static str) -> Result<Timestamp, StoreError> {
    time(row, column)?.ok_or_else(|| corrupt(column))
}

fn currency(row: &PgRow, column: &'static str) -> Result<Option<Currency>, StoreError> {
    let code = row.try_get::<Option<&str>, _>(column)?;
    code.map(|code| Currency::parse(code).map_err(|_| corrupt(column))).transpose()
}

/// What a row of a [`selection`] says.
pub(crate) fn decode(row: &PgRow) -> Result<PaymentRecord, StoreError> {
    let fingerprint =
        <[u8; 32]>::try_from(row.try_get::<&[u8], _>("fingerprint")?).map_err(|_| corrupt("fingerprint"))?;
    let accepted_seq =
        u64::try_from(row.try_get::<i64, _>("accepted_seq")?).map_err(|_| corrupt("accepted_seq"))?;
    Ok(PaymentRecord {
        facts: Facts {
            payment: decode_payment(row)?,
            fingerprint: Fingerprint(fingerprint),
            accepted_seq,
            accepted_at: required_time(row, "accepted_at")?,
        },
        state: decode_state(row)?,
        // One that cannot be read is none: it is worth no payment.
        trace: row.try_get::<Option<&str>, _>("traceparent")?.and_then(TraceContext::parse),
    })
}

fn decode_payment(row: &PgRow) -> Result<Payment, StoreError> {
    let metadata = row.try_get::<Option<&str>, _>("metadata")?;
    let text = |column: &'static str| row.try_get::<String, _>(column);
    let account = |column: &'static str| -> Result<AccountId, StoreError> {
        AccountId::parse(text(column)?).map_err(|_| corrupt(column))
    };
    Ok(Payment {
        tenant: Tenant::parse(text("tenant")?).map_err(|_| corrupt("tenant"))?,
        id: PaymentId::parse(text("id")?).map_err(|_| corrupt("id"))?,
        source_account: account("source_account")?,
        destination_account: account("destination_account")?,
        amount: Money::new(
            row.try_get("amount")?,
            currency(row, "currency")?.ok_or_else(|| corrupt("currency"))?,
        ),
        destination_currency: currency(row, "requested_currency")?,
        description: row.try_get("description")?,
        metadata: metadata.map(|text| Metadata::parse(text).map_err(|_| corrupt("metadata"))).transpose()?,
    })
}

fn decode_state(row: &PgRow) -> Result<RecordState, StoreError> {
    let reserved = || -> Result<Reserved, StoreError> {
        Ok(Reserved {
            screening: decode_screening(row)?.ok_or_else(|| corrupt("screened_at"))?,
            quote: decode_quote(row)?.ok_or_else(|| corrupt("quoted_at"))?,
            at: required_time(row, "reserved_at")?,
        })
    };
    match row.try_get::<&str, _>("status")? {
        "RESERVED" => Ok(RecordState::Reserved(reserved()?)),
        "CAPTURED" => Ok(RecordState::Captured {
            reserved: reserved()?,
            finished_at: required_time(row, "finished_at")?,
        }),
        "FAILED" => Ok(RecordState::Failed {
            screening: decode_screening(row)?,
            quote: decode_quote(row)?,
            reserved_at: time(row, "reserved_at")?,
            rejection: decode_rejection(row)?,
            finished_at: required_time(row, "finished_at")?,
        }),
        _ => Err(corrupt("status")),
    }
}

fn decode_screening(row: &PgRow) -> Result<Option<Screening>, StoreError> {
    let score = row.try_get::<Option<i16>, _>("risk_score")?;
    let at = time(row, "screened_at")?;
    Ok(score.zip(at).map(|(score, at)| Screening { score: u8::try_from(score).unwrap_or(u8::MAX), at }))
}

fn decode_quote(row: &PgRow) -> Result<Option<Quote>, StoreError> {
    let arrives =
        row.try_get::<Option<i64>, _>("destination_amount")?.zip(currency(row, "destination_currency")?);
    let Some(((minor, currency), at)) = arrives.zip(time(row, "quoted_at")?) else {
        return Ok(None);
    };
    let conversion = match row.try_get::<Option<i64>, _>("rate_numerator")? {
        None => None,
        Some(numerator) => Some(AppliedRate {
            rate: Rate { numerator, denominator: row.try_get("rate_denominator")? },
            spread_bps: u32::try_from(row.try_get::<i32, _>("spread_bps")?)
                .map_err(|_| corrupt("spread_bps"))?,
            gross_minor: row.try_get("gross_amount")?,
            residue: row.try_get("residue")?,
            as_of: required_time(row, "rate_as_of")?,
        }),
    };
    Ok(Some(Quote { destination_amount: Money::new(minor, currency), conversion, at }))
}

fn decode_rejection(row: &PgRow) -> Result<Rejection, StoreError> {
    let refused_by = row.try_get::<&str, _>("refused_by")?;
    Ok(Rejection {
        stage: StageName::ALL
            .into_iter()
            .find(|stage| stage.as_str() == refused_by)
            .ok_or_else(|| corrupt("refused_by"))?,
        reason: Refusal::from_code(row.try_get("reason")?).ok_or_else(|| corrupt("reason"))?,
        rules: row.try_get("rules")?,
        at: required_time(row, "refused_at")?,
    })
}
