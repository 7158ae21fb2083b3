use super::*;
use crate::metric;
