//! The knee: the highest rate at which settlements still come soon, found by halving.

/// A rate is held when 99 of 100 payments settle within so many milliseconds of their planned send.
pub(crate) const SETTLE_P99_MS: f64 = 250.0;

/// Between a rate that is held and one that is not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Halving {
    held: f64,
    broken: f64,
}

impl Halving {
    /// `held` is known to be held, or is zero; `broken` is too fast, or believed to be.
    pub(crate) fn between(held: f64, broken: f64) -> Halving {
        Halving { held, broken }
    }

    /// The rate to try next.
    pub(crate) fn next(&self) -> f64 {
        f64::midpoint(self.held, self.broken)
    }

    /// Notes how the next rate went.
    pub(crate) fn note(&mut self, is_held: bool) {
        let tried = self.next();
        if is_held {
            self.held = tried;
        } else {
            self.broken = tried;
        }
    }

    /// The highest rate that was held.
    pub(crate) fn knee(&self) -> f64 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a machine that holds every rate up to its knee.
    #[test]
    fn the_knee_is_found_to_the_width_of_the_last_half() {
        for (held, broken, knee, probes) in [
            (0.0, 6_000.0, 4_321.0, 5),
            (2_500.0, 6_000.0, 4_321.0, 3),
            (2_500.0, 6_000.0, 2_500.0, 8),
            (2_500.0, 6_000.0, 9_999.0, 5),
            (0.0, 6_000.0, 10.0, 5),
        ] {
            let mut halving = Halving::between(held, broken);
            for _ in 0..probes {
                halving.note(halving.next() <= knee);
            }
            let width = (broken - held) / 2_f64.powi(probes);
            let reachable = f64::min(knee, broken);
            let found = halving.knee();
            assert!(found <= knee, "{found} is above {knee}");
            assert!(reachable - found <= width, "{found} is more than {width} below {reachable}");
        }
    }
}
