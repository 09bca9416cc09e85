//! How networks learn: Adam (Kingma and Ba, ICLR 2015) with weight decay apart from it (Loshchilov and Hutter, ICLR 2019); what
//! counts is the average of the weights on the way (Polyak and Juditsky, 1992).

use super::network::Network;

/// What the running means of the gradient and of its square keep.
const KEEP_MEAN: f32 = 0.9;
const KEEP_SQUARE: f32 = 0.999;
/// Keeps a weight still whose gradient is none.
const LEAST: f32 = 1e-8;

/// A network that learns.
pub(crate) struct Adam {
    pub(crate) learning: Network,
    pub(crate) averaged: Network,
    /// How much of a step is taken from every weight.
    decay: f32,
    /// What the average of the weights keeps in each step.
    keep: f32,
    mean: Vec<f32>,
    square: Vec<f32>,
    gradient: Vec<f32>,
    steps: u32,
}

impl Adam {
    pub(crate) fn new(network: Network, decay: f32, keep: f32) -> Self {
        let zeros = vec![0.0; network.weights().len()];
        Self {
            averaged: network.clone(),
            learning: network,
            decay,
            keep,
            mean: zeros.clone(),
            square: zeros.clone(),
            gradient: zeros,
            steps: 0,
        }
    }

    /// Takes a step at this rate, down the gradient that `add` adds up and the weight of all that it returns.
    #[expect(clippy::cast_precision_loss, reason = "a count of steps")]
    pub(crate) fn descend(&mut self, rate: f32, add: impl FnOnce(&Network, &mut [f32]) -> f32) {
        self.gradient.fill(0.0);
        let weight = add(&self.learning, &mut self.gradient);
        self.steps += 1;
        let steps = self.steps as f32;
        // Both means begin with nothing, which is taken out of them.
        let known = |keep: f32| 1.0 - libm::powf(keep, steps);
        let (mean_known, square_known) = (known(KEEP_MEAN), known(KEEP_SQUARE));
        // At first the weights' average is over all steps.
        let kept = (1.0 - 1.0 / steps).min(self.keep);
        let means = self.mean.iter_mut().zip(&mut self.square);
        let weights = self.learning.weights_mut().iter_mut();
        let weights = weights.zip(self.averaged.weights_mut());
        for (((mean, square), (learning, averaged)), slope) in
            means.zip(weights).zip(&self.gradient)
        {
            let slope = slope / weight;
            *mean = KEEP_MEAN * *mean + (1.0 - KEEP_MEAN) * slope;
            *square = KEEP_SQUARE * *square + (1.0 - KEEP_SQUARE) * slope * slope;
            let down = *mean / mean_known / ((*square / square_known).sqrt() + LEAST);
            *learning -= rate * (down + self.decay * *learning);
            *averaged = kept * *averaged + (1.0 - kept) * *learning;
        }
    }
}
