//! What is sent: the payments of a CSV as request bodies, made before the clock runs.

use crate::error::LoadtestError;
use crate::rows::{self, PaymentRow};
use bytes::Bytes;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Every row of a file. Rows with one id are requests for one payment.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// One behind the other: a million bodies are one allocation.
    bodies: Bytes,
    rows: Vec<Row>,
    ids: Vec<Arc<str>>,
    places: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct Row {
    payment: usize,
    start: usize,
    end: usize,
}

impl Script {
    /// Reads a file of payments.
    pub(crate) fn read(path: &Path) -> Result<Script, LoadtestError> {
        let mut script = Script::default();
        let mut bodies = Vec::new();
        rows::read(path, |line, row: PaymentRow| {
            let bad = |problem: String| LoadtestError::Line { path: path.to_owned(), line, problem };
            if row.id.is_empty() {
                return Err(bad("the id is empty".to_owned()));
            }
            let start = bodies.len();
            serde_json::to_writer(&mut bodies, &row).map_err(|error| bad(error.to_string()))?;
            let payment = script.place_of(&row.id);
            script.rows.push(Row { payment, start, end: bodies.len() });
            Ok(())
        })?;
        script.bodies = bodies.into();
        Ok(script)
    }

    fn place_of(&mut self, id: &str) -> usize {
        if let Some(place) = self.places.get(id) {
            return *place;
        }
        let id: Arc<str> = id.into();
        self.ids.push(Arc::clone(&id));
        self.places.insert(id, self.ids.len() - 1);
        self.ids.len() - 1
    }

    /// How many requests there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// How many payments they are about.
    pub(crate) fn payments(&self) -> usize {
        self.ids.len()
    }

    /// The body of a request.
    pub(crate) fn body(&self, row: usize) -> Bytes {
        let Row { start, end, .. } = self.rows[row];
        self.bodies.slice(start..end)
    }

    /// The payment that a request is about.
    pub(crate) fn payment(&self, row: usize) -> usize {
        self.rows[row].payment
    }

    /// A payment's id.
    pub(crate) fn id(&self, payment: usize) -> &str {
        &self.ids[payment]
    }

    /// The payment of an id.
    pub(crate) fn place(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A script of these ids, in order.
    pub(crate) fn script_of(name: &str, ids: &[&str]) -> Script {
        let path = std::env::temp_dir().join(format!("kilat-script-{}-{name}.csv", std::process::id()));
        let lines: String = ids.iter().map(|id| format!("{id},USD,1.50,A,B\n")).collect();
        std::fs::write(&path, format!("id,currency,amount,source_account,destination_account\n{lines}"))
            .unwrap();
        let script = Script::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        script
    }
}

#[cfg(test)]
mod tests {
    use super::testing::script_of;

    #[test]
    fn rows_become_bodies_and_ids_become_payments() {
        let script = script_of("bodies", &["P1", "P\"2", "P1"]);
        assert_eq!((script.rows(), script.payments()), (3, 2));
        let expected = [
            r#"{"id":"P1","currency":"USD","amount":"1.50","source_account":"A","destination_account":"B"}"#,
            r#"{"id":"P\"2","currency""#,
        ];
        assert_eq!(script.body(0), expected[0]);
        assert!(script.body(1).starts_with(expected[1].as_bytes()), "{:?}", script.body(1));
        assert_eq!((script.payment(0), script.payment(1), script.payment(2)), (0, 1, 0));
        assert_eq!((script.id(1), script.place("P1"), script.place("P3")), ("P\"2", Some(0), None));
    }
}
