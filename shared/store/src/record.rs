//! Rows of `payments` and what they mean.

use crate::StoreError;
use domain::facts::{AppliedRate, Quote, RecordState, Rejection, Reserved, Screening};
use domain::fx::Rate;
use domain::{
    AccountId, Currency, Facts, Fingerprint, Metadata, Money, Payment, PaymentId, PaymentRecord, Refusal, StageName, Tenant, Timestamp,
};
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;

/// Every column that a record is made of, of the table that the query calls `p`.
macro_rules! record_columns {
    () => {
        "p.tenant, p.id, p.status, p.source_account, p.destination_account, p.currency, p.amount, p.requested_currency, p.description, p.metadata, \
         p.fingerprint, p.accepted_seq, p.accepted_at, p.risk_score, p.screened_at, p.destination_currency, p.destination_amount, p.rate_numerator, \
         p.rate_denominator, p.spread_bps, p.gross_amount, p.residue, p.rate_as_of, p.quoted_at, p.reserved_at, p.refused_by, p.reason, p.rules, \
         p.refused_at, p.finished_at"
    };
}
pub(crate) use record_columns;

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

/// Reads a row that was selected with [`record_columns`].
pub(crate) fn decode(row: &PgRow) -> Result<PaymentRecord, StoreError> {
    let fingerprint = <[u8; 32]>::try_from(row.try_get::<&[u8], _>("fingerprint")?).map_err(|_| corrupt("fingerprint"))?;
    let accepted_seq = u64::try_from(row.try_get::<i64, _>("accepted_seq")?).map_err(|_| corrupt("accepted_seq"))?;
    Ok(PaymentRecord {
        facts: Facts {
            payment: decode_payment(row)?,
            fingerprint: Fingerprint(fingerprint),
            accepted_seq,
            accepted_at: required_time(row, "accepted_at")?,
        },
        state: decode_state(row)?,
    })
}

fn decode_payment(row: &PgRow) -> Result<Payment, StoreError> {
    let metadata = row.try_get::<Option<&str>, _>("metadata")?;
    let account = |column: &'static str| AccountId::parse(row.get::<String, _>(column)).map_err(|_| corrupt(column));
    Ok(Payment {
        tenant: Tenant::parse(row.get::<String, _>("tenant")).map_err(|_| corrupt("tenant"))?,
        id: PaymentId::parse(row.get::<String, _>("id")).map_err(|_| corrupt("id"))?,
        source_account: account("source_account")?,
        destination_account: account("destination_account")?,
        amount: Money::new(row.try_get("amount")?, currency(row, "currency")?.ok_or_else(|| corrupt("currency"))?),
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
        "CAPTURED" => Ok(RecordState::Captured { reserved: reserved()?, finished_at: required_time(row, "finished_at")? }),
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
    let arrives = row.try_get::<Option<i64>, _>("destination_amount")?.zip(currency(row, "destination_currency")?);
    let Some(((minor, currency), at)) = arrives.zip(time(row, "quoted_at")?) else {
        return Ok(None);
    };
    let conversion = match row.try_get::<Option<i64>, _>("rate_numerator")? {
        None => None,
        Some(numerator) => Some(AppliedRate {
            rate: Rate { numerator, denominator: row.try_get("rate_denominator")? },
            spread_bps: u32::try_from(row.try_get::<i32, _>("spread_bps")?).map_err(|_| corrupt("spread_bps"))?,
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
        stage: StageName::ALL.into_iter().find(|stage| stage.as_str() == refused_by).ok_or_else(|| corrupt("refused_by"))?,
        reason: Refusal::from_code(row.try_get("reason")?).ok_or_else(|| corrupt("reason"))?,
        rules: row.try_get("rules")?,
        at: required_time(row, "refused_at")?,
    })
}

/// The columns of new rows, one vector each, as `UNNEST` takes them.
#[derive(Default)]
pub(crate) struct RecordColumns {
    tenant: Vec<String>,
    id: Vec<String>,
    status: Vec<&'static str>,
    source_account: Vec<String>,
    destination_account: Vec<String>,
    currency: Vec<&'static str>,
    amount: Vec<i64>,
    requested_currency: Vec<Option<&'static str>>,
    description: Vec<Option<String>>,
    metadata: Vec<Option<String>>,
    fingerprint: Vec<Vec<u8>>,
    accepted_seq: Vec<i64>,
    accepted_at: Vec<OffsetDateTime>,
    risk_score: Vec<Option<i16>>,
    screened_at: Vec<Option<OffsetDateTime>>,
    destination_currency: Vec<Option<&'static str>>,
    destination_amount: Vec<Option<i64>>,
    rate_numerator: Vec<Option<i64>>,
    rate_denominator: Vec<Option<i64>>,
    spread_bps: Vec<Option<i32>>,
    gross_amount: Vec<Option<i64>>,
    residue: Vec<Option<i64>>,
    rate_as_of: Vec<Option<OffsetDateTime>>,
    quoted_at: Vec<Option<OffsetDateTime>>,
    reserved_at: Vec<Option<OffsetDateTime>>,
    refused_by: Vec<Option<&'static str>>,
    reason: Vec<Option<&'static str>>,
    rules: Vec<String>,
    refused_at: Vec<Option<OffsetDateTime>>,
    finished_at: Vec<Option<OffsetDateTime>>,
}

/// The insertion of [`RecordColumns`], first of the statement's parameters, as a common table expression `inserted`.
/// Sorted by id, so that two writers meet in one order; a row that is already there is left alone and not returned.
macro_rules! insert_records {
    () => {
        "inserted AS (
            INSERT INTO payments (tenant, id, status, source_account, destination_account, currency, amount, requested_currency, description, metadata,
                fingerprint, accepted_seq, accepted_at, risk_score, screened_at, destination_currency, destination_amount, rate_numerator,
                rate_denominator, spread_bps, gross_amount, residue, rate_as_of, quoted_at, reserved_at, refused_by, reason, rules, refused_at, finished_at)
            SELECT n.tenant, n.id, n.status, n.source_account, n.destination_account, n.currency, n.amount, n.requested_currency, n.description, n.metadata,
                n.fingerprint, n.accepted_seq, n.accepted_at, n.risk_score, n.screened_at, n.destination_currency, n.destination_amount, n.rate_numerator,
                n.rate_denominator, n.spread_bps, n.gross_amount, n.residue, n.rate_as_of, n.quoted_at, n.reserved_at, n.refused_by, n.reason,
                string_to_array(n.rules, ','), n.refused_at, n.finished_at
            FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[], $10::text[],
                $11::bytea[], $12::bigint[], $13::timestamptz[], $14::smallint[], $15::timestamptz[], $16::text[], $17::bigint[], $18::bigint[],
                $19::bigint[], $20::integer[], $21::bigint[], $22::bigint[], $23::timestamptz[], $24::timestamptz[], $25::timestamptz[], $26::text[],
                $27::text[], $28::text[], $29::timestamptz[], $30::timestamptz[])
                AS n(tenant, id, status, source_account, destination_account, currency, amount, requested_currency, description, metadata,
                    fingerprint, accepted_seq, accepted_at, risk_score, screened_at, destination_currency, destination_amount, rate_numerator,
                    rate_denominator, spread_bps, gross_amount, residue, rate_as_of, quoted_at, reserved_at, refused_by, reason, rules, refused_at, finished_at)
            ORDER BY n.tenant, n.id
            ON CONFLICT (tenant, id) DO NOTHING
            RETURNING id)"
    };
}
pub(crate) use insert_records;

type PgQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

impl RecordColumns {
    /// The columns of these records.
    pub(crate) fn of<'r>(records: impl Iterator<Item = &'r PaymentRecord>) -> RecordColumns {
        let mut columns = RecordColumns::default();
        records.for_each(|record| columns.push(record));
        columns
    }

    fn push(&mut self, record: &PaymentRecord) {
        let Facts { payment, fingerprint, accepted_seq, accepted_at } = &record.facts;
        self.tenant.push(payment.tenant.to_string());
        self.id.push(payment.id.to_string());
        self.source_account.push(payment.source_account.to_string());
        self.destination_account.push(payment.destination_account.to_string());
        self.currency.push(payment.amount.currency.code());
        self.amount.push(payment.amount.minor);
        self.requested_currency.push(payment.destination_currency.map(Currency::code));
        self.description.push(payment.description.clone());
        self.metadata.push(payment.metadata.as_ref().map(|object| object.as_str().to_owned()));
        self.fingerprint.push(fingerprint.0.to_vec());
        self.accepted_seq.push(i64::try_from(*accepted_seq).unwrap_or(i64::MAX));
        self.accepted_at.push(accepted_at.to_datetime());
        match &record.state {
            RecordState::Reserved(reserved) => self.push_state("RESERVED", Some(reserved), None, None),
            RecordState::Captured { reserved, finished_at } => self.push_state("CAPTURED", Some(reserved), None, Some(*finished_at)),
            RecordState::Failed { screening, quote, reserved_at, rejection, finished_at } => {
                self.push_facts(screening.as_ref(), quote.as_ref());
                self.push_end("FAILED", *reserved_at, Some(rejection), Some(*finished_at));
            }
        }
    }

    fn push_state(
        &mut self,
        status: &'static str,
        reserved: Option<&Reserved>,
        rejection: Option<&Rejection>,
        finished_at: Option<Timestamp>,
    ) {
        self.push_facts(reserved.map(|reserved| &reserved.screening), reserved.map(|reserved| &reserved.quote));
        self.push_end(status, reserved.map(|reserved| reserved.at), rejection, finished_at);
    }

    fn push_facts(&mut self, screening: Option<&Screening>, quote: Option<&Quote>) {
        let conversion = quote.and_then(|quote| quote.conversion.as_ref());
        self.risk_score.push(screening.map(|screening| i16::from(screening.score)));
        self.screened_at.push(screening.map(|screening| screening.at.to_datetime()));
        self.destination_currency.push(quote.map(|quote| quote.destination_amount.currency.code()));
        self.destination_amount.push(quote.map(|quote| quote.destination_amount.minor));
        self.rate_numerator.push(conversion.map(|applied| applied.rate.numerator));
        self.rate_denominator.push(conversion.map(|applied| applied.rate.denominator));
        self.spread_bps.push(conversion.map(|applied| i32::try_from(applied.spread_bps).unwrap_or(i32::MAX)));
        self.gross_amount.push(conversion.map(|applied| applied.gross_minor));
        self.residue.push(conversion.map(|applied| applied.residue));
        self.rate_as_of.push(conversion.map(|applied| applied.as_of.to_datetime()));
        self.quoted_at.push(quote.map(|quote| quote.at.to_datetime()));
    }

    fn push_end(
        &mut self,
        status: &'static str,
        reserved_at: Option<Timestamp>,
        rejection: Option<&Rejection>,
        finished_at: Option<Timestamp>,
    ) {
        self.status.push(status);
        self.reserved_at.push(reserved_at.map(Timestamp::to_datetime));
        self.refused_by.push(rejection.map(|rejection| rejection.stage.as_str()));
        self.reason.push(rejection.map(|rejection| rejection.reason.code()));
        self.rules.push(rejection.map(|rejection| rejection.rules.join(",")).unwrap_or_default());
        self.refused_at.push(rejection.map(|rejection| rejection.at.to_datetime()));
        self.finished_at.push(finished_at.map(Timestamp::to_datetime));
    }

    /// Binds the columns as the first thirty parameters.
    pub(crate) fn bind<'q>(self, query: PgQuery<'q>) -> PgQuery<'q> {
        query
            .bind(self.tenant)
            .bind(self.id)
            .bind(self.status)
            .bind(self.source_account)
            .bind(self.destination_account)
            .bind(self.currency)
            .bind(self.amount)
            .bind(self.requested_currency)
            .bind(self.description)
            .bind(self.metadata)
            .bind(self.fingerprint)
            .bind(self.accepted_seq)
            .bind(self.accepted_at)
            .bind(self.risk_score)
            .bind(self.screened_at)
            .bind(self.destination_currency)
            .bind(self.destination_amount)
            .bind(self.rate_numerator)
            .bind(self.rate_denominator)
            .bind(self.spread_bps)
            .bind(self.gross_amount)
            .bind(self.residue)
            .bind(self.rate_as_of)
            .bind(self.quoted_at)
            .bind(self.reserved_at)
            .bind(self.refused_by)
            .bind(self.reason)
            .bind(self.rules)
            .bind(self.refused_at)
            .bind(self.finished_at)
    }
}
