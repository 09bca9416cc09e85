//! What is believed of a quantity that was measured a few times, or not at all yet.
//!
//! Rates and times to first byte scatter by factors, so that it is their logarithm that is taken for normally
//! distributed. With a normal prior and observations of known noise the posterior is normal again, its mean the average of
//! both weighted by their precisions (conjugate normal: Gelman et al., *Bayesian Data Analysis*, 2.5). Its mean is what is
//! planned with; a draw from it is how edges are chosen that are worth measuring: each as often as it may be the best
//! (Thompson, Biometrika 1933; Chapelle and Li, NIPS 2011).

use core::f64::consts::PI;

use nearcast_units::Rng;

/// A normal distribution of a logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Belief {
    mean: f64,
    precision: f64,
}

impl Belief {
    /// A prior: `typical`, and a standard deviation of its logarithm.
    pub(crate) fn prior(typical: f64, deviation: f64) -> Self {
        Self {
            mean: libm::log(typical.max(f64::MIN_POSITIVE)),
            precision: 1.0 / (deviation * deviation),
        }
    }

    /// What is believed after observations around `value`, whose precisions add up to `precision`.
    pub(crate) fn seeing(self, value: f64, precision: f64) -> Self {
        let all = self.precision + precision;
        let seen = libm::log(value.max(f64::MIN_POSITIVE));
        Self {
            mean: (self.mean * self.precision + seen * precision) / all,
            precision: all,
        }
    }

    pub(crate) fn typical(self) -> f64 {
        libm::exp(self.mean)
    }

    /// Of the logarithm.
    pub(crate) fn variance(self) -> f64 {
        1.0 / self.precision
    }

    /// What it may as well be (Box and Muller, 1958).
    pub(crate) fn draw(self, rng: &mut Rng) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - rng.next_f64()));
        let normal = radius * libm::cos(2.0 * PI * rng.next_f64());
        libm::exp(self.mean + normal / libm::sqrt(self.precision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearcast_units::Seed;

    #[test]
    fn observations_move_a_belief_by_their_precision() {
        let prior = Belief::prior(1.0, 0.5);
        assert!((prior.typical() - 1.0).abs() < 1e-12);
        // As precise as the prior: half way, on the logarithm.
        let even = prior.seeing(16.0, 4.0);
        assert!((even.typical() - 4.0).abs() < 1e-9, "{}", even.typical());
        let sure = prior.seeing(16.0, 4_000.0);
        assert!((sure.typical() - 16.0).abs() < 0.1, "{}", sure.typical());
        assert_eq!(prior.seeing(16.0, 0.0), prior);
    }

    #[test]
    fn draws_scatter_as_wide_as_the_doubt() {
        let mut rng = Seed::new(5).rng();
        let mut spread = |belief: Belief| {
            let logs = (0..4_000).map(|_| libm::log(belief.draw(&mut rng) / belief.typical()));
            let squares: f64 = logs.map(|log| log * log).sum();
            libm::sqrt(squares / 4_000.0)
        };
        let prior = Belief::prior(20.0, 0.5);
        assert!((spread(prior) - 0.5).abs() < 0.03);
        assert!((spread(prior.seeing(20.0, 12.0)) - 0.25).abs() < 0.015);
    }
}
