//! A network of two hidden layers of one width: the one of `sdk/core/src/perceptron.rs`, with weights that are not rounded yet
//! and with the gradient of what is lost by its outputs.

use nearcast_units::Rng;

use super::narrow;

/// How wide each layer is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) inputs: usize,
    pub(crate) hidden: usize,
    pub(crate) outputs: usize,
}

/// Softsign units in the hidden layers, plain sums as outputs.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    shape: Shape,
    /// Layer by layer, unit by unit: the weights of its inputs, then its bias.
    weights: Vec<f32>,
}

/// What the units of each layer hold.
pub(crate) struct Units {
    one: Vec<f32>,
    two: Vec<f32>,
    pub(crate) out: Vec<f32>,
}

impl Network {
    /// Makes a network that knows nothing: weights by chance, with this spread in the hidden layers and that one in the last, whose
    /// units begin with these biases.
    pub(crate) fn new(
        shape: Shape,
        (hidden, last): (f64, f64),
        bias: impl Fn(usize) -> f32,
        rng: &mut Rng,
    ) -> Self {
        let mut weights = Vec::new();
        let layers = [
            (shape.hidden, shape.inputs, hidden),
            (shape.hidden, shape.hidden, hidden),
            (shape.outputs, shape.hidden, last),
        ];
        for (layer, (units, inputs, spread)) in layers.into_iter().enumerate() {
            // Uniform with a variance of one over the inputs, times the square of the spread.
            let most = spread * libm::sqrt(3.0 / f64::from(u16::try_from(inputs).unwrap_or(1)));
            for unit in 0..units {
                weights.extend((0..inputs).map(|_| narrow((rng.next_f64() * 2.0 - 1.0) * most)));
                weights.push(if layer == 2 { bias(unit) } else { 0.0 });
            }
        }
        Self { shape, weights }
    }

    /// Makes a network of these weights; `None` where it has more or fewer.
    pub(crate) fn of(shape: Shape, weights: Vec<f32>) -> Option<Self> {
        let network = Self { shape, weights };
        let (_, third) = network.layers();
        let count = third + shape.outputs * (shape.hidden + 1);
        (network.weights.len() == count).then_some(network)
    }

    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }

    pub(crate) fn weights_mut(&mut self) -> &mut [f32] {
        &mut self.weights
    }

    /// Where the second layer and the third begin.
    fn layers(&self) -> (usize, usize) {
        let Shape { inputs, hidden, .. } = self.shape;
        let second = hidden * (inputs + 1);
        (second, second + hidden * (hidden + 1))
    }

    pub(crate) fn run(&self, inputs: &[f32]) -> Units {
        let (second, third) = self.layers();
        let mut one = forward(&self.weights[..second], inputs);
        one.iter_mut().for_each(|unit| *unit = softsign(*unit));
        let mut two = forward(&self.weights[second..third], &one);
        two.iter_mut().for_each(|unit| *unit = softsign(*unit));
        let out = forward(&self.weights[third..], &two);
        Units { one, two, out }
    }

    /// Adds what the weights do to what is lost, where `of_out` is what the outputs do to it.
    pub(crate) fn add_gradient(
        &self,
        inputs: &[f32],
        units: &Units,
        of_out: &[f32],
        gradient: &mut [f32],
    ) {
        let (second, third) = self.layers();
        let (of_first, rest) = gradient.split_at_mut(second);
        let (of_second, of_third) = rest.split_at_mut(third - second);
        let mut of_two = backward(&self.weights[third..], &units.two, of_out, of_third);
        flatten(&mut of_two, &units.two);
        let mut of_one = backward(&self.weights[second..third], &units.one, &of_two, of_second);
        flatten(&mut of_one, &units.one);
        backward(&self.weights[..second], inputs, &of_one, of_first);
    }
}

fn forward(weights: &[f32], inputs: &[f32]) -> Vec<f32> {
    let units = weights.chunks_exact(inputs.len() + 1);
    units
        .map(|unit| {
            let (weights, bias) = unit.split_at(inputs.len());
            let weighted = weights.iter().zip(inputs);
            weighted.map(|(w, x)| w * x).sum::<f32>() + bias[0]
        })
        .collect()
}

/// Adds what the weights of a layer do to what is lost where `outer` is what its outputs do; returns what its inputs do.
fn backward(weights: &[f32], inputs: &[f32], outer: &[f32], gradient: &mut [f32]) -> Vec<f32> {
    let mut inner = vec![0.0; inputs.len()];
    let wide = inputs.len() + 1;
    let units = weights
        .chunks_exact(wide)
        .zip(gradient.chunks_exact_mut(wide));
    for ((unit, of_unit), outer) in units.zip(outer) {
        for (of_weight, input) in of_unit.iter_mut().zip(inputs) {
            *of_weight += outer * input;
        }
        for (of_input, weight) in inner.iter_mut().zip(unit) {
            *of_input += outer * weight;
        }
        of_unit[inputs.len()] += outer;
    }
    inner
}

/// From what softsign units do to what their sums do.
fn flatten(outer: &mut [f32], units: &[f32]) {
    for (outer, unit) in outer.iter_mut().zip(units) {
        let flat = 1.0 - unit.abs();
        *outer *= flat * flat;
    }
}

fn softsign(x: f32) -> f32 {
    x / (1.0 + x.abs())
}
