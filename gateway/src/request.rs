//! Reading a payment request: parsed once into a payment that is right in form.

use domain::{Metadata, Payment, PaymentId, Tenant};
use sha2::{Digest, Sha256};
use wire::object::{RequestObject, account, amount, currency};
use wire::{Caller, Code, Problem};

/// A payment request as it was written: every field is there and of its kind, and nothing of it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PaymentRequest {
    /// The idempotency key that came with it.
    key: Option<String>,
    id: Option<String>,
    source_account: String,
    destination_account: String,
    /// In decimal digits.
    amount: String,
    currency: String,
    destination_currency: Option<String>,
    description: Option<String>,
    metadata: Option<Metadata>,
}

/// Who chose the id of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdOrigin {
    /// The client, by an id or by a key that the id follows from: it may have been used before.
    Client,
    /// We: it is new by construction.
    Gateway,
}

/// The longest idempotency key, in characters.
const KEY_LENGTH_MAX: usize = 255;

impl PaymentRequest {
    /// Reads a request in JSON, and the idempotency key that came with it.
    pub(crate) fn of_json(body: &[u8], key: Option<String>) -> Result<PaymentRequest, Problem> {
        let mut object = RequestObject::parse(body)?;
        let id = object.take_text("id")?;
        let (source_account, destination_account) =
            (object.require_text("source_account")?, object.require_text("destination_account")?);
        let (amount, currency) = (object.require_decimal("amount")?, object.require_text("currency")?);
        let destination_currency = object.take_text("destination_currency")?;
        let description = object.take_text("description")?;
        let metadata = object.take_object("metadata")?;
        object.finish()?;
        Ok(PaymentRequest {
            key,
            id,
            source_account,
            destination_account,
            amount,
            currency,
            destination_currency,
            description,
            metadata,
        })
    }

    /// The payment that the caller asks for, if the request is right in form. `fresh_id` names one that the
    /// client has not.
    pub(crate) fn check(
        self,
        caller: &Caller,
        fresh_id: impl FnOnce() -> String,
    ) -> Result<(Payment, IdOrigin), Problem> {
        if self.description.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(Problem::new(
                Code::MalformedJson,
                "description must not contain the character U+0000",
            ));
        }
        let key = self.key.as_deref().map(unquote).transpose()?;
        if let (Some(id), Some(key)) = (&self.id, key)
            && id != key
        {
            return Err(Problem::new(
                Code::IdKeyConflict,
                "id and Idempotency-Key must be equal when both are given",
            ));
        }
        let tenant = caller.tenant.clone();
        let (id, origin) = match self.id.or_else(|| key.map(|key| id_of_key(&tenant, key))) {
            Some(id) => (id, IdOrigin::Client),
            None => (fresh_id(), IdOrigin::Gateway),
        };
        let id =
            PaymentId::parse(id).map_err(|error| Problem::new(Code::InvalidId, format!("id {error}")))?;
        let source_account = account("source_account", self.source_account)?;
        let destination_account = account("destination_account", self.destination_account)?;
        let amount = amount("amount", &self.amount, currency("currency", &self.currency)?)?;
        let destination_currency =
            self.destination_currency.map(|code| currency("destination_currency", &code)).transpose()?;
        if source_account == destination_account {
            return Err(Problem::new(
                Code::SameAccount,
                "source_account and destination_account must differ",
            ));
        }
        let (description, metadata) = (self.description, self.metadata);
        let payment = Payment {
            tenant,
            id,
            source_account,
            destination_account,
            amount,
            destination_currency,
            description,
            metadata,
        };
        Ok((payment, origin))
    }
}

/// A key as it was meant: bare, or a quoted string as the idempotency header's draft has it.
fn unquote(header: &str) -> Result<&str, Problem> {
    let bare = header.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(header);
    let printable = bare.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if (1..=KEY_LENGTH_MAX).contains(&bare.len()) && printable {
        Ok(bare)
    } else {
        Err(Problem::new(
            Code::MalformedJson,
            format!("Idempotency-Key must be 1 to {KEY_LENGTH_MAX} printable ASCII characters"),
        ))
    }
}

/// The id of a payment that has only a key: the first 32 hexadecimal digits of SHA-256 over `tenant 0x00
/// key`.
fn id_of_key(tenant: &Tenant, key: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(tenant.as_str().as_bytes());
    hasher.update([0]);
    hasher.update(key.as_bytes());
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"id":"PAY-001","currency":"USD","amount":123.45,"source_account":"ACC_SRC_ABC","destination_account":"ACC_DST_DEF"}"#;

    fn read(body: &str, key: Option<&str>) -> Result<(Payment, IdOrigin), Code> {
        let request = PaymentRequest::of_json(body.as_bytes(), key.map(str::to_owned));
        request
            .and_then(|request| request.check(&Caller::default(), || "fresh".to_owned()))
            .map_err(|problem| problem.code)
    }

    /// The good request with one field changed; `null` takes it out.
    fn with(field: &str, json: &str) -> String {
        let mut object: serde_json::Value = serde_json::from_str(GOOD).unwrap();
        object[field] = serde_json::Value::Null;
        object.to_string().replacen("null", json, 1)
    }

    #[test]
    fn each_thing_wrong_with_a_request_has_its_code() {
        let rows = [
            ("amount", "\"123.45\"", None),
            ("amount", "123.450", None),
            ("description", "\"%s ${jndi:x} '; DROP TABLE entries;--\"", None),
            ("metadata", "{\"order\":\"42\"}", None),
            ("destination_currency", "\"IDR\"", None),
            ("id", "null", None),
            ("id", "\"a.b\"", Some(Code::InvalidId)),
            ("id", "\"\"", Some(Code::InvalidId)),
            ("id", "\">\"", Some(Code::InvalidId)),
            ("id", "7", Some(Code::MalformedJson)),
            ("source_account", "\"fx:USD\"", Some(Code::InvalidAccount)),
            ("source_account", "null", Some(Code::MissingField)),
            ("destination_account", "\"ACC_SRC_ABC\"", Some(Code::SameAccount)),
            ("destination_account", "\"a b\"", Some(Code::InvalidAccount)),
            ("currency", "\"usd\"", Some(Code::UnknownCurrency)),
            ("currency", "\"XXX\"", Some(Code::UnknownCurrency)),
            ("destination_currency", "\"ZZZ\"", Some(Code::UnknownCurrency)),
            ("amount", "-1", Some(Code::AmountNotPositive)),
            ("amount", "0", Some(Code::AmountNotPositive)),
            ("amount", "10.001", Some(Code::AmountPrecision)),
            ("amount", "9223372036854775808", Some(Code::AmountTooLarge)),
            ("amount", "1e2", Some(Code::MalformedJson)),
            ("amount", "1e400", Some(Code::MalformedJson)),
            ("amount", "\"NaN\"", Some(Code::MalformedJson)),
            ("amount", "null", Some(Code::MissingField)),
            ("description", "\"a\\u0000b\"", Some(Code::MalformedJson)),
            ("metadata", "[1]", Some(Code::MalformedJson)),
            ("metadata", "{\"a\":{\"b\":1,\"b\":2}}", Some(Code::MalformedJson)),
            ("metadata", "{\"a\":\"\\u0000\"}", Some(Code::MalformedJson)),
            ("metadata", "{\"\\u0000\":1}", Some(Code::MalformedJson)),
            ("metadata", "{\"a\":100000000000000000001}", Some(Code::MalformedJson)),
            ("state", "\"settled\"", Some(Code::UnknownField)),
        ];
        for (field, json, refused) in rows {
            assert_eq!(read(&with(field, json), None).err(), refused, "{field} = {json}");
        }
    }

    #[test]
    fn the_id_comes_from_the_body_the_key_or_us() {
        let anonymous = with("id", "null");
        // `printf 'default\0order-42' | sha256sum`
        let derived = "6871c9bc26216830dae1367da20d3923";
        let long = "k".repeat(256);
        let rows = [
            (GOOD, None, Ok(("PAY-001", IdOrigin::Client))),
            (GOOD, Some("PAY-001"), Ok(("PAY-001", IdOrigin::Client))),
            (GOOD, Some("\"PAY-001\""), Ok(("PAY-001", IdOrigin::Client))),
            (GOOD, Some("other"), Err(Code::IdKeyConflict)),
            (&anonymous, None, Ok(("fresh", IdOrigin::Gateway))),
            (&anonymous, Some("order-42"), Ok((derived, IdOrigin::Client))),
            (&anonymous, Some("\"order-42\""), Ok((derived, IdOrigin::Client))),
            (&anonymous, Some(""), Err(Code::MalformedJson)),
            (&anonymous, Some("\"\""), Err(Code::MalformedJson)),
            (&anonymous, Some("tab\there"), Err(Code::MalformedJson)),
            (&anonymous, Some(long.as_str()), Err(Code::MalformedJson)),
        ];
        for (body, key, expected) in rows {
            let found = read(body, key).map(|(payment, origin)| (payment.id.to_string(), origin));
            assert_eq!(found, expected.map(|(id, origin)| (id.to_owned(), origin)), "{key:?}");
        }
    }
}
