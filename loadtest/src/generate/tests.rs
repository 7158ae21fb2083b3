use super::*;
use crate::rows::{self, PaymentRow};
use std::collections::HashMap;

/// Arguments as typed after `gen`, without `--out`.
fn arguments(line: &str, out: &Path) -> Arguments {
    use clap::Parser;
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }
    let words = std::iter::once("gen").chain(line.split_whitespace());
    Line::try_parse_from(words.map(std::ffi::OsString::from).chain(["--out".into(), out.into()]))
        .unwrap()
        .arguments
}

/// A folder of its own, gone with the guard.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("kilat-gen-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_seed_names_one_file() {
    let folder = Folder::new("seed");
    let content = |line: &str, name: &str| {
        let out = folder.0.join(name);
        write(&arguments(line, &out)).unwrap();
        (std::fs::read_to_string(&out).unwrap(), std::fs::read_to_string(accounts_path(&out)).unwrap())
    };
    let first = content("--rows 500 --accounts 40 --seed 7", "first.csv");
    assert_eq!(first, content("--rows 500 --accounts 40 --seed 7", "again.csv"));
    assert_ne!(first, content("--rows 500 --accounts 40 --seed 8", "other.csv"));
    // A line is committed here, so that a file stays the same over releases too.
    let head = "id,currency,amount,source_account,destination_account,destination_currency\n";
    assert!(first.0.starts_with(head), "{}", first.0);
    assert_eq!(first.0.lines().nth(1), Some("PAY-000001,USD,291.88,ACC_SRC_0001,ACC_DST_0019,"));
    assert_eq!(first.1.lines().next(), Some("id,currency,opening_balance"));
}

#[test]
fn names_are_those_of_the_contract() {
    let folder = Folder::new("names");
    let rows = [
        ("--rows 3 --accounts 2 --seed 1 --fx-share 0", "PAY-000001", "ACC_SRC_0001", "ACC_DST_0001", 5),
        (
            "--rows 3 --accounts 2 --seed 1 --fx-share 0 --id-prefix D17-",
            "D17-000001",
            "ACC_SRC_0001",
            "ACC_DST_0001",
            5,
        ),
        ("--rows 3 --accounts 3 --seed 1 --fx-share 1", "PAY-000001", "ACC_SRC_0001", "ACC_DST_0002", 6),
    ];
    for (number, (line, id, source, destination, columns)) in rows.into_iter().enumerate() {
        let out = folder.0.join(number.to_string()).join("dummy.csv");
        write(&arguments(line, &out)).unwrap();
        let text = std::fs::read_to_string(&out).unwrap();
        assert_eq!(text.lines().count(), 4);
        let first: Vec<&str> = text.lines().nth(1).unwrap().split(',').collect();
        assert_eq!((first[0], first[3], first[4], first.len()), (id, source, destination, columns), "{line}");
    }
    assert_eq!(payment_id(&arguments("--rows 12345678", Path::new("x")), 1), "PAY-00000001");
    for (line, flag) in [
        ("--accounts 2", "--accounts"),
        ("--accounts 1 --fx-share 0", "--accounts"),
        ("--id-prefix a.b", "--id-prefix"),
    ] {
        let error = write(&arguments(line, &folder.0.join("none.csv"))).unwrap_err();
        assert!(error.to_string().starts_with(flag), "{line}: {error}");
        assert!(!folder.0.join("none.csv").exists());
    }
}

#[test]
fn the_accounts_have_the_money_for_every_payment() {
    let folder = Folder::new("money");
    let rows = [
        "--rows 5000 --accounts 200 --seed 3",
        "--rows 5000 --accounts 200 --seed 4 --zipf 1.1 --fx-share 0.9",
        "--rows 5000 --accounts 11 --seed 5 --hot source",
        "--rows 5000 --accounts 11 --seed 6 --hot destination --fx-share 0",
    ];
    for (number, line) in rows.into_iter().enumerate() {
        let out = folder.0.join(format!("{number}.csv"));
        write(&arguments(line, &out)).unwrap();
        let money = |text: &str, code: &str| Money::parse(text, Currency::parse(code).unwrap()).unwrap();
        let mut accounts: HashMap<String, (String, i64)> = HashMap::new();
        rows::read(&accounts_path(&out), |_, row: AccountRow| {
            let balance = money(&row.opening_balance, &row.currency).minor;
            assert!(accounts.insert(row.id, (row.currency, balance)).is_none(), "an account is listed once");
            Ok(())
        })
        .unwrap();
        let mut payments = 0;
        rows::read(&out, |_, row: PaymentRow| {
            payments += 1;
            let destination = &accounts[&row.destination_account].0;
            assert_eq!(row.destination_currency.as_ref().unwrap_or(&row.currency), destination, "{}", row.id);
            let (currency, balance) = accounts.get_mut(&row.source_account).unwrap();
            assert_eq!(*currency, row.currency, "{}", row.id);
            *balance -=
                Money::parse_payable(&row.amount, Currency::parse(&row.currency).unwrap()).unwrap().minor;
            assert!(*balance >= 0, "{} overdraws {}", row.id, row.source_account);
            Ok(())
        })
        .unwrap();
        assert_eq!(payments, 5_000, "{line}");
    }
}
