//! Nothing: the rules of the checkout are this package's tests.
