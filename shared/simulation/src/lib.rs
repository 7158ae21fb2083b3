//! Nothing: the simulation of the whole pipeline is this package's test.
