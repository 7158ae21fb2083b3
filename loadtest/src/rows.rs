//! The two CSV shapes: payments, and accounts with their opening balance. Columns are found by name, in any
//! order.

use crate::error::LoadtestError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::Path;

/// One payment, as text: whether the gateway takes it is what a replay finds out. Serialised it is the body
/// of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PaymentRow {
    /// The payment's id.
    pub(crate) id: String,
    /// What leaves the source.
    pub(crate) currency: String,
    /// How much, in major units.
    pub(crate) amount: String,
    /// Where it leaves.
    pub(crate) source_account: String,
    /// Where it arrives.
    pub(crate) destination_account: String,
    /// The currency that must arrive; an absent column or an empty field: whatever the destination account
    /// has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) destination_currency: Option<String>,
}

/// One account to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountRow {
    /// The account's id.
    pub(crate) id: String,
    /// Its one currency.
    pub(crate) currency: String,
    /// What is to be deposited, in major units.
    pub(crate) opening_balance: String,
}

/// Hands each row of a file to `take`, with its line number, as long as no field holds a line break.
pub(crate) fn read<R: DeserializeOwned>(
    path: &Path,
    mut take: impl FnMut(u64, R) -> Result<(), LoadtestError>,
) -> Result<(), LoadtestError> {
    let file = File::open(path).map_err(LoadtestError::file(path))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let headers = reader.headers().map_err(LoadtestError::csv(path))?.clone();
    let mut record = csv::StringRecord::new();
    let mut line = 1;
    while reader.read_record(&mut record).map_err(LoadtestError::csv(path))? {
        line += 1;
        take(line, record.deserialize(Some(&headers)).map_err(LoadtestError::csv(path))?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of this content, under a name of its own.
    fn file_of(name: &str, content: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("kilat-rows-{}-{name}.csv", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn payments_are_read_by_column_name() {
        let rows = [
            (
                "the five columns",
                "id,currency,amount,source_account,destination_account\nP1,IDR,188.52,A,B\n",
                Ok(None),
            ),
            (
                "crlf and spaces",
                "id, currency,amount,source_account,destination_account\r\nP1,IDR, 188.52,A,B\r\n",
                Ok(None),
            ),
            (
                "six columns",
                "id,currency,amount,source_account,destination_account,destination_currency\nP1,IDR,188.52,A,B,USD\n",
                Ok(Some("USD")),
            ),
            (
                "an empty sixth",
                "id,currency,amount,source_account,destination_account,destination_currency\nP1,IDR,188.52,A,B,\n",
                Ok(None),
            ),
            (
                "another order, a column more",
                "at,destination_account,source_account,amount,currency,id\n9,B,A,188.52,IDR,P1\n",
                Ok(None),
            ),
            (
                "a column less",
                "id,currency,amount,source_account\nP1,IDR,188.52,A\n",
                Err("missing field `destination_account`"),
            ),
            (
                "a short row",
                "id,currency,amount,source_account,destination_account\nP1,IDR,188.52,A\n",
                Err("4 fields"),
            ),
        ];
        for (number, (name, content, expected)) in rows.into_iter().enumerate() {
            let path = file_of(&number.to_string(), content);
            let mut found = Vec::new();
            let outcome = read(&path, |line, row: PaymentRow| {
                found.push((line, row));
                Ok(())
            });
            match expected {
                Ok(destination_currency) => {
                    outcome.unwrap();
                    let row = PaymentRow {
                        id: "P1".into(),
                        currency: "IDR".into(),
                        amount: "188.52".into(),
                        source_account: "A".into(),
                        destination_account: "B".into(),
                        destination_currency: destination_currency.map(str::to_owned),
                    };
                    assert_eq!(found, [(2, row)], "{name}");
                }
                Err(problem) => {
                    let text = crate::output::chain(&outcome.unwrap_err());
                    assert!(text.contains(problem), "{name}: {text}");
                }
            }
            std::fs::remove_file(path).unwrap();
        }
    }
}
