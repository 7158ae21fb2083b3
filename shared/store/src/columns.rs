//! Rows that a statement writes, as columns of one vector each. A table of columns is written down once: its
//! names, casts, placeholders and binds follow from it, so that none can disagree with another.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{ColumnIndex, Postgres, Row};

pub(crate) type PgQuery<'q> = Query<'q, Postgres, PgArguments>;

/// One column of a table.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// Its type in the database.
    pub(crate) kind: &'static str,
    /// What the statement takes for its value, where that is not the column as it stands.
    pub(crate) value: Option<&'static str>,
}

/// The columns of a table, as parts of a statement that calls the rows `n`.
pub(crate) struct Columns(pub(crate) &'static [Column]);

/// Where a column is in the rows of a query that begins with the columns of a table. A row finds a column by its
/// name too, but only after it has hashed the name, column by column, row by row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    place: usize,
    pub(crate) name: &'static str,
}

impl ColumnIndex<PgRow> for At {
    fn index(&self, row: &PgRow) -> Result<usize, sqlx::Error> {
        let len = row.len();
        if self.place < len {
            Ok(self.place)
        } else {
            Err(sqlx::Error::ColumnIndexOutOfBounds { index: self.place, len })
        }
    }
}

impl Columns {
    /// Where the column of this name is. In a constant, one that is not there does not compile.
    pub(crate) const fn at(&self, name: &'static str) -> At {
        let mut place = 0;
        while place < self.0.len() && !is_same(self.0[place].name.as_bytes(), name.as_bytes()) {
            place += 1;
        }
        assert!(place < self.0.len(), "the table has no column of this name");
        At { place, name }
    }

    /// The columns' names.
    pub(crate) fn names(&self) -> String {
        self.each(|column| column.name.to_owned())
    }

    /// Whether one of them has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|column| column.name == name)
    }

    /// The columns of the table that the statement calls by this name.
    pub(crate) fn names_in(&self, table: &str) -> String {
        self.each(|column| format!("{table}.{}", column.name))
    }

    /// The values of the rows.
    pub(crate) fn values(&self) -> String {
        self.each(|column| column.value.map_or_else(|| format!("n.{}", column.name), str::to_owned))
    }

    /// The rows themselves, from the parameters `$first` and following, in their order. As one select list:
    /// `FROM UNNEST(...)` with many arrays would first write each of them to a store of its own.
    pub(crate) fn rows(&self, first: usize) -> String {
        let arrays = (first..)
            .zip(self.0)
            .map(|(place, column)| format!("UNNEST(${place}::{}[]) AS {}", column.kind, column.name));
        format!("(SELECT {}) AS n", arrays.collect::<Vec<_>>().join(", "))
    }

    fn each(&self, text: impl Fn(&Column) -> String) -> String {
        self.0.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

/// What `==` says, which no constant may ask yet.
const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut place = 0;
    while place < one.len() && place < other.len() && one[place] == other[place] {
        place += 1;
    }
    place == one.len() && place == other.len()
}

/// How many parameters this part of a statement goes up to.
pub(crate) fn last_parameter(sql: &str) -> usize {
    let numbers =
        sql.split('$').skip(1).filter_map(|after| after.split(|next: char| !next.is_ascii_digit()).next());
    numbers.filter_map(|number| number.parse().ok()).max().unwrap_or(0)
}

/// A table of columns: of each its name, the type of a value here and in the database, and where the value
/// comes from.
macro_rules! columns {
    (
        $(#[$doc:meta])*
        $table:ident<$life:lifetime> of $row:ident: $item:ty {
            $($name:ident: $value:ty as $kind:literal $(read $read:literal)? = $source:expr;)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Default)]
        struct $table<$life> {
            $($name: Vec<$value>,)+
        }

        impl<$life> $table<$life> {
            const TABLE: $crate::columns::Columns = $crate::columns::Columns(&[$($crate::columns::Column {
                name: stringify!($name),
                kind: $kind,
                value: columns!(@read $($read)?),
            }),+]);

            fn of(rows: impl Iterator<Item = $item>) -> Self {
                let mut columns = Self::default();
                for $row in rows {
                    $(columns.$name.push($source);)+
                }
                columns
            }

            /// Binds the columns as the next parameters.
            fn bind(self, query: $crate::columns::PgQuery<'_>) -> $crate::columns::PgQuery<'_> {
                query$(.bind(self.$name))+
            }
        }
    };
    (@read) => { None };
    (@read $read:literal) => { Some($read) };
}
pub(crate) use columns;

#[cfg(test)]
mod tests {
    use super::last_parameter;
    use sqlx::{Arguments, Execute};

    columns! {
        Lines<'r> of line: (&'r str, i64) {
            id: &'r str as "text" = line.0;
            parts: String as "text" read "string_to_array(n.parts, ',')" = line.0.replace(' ', ",");
            amount: i64 as "bigint" = line.1;
        }
    }

    #[test]
    fn a_statement_is_made_of_the_table() {
        let table = Lines::TABLE;
        for (part, expected) in [
            (table.names(), "id, parts, amount"),
            (table.names_in("p"), "p.id, p.parts, p.amount"),
            (table.values(), "n.id, string_to_array(n.parts, ','), n.amount"),
            (
                table.rows(4),
                "(SELECT UNNEST($4::text[]) AS id, UNNEST($5::text[]) AS parts, UNNEST($6::bigint[]) AS amount) AS n",
            ),
        ] {
            assert_eq!(part, expected);
        }
        assert_eq!(["id", "parts", "amount"].map(|name| table.at(name).place), [0, 1, 2]);
        let lines = Lines::of([("a b", 1), ("c", 2)].into_iter());
        assert_eq!(
            (&lines.id, &lines.parts, &lines.amount),
            (&vec!["a b", "c"], &vec!["a,b".to_owned(), "c".to_owned()], &vec![1, 2])
        );
        let bound = lines.bind(sqlx::query("")).take_arguments().unwrap().unwrap();
        assert_eq!(bound.len(), last_parameter(&table.rows(1)));
    }

    #[test]
    fn parameters_are_counted_by_their_numbers() {
        for (sql, last) in
            [("SELECT 1", 0), ("SELECT $2, $1", 2), ("$9::text[], $10::text[]) AS n(id)", 10), ("'$', $3", 3)]
        {
            assert_eq!(last_parameter(sql), last, "{sql}");
        }
    }
}
