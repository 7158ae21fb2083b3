//! Closed sets of names that leave a process: each is one table, from which its list, its names and the way
//! back follow.

/// An enum whose variants have stable names, with the list of all of them in the table's order. What else is
/// to be said of a variant is said in a `match` without `_`, so that the compiler names every place that a
/// new variant is missing from.
#[macro_export]
macro_rules! closed_set {
    ($(#[$attribute:meta])* $set:ident { $($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $set {
            $($(#[$doc])* $variant,)+
        }

        impl $set {
            /// Every one there is, in this order.
            pub const ALL: [$set; [$($set::$variant),+].len()] = [$($set::$variant),+];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $($set::$variant => $name),+ }
            }

            /// The one of this name.
            pub fn named(name: &str) -> Option<$set> {
                match name { $($name => Some($set::$variant),)+ _ => None }
            }
        }

        impl ::std::fmt::Display for $set {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}
