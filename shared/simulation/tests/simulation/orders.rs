//! What clients ask for: payments of every kind, also such as cannot be had and such as are none.

use crate::chance::Chance;
use domain::{AccountId, Currency, Fingerprint, Money, Payment, PaymentId, Tenant};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Who has an account that is used much, and in which currency.
const CUSTOMERS: [(&str, &str); 6] =
    [("A1", "USD"), ("A2", "USD"), ("A3", "EUR"), ("A4", "EUR"), ("A5", "JPY"), ("A6", "KWD")];

/// Who has no money, may not spend it, or is nobody.
const STRANGE: [(&str, &str); 3] = [("POOR", "USD"), ("FROZEN", "USD"), ("NOBODY", "USD")];

/// How a request is wrong in form, and the code that it gets.
type Flaw = (&'static str, fn(&mut Value));

const FLAWS: [Flaw; 9] = [
    ("missing_field", |body| body["source_account"] = Value::Null),
    ("missing_field", |body| body["amount"] = Value::Null),
    ("unknown_field", |body| body["status"] = json!("CAPTURED")),
    ("malformed_json", |body| body["amount"] = json!("1e3")),
    ("amount_not_positive", |body| body["amount"] = json!("0")),
    ("amount_precision", |body| body["amount"] = json!("1.00001")),
    ("unknown_currency", |body| body["currency"] = json!("XXX")),
    ("same_account", |body| body["destination_account"] = body["source_account"].clone()),
    ("invalid_account", |body| body["destination_account"] = json!("fx:USD")),
];

/// How a request names its payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    Id(String),
    /// By an idempotency key, from which the id follows.
    Key(String),
    /// Not at all: the gateway is to name it.
    None,
}

/// A payment as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) name: Name,
    source: &'static str,
    destination: &'static str,
    /// In minor units of the currency.
    minor: i64,
    currency: &'static str,
    destination_currency: Option<&'static str>,
    description: String,
    flaw: Option<Flaw>,
}

impl Order {
    /// Of this name, and of any content. No two have the same description.
    pub(crate) fn any(name: Name, number: u64, chance: &Chance) -> Order {
        let strange_in = |times| {
            let from: &[(&str, &str)] = if chance.one_in(times) { &STRANGE } else { &CUSTOMERS };
            *chance.pick(from)
        };
        let (source, currency) = strange_in(12);
        let (mut destination, arrives) = strange_in(15);
        if destination == source {
            destination = if source == "A1" { "A3" } else { "A1" };
        }
        let currencies = ["USD", "EUR", "JPY", "KWD"];
        Order {
            name,
            source,
            destination,
            minor: minor(chance),
            // One in a few is not its account's.
            currency: if chance.one_in(25) { chance.pick::<&str>(&currencies) } else { currency },
            destination_currency: match chance.below(20) {
                0 => Some(*chance.pick(&currencies)),
                1..5 => Some(arrives),
                _ => None,
            },
            description: format!("order {number}"),
            flaw: chance.one_in(14).then(|| *chance.pick(&FLAWS)),
        }
    }

    /// One that nothing is in the way of.
    pub(crate) fn last(gateway: usize) -> Order {
        Order {
            name: Name::Id(format!("LAST-{gateway}")),
            source: "A3",
            destination: "A4",
            minor: 1,
            currency: "EUR",
            destination_currency: None,
            description: "the last one".to_owned(),
            flaw: None,
        }
    }

    /// The same request in other words, or one of another content, under the same name.
    pub(crate) fn again(&self, number: u64, is_equal: bool, chance: &Chance) -> Order {
        if is_equal {
            return Order { flaw: None, ..self.clone() };
        }
        Order { flaw: None, ..Order::any(self.name.clone(), number, chance) }
    }

    pub(crate) fn named(&self, name: Name) -> Order {
        Order { name, ..self.clone() }
    }

    /// The body.
    pub(crate) fn body(&self) -> Vec<u8> {
        let Order { source, destination, currency, description, .. } = self;
        let mut body = json!({
            "source_account": source, "destination_account": destination, "amount": self.amount().to_decimal_string(),
            "currency": currency, "description": description,
        });
        if let Name::Id(id) = &self.name {
            body["id"] = json!(id);
        }
        if let Some(currency) = self.destination_currency {
            body["destination_currency"] = json!(currency);
        }
        if let Some((_, spoil)) = self.flaw {
            spoil(&mut body);
        }
        body.to_string().into_bytes()
    }

    /// The header beside it.
    pub(crate) fn key(&self) -> Option<String> {
        match &self.name {
            Name::Key(key) => Some(key.clone()),
            Name::Id(_) | Name::None => None,
        }
    }

    /// The payment's id, as far as whoever sends it knows.
    pub(crate) fn known_id(&self) -> Option<String> {
        match &self.name {
            Name::Id(id) => Some(id.clone()),
            Name::Key(key) => Some(id_of_key(key)),
            Name::None => None,
        }
    }

    /// What tells its content from others, or the code that says what is wrong with its form.
    pub(crate) fn fingerprint(&self) -> Result<Fingerprint, &'static str> {
        match self.flaw {
            Some((code, _)) => Err(code),
            None => Ok(self.payment().fingerprint()),
        }
    }

    fn amount(&self) -> Money {
        Money::new(self.minor, Currency::parse(self.currency).unwrap())
    }

    fn payment(&self) -> Payment {
        let account = |id: &str| AccountId::parse(id).unwrap();
        Payment {
            tenant: Tenant::default(),
            // It is no part of the content.
            id: PaymentId::parse("P").unwrap(),
            source_account: account(self.source),
            destination_account: account(self.destination),
            amount: self.amount(),
            destination_currency: self.destination_currency.map(|code| Currency::parse(code).unwrap()),
            description: Some(self.description.clone()),
            metadata: None,
        }
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Name::Id(id) => write!(formatter, "{id}")?,
            Name::Key(key) => write!(formatter, "key {key}")?,
            Name::None => write!(formatter, "without a name")?,
        }
        let (amount, arrives) = (self.amount().to_decimal_string(), self.destination_currency.unwrap_or(""));
        let Order { source, destination, currency, description, .. } = self;
        write!(formatter, ": {amount} {currency} from {source} to {destination} {arrives} ({description})")?;
        self.flaw.iter().try_for_each(|(code, _)| write!(formatter, " [{code}]"))
    }
}

/// Mostly small; sometimes more than most accounts have, or so little that nothing arrives.
fn minor(chance: &Chance) -> i64 {
    let minor = match chance.below(12) {
        0 => chance.between(1..4),
        1 => chance.between(30_000..90_000),
        2 => chance.between(2_000_000..9_000_000),
        _ => chance.between(100..10_000),
    };
    i64::try_from(minor).unwrap()
}

/// As the contract has it: the first 32 hexadecimal digits of SHA-256 over `tenant 0x00 key`.
fn id_of_key(key: &str) -> String {
    let digest = Sha256::digest([b"default\0", key.as_bytes()].concat());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
