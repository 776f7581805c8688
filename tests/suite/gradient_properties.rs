//! Properties of gradients that hold for every layer, whatever its numbers: central differences in f64, identities, and
//! what padding must not change.

use std::collections::HashMap;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use wgpu_rnn::{
    Config, Device, Gradients, GruConfig, Kind, Layer, LayerWeights, LstmConfig, Mode, Nonlinearity, Real, RnnConfig,
    Tensor,
};

use crate::compare::{Tolerance, compare};
use crate::support::bits;

const T: usize = 5;

/// A property that must hold for a layer of any kind.
trait Claim {
    fn check<K: Kind>(&self, config: Config<K>);
}

/// Checks every cell with three layers in both directions, where mistakes of layers, directions and states show.
fn for_every_cell(claim: impl Claim) {
    let lstm = LstmConfig::new(3, 4).with_num_layers(3).with_bidirectional(true);
    claim.check(lstm.clone());
    claim.check(lstm.clone().with_batch_first(true).with_bias(false));
    claim.check(lstm.with_proj_size(2));
    let gru = GruConfig::new(3, 4).with_num_layers(3).with_bidirectional(true);
    claim.check(gru.clone());
    claim.check(gru.with_reset_after(false));
    let rnn = RnnConfig::new(3, 4).with_num_layers(3).with_bidirectional(true);
    claim.check(rnn.clone());
    claim.check(rnn.with_nonlinearity(Nonlinearity::Relu));
}

fn random(shape: &[usize], seed: u64) -> Tensor<f64> {
    let mut rng = Pcg64::seed_from_u64(seed);
    let data: Vec<f64> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..=1.0)).collect();
    Tensor::new(shape, data).unwrap()
}

fn random_state<K: Kind>(config: &Config<K>, batch: usize, seed: u64) -> K::State<f64> {
    let layers = config.num_layers() * config.directions();
    let sizes = [config.recurrent_size(), config.hidden_size()];
    K::state((0..K::STATES).map(|s| random(&[layers, batch, sizes[s]], seed + s as u64)).collect()).unwrap()
}

fn dot<F: Real>(a: &Tensor<F>, b: &Tensor<F>) -> f64 {
    a.data().iter().zip(b.data()).map(|(a, b)| a.to_f64() * b.to_f64()).sum()
}

/// Everything that a forward reads, and the gradients that its backward is given.
#[derive(Clone)]
struct Problem<K: Kind> {
    layer: Layer<K, f64>,
    input: Tensor<f64>,
    state: K::State<f64>,
    lengths: Vec<usize>,
    of_output: Tensor<f64>,
    of_state: K::State<f64>,
    /// The seed of the masks, in training mode.
    seed: Option<u64>,
}

impl<K: Kind> Problem<K> {
    fn new(config: Config<K>, lengths: &[usize]) -> Self {
        let b = lengths.len();
        let rows = if config.batch_first() { [b, T] } else { [T, b] };
        let output = config.directions() * config.recurrent_size();
        Self {
            layer: Layer::<K>::random(config.clone(), 1).unwrap().cast().unwrap(),
            input: random(&[rows[0], rows[1], config.input_size()], 2),
            state: random_state(&config, b, 3),
            lengths: lengths.to_vec(),
            of_output: random(&[rows[0], rows[1], output], 5),
            of_state: random_state(&config, b, 6),
            seed: None,
        }
    }

    fn gradients(&self) -> Gradients<K, f64> {
        self.gradients_of(Some(&self.of_output), Some(&self.of_state))
    }

    fn gradients_of(&self, output: Option<&Tensor<f64>>, state: Option<&K::State<f64>>) -> Gradients<K, f64> {
        let placed = self.layer.to(&Device::cpu()).unwrap();
        if let Some(seed) = self.seed {
            placed.set_mode(Mode::Training { seed });
        }
        let request = placed.request(&self.input).state(&self.state).lengths(&self.lengths);
        request.train().run().unwrap().backward(output, state).unwrap()
    }

    /// Returns the scalar whose gradients these are.
    fn loss(&self) -> f64 {
        let placed = self.layer.to(&Device::cpu()).unwrap();
        if let Some(seed) = self.seed {
            placed.set_mode(Mode::Training { seed });
        }
        let (output, last) = placed.request(&self.input).state(&self.state).lengths(&self.lengths).run().unwrap();
        let states: f64 = K::arrays(&last).iter().zip(K::arrays(&self.of_state)).map(|(a, b)| dot(a, b)).sum();
        // The padding of the output is 0, whatever the gradient there.
        dot(&output, &self.of_output) + states
    }

    fn with_weight(&self, index: usize, change: impl Fn(&LayerWeights<f64>) -> LayerWeights<f64>) -> Self {
        let mut layers = self.layer.layers().to_vec();
        layers[index] = change(&layers[index]);
        Self { layer: Layer::new(self.layer.config().clone(), layers).unwrap(), ..self.clone() }
    }
}

/// The step of central differences: the cube root of ε, which balances rounding against curvature.
const STEP: f64 = 6e-6;

/// Compares a gradient, element by element, with central differences of the loss.
fn check_differences(what: &str, gradient: &Tensor<f64>, value: &Tensor<f64>, loss: impl Fn(Tensor<f64>) -> f64) {
    // A few elements of every tensor: their places follow from its size.
    let count = gradient.data().len();
    for at in (0..count).step_by((count / 7).max(1)) {
        let moved = |by: f64| {
            let mut value = value.clone();
            value.data_mut()[at] += by;
            loss(value)
        };
        let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        compare(&format!("{what} [{at}]"), &[gradient.data()[at]], &[expected], Tolerance::both(1e-6)).unwrap();
    }
}

#[test]
fn gradients_are_central_differences() {
    struct Differences;
    impl Claim for Differences {
        fn check<K: Kind>(&self, config: Config<K>) {
            for seed in [None, Some(9)] {
                let config = if seed.is_some() { config.clone().with_dropout(0.3) } else { config.clone() };
                let problem = Problem { seed, ..Problem::new(config, &[5, 3, 1, 0]) };
                check_problem(&problem);
            }
        }
    }
    for_every_cell(Differences);
}

fn check_problem<K: Kind>(problem: &Problem<K>) {
    let (gradients, name) = (problem.gradients(), problem.layer.to_string());
    let input = |input| Problem { input, ..problem.clone() }.loss();
    check_differences(&format!("{name}: input"), gradients.input(), &problem.input, input);
    let states = K::arrays(gradients.initial_state()).into_iter().zip(K::arrays(&problem.state));
    for (s, (gradient, value)) in states.enumerate() {
        let state = |value| {
            let mut arrays: Vec<Tensor<f64>> = K::arrays(&problem.state).into_iter().cloned().collect();
            arrays[s] = value;
            Problem { state: K::state(arrays).unwrap(), ..problem.clone() }.loss()
        };
        check_differences(&format!("{name}: state {s}"), gradient, value, state);
    }
    for (index, (gradient, weights)) in
        gradients.weights().layers().unwrap().iter().zip(problem.layer.layers()).enumerate()
    {
        for ((key, gradient), (_, value)) in parameters(gradient).into_iter().zip(parameters(weights)) {
            check_differences(&format!("{name}: {key} of {index}"), &gradient, &value, |value| {
                problem.with_weight(index, |weights| with_parameter(weights, key, &value)).loss()
            });
        }
    }
}

/// Returns the parameters of a layer and direction by name.
fn parameters(weights: &LayerWeights<f64>) -> Vec<(&'static str, Tensor<f64>)> {
    let all = [
        ("weight_ih", Some(weights.weight_ih())),
        ("weight_hh", Some(weights.weight_hh())),
        ("bias_ih", weights.bias_ih()),
        ("bias_hh", weights.bias_hh()),
        ("weight_hr", weights.weight_hr()),
    ];
    all.into_iter().filter_map(|(key, tensor)| Some((key, tensor?.clone()))).collect()
}

/// Returns weights with one parameter replaced.
fn with_parameter(weights: &LayerWeights<f64>, key: &'static str, value: &Tensor<f64>) -> LayerWeights<f64> {
    let mut all: HashMap<_, _> = parameters(weights).into_iter().collect();
    all.insert(key, value.clone());
    let changed = LayerWeights::new(all["weight_ih"].clone(), all["weight_hh"].clone());
    let changed = match (all.remove("bias_ih"), all.remove("bias_hh")) {
        (Some(ih), Some(hh)) => changed.with_bias(ih, hh),
        _ => changed,
    };
    match all.remove("weight_hr") {
        Some(hr) => changed.with_projection(hr),
        None => changed,
    }
}

/// The weights of the input product of the first layer read nothing but the input: ⟨dx, x⟩ = ⟨dW_ih, W_ih⟩.
#[test]
fn the_input_product_is_linear_in_input_and_weights_alike() {
    struct Euler;
    impl Claim for Euler {
        fn check<K: Kind>(&self, config: Config<K>) {
            let problem = Problem::new(config, &[5, 3, 1, 0]);
            let gradients = problem.gradients();
            let layers = gradients
                .weights()
                .layers()
                .unwrap()
                .iter()
                .zip(problem.layer.layers())
                .take(problem.layer.config().directions());
            let of_weights: f64 = layers.map(|(d, w)| dot(d.weight_ih(), w.weight_ih())).sum();
            let of_input = dot(gradients.input(), &problem.input);
            compare(&problem.layer.to_string(), &[of_input], &[of_weights], Tolerance::both(1e-12)).unwrap();
        }
    }
    for_every_cell(Euler);
}

/// The gradients of a sum of losses are the sums of their gradients.
#[test]
fn gradients_are_linear_in_what_is_given() {
    struct Linear;
    impl Claim for Linear {
        fn check<K: Kind>(&self, config: Config<K>) {
            let problem = Problem::new(config, &[5, 4, 0]);
            let both = flat(&problem.gradients());
            let output = flat(&problem.gradients_of(Some(&problem.of_output), None));
            let state = flat(&problem.gradients_of(None, Some(&problem.of_state)));
            let sum: Vec<f64> = output.iter().zip(&state).map(|(a, b)| a + b).collect();
            compare(&problem.layer.to_string(), &both, &sum, Tolerance::both(1e-12)).unwrap();
            let nothing = flat(&problem.gradients_of(None, None));
            assert!(nothing.iter().all(|&v| v == 0.0), "{}", problem.layer);
        }
    }
    for_every_cell(Linear);
}

/// Returns all numbers of some gradients.
fn flat<K: Kind>(gradients: &Gradients<K, f64>) -> Vec<f64> {
    let states = K::arrays(gradients.initial_state()).into_iter();
    let tensors = std::iter::once(gradients.input())
        .chain(states)
        .chain(gradients.weights().named().unwrap().map(|(_, tensor)| tensor));
    tensors.flat_map(|tensor| tensor.data().to_vec()).collect()
}

/// Two passes, the second from the state of the first, have the gradients of one: of the input piece by piece, of the
/// weights in sum.
#[test]
fn two_chained_passes_are_one() {
    struct Chained;
    impl Claim for Chained {
        fn check<K: Kind>(&self, config: Config<K>) {
            // The reverse direction of a later piece would come first.
            let config = config.with_bidirectional(false).with_batch_first(false);
            let problem = Problem::new(config, &[T, T]);
            let whole = problem.gradients();
            let piece = |tensor: &Tensor<f64>, first: bool| {
                let row = tensor.data().len() / T;
                let (at, steps) = if first { (0, 2) } else { (2 * row, T - 2) };
                let shape = [steps, 2, row / 2];
                Tensor::new(shape, tensor.data()[at..at + steps * row].to_vec()).unwrap()
            };
            let placed = problem.layer.to(&Device::cpu()).unwrap();
            let (x_1, x_2) = (piece(&problem.input, true), piece(&problem.input, false));
            let one = placed.forward_train(&x_1, &problem.state).unwrap();
            let two = placed.forward_train(&x_2, one.state()).unwrap();
            let of_two = two.backward(&piece(&problem.of_output, false), &problem.of_state).unwrap();
            let of_one = one.backward(&piece(&problem.of_output, true), of_two.initial_state()).unwrap();
            let tolerance = Tolerance::both(1e-12);
            let name = problem.layer.to_string();
            let input: Vec<f64> = [of_one.input(), of_two.input()].iter().flat_map(|t| t.data().to_vec()).collect();
            compare(&format!("{name}: input"), &input, whole.input().data(), tolerance).unwrap();
            for (got, expected) in K::arrays(of_one.initial_state()).iter().zip(K::arrays(whole.initial_state())) {
                compare(&format!("{name}: state"), got.data(), expected.data(), tolerance).unwrap();
            }
            for (((key, a), (_, b)), (_, expected)) in of_one
                .weights()
                .named()
                .unwrap()
                .zip(of_two.weights().named().unwrap())
                .zip(whole.weights().named().unwrap())
            {
                let sum: Vec<f64> = a.data().iter().zip(b.data()).map(|(a, b)| a + b).collect();
                compare(&format!("{name}: {key}"), &sum, expected.data(), tolerance).unwrap();
            }
        }
    }
    for_every_cell(Chained);
}

/// What a caller has in the padding of the input and of the output's gradient changes no bit, and the gradient of the
/// input is 0 there. Rows of length 0 pass the gradient of their last state to their first.
#[test]
fn padding_is_neither_read_nor_written() {
    struct Padding;
    impl Claim for Padding {
        fn check<K: Kind>(&self, config: Config<K>) {
            let lengths = [5, 3, 0];
            let problem = Problem::new(config, &lengths);
            let config = problem.layer.config();
            let (batch_first, b) = (config.batch_first(), lengths.len());
            let is_padding = |row: usize| {
                let (t, b) = if batch_first { (row % T, row / T) } else { (row / b, row % b) };
                t >= lengths[b]
            };
            let with_nan = |tensor: &Tensor<f64>| {
                let mut tensor = tensor.clone();
                let features = tensor.data().len() / (T * b);
                let rows = tensor.data_mut().chunks_exact_mut(features).enumerate();
                rows.filter(|(row, _)| is_padding(*row)).for_each(|(_, values)| values.fill(f64::NAN));
                tensor
            };
            let expected = problem.gradients();
            let hidden =
                Problem { input: with_nan(&problem.input), of_output: with_nan(&problem.of_output), ..problem.clone() };
            let got = hidden.gradients();
            let all_bits = |gradients| flat::<K>(gradients).iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(all_bits(&got), all_bits(&expected), "{}", problem.layer);
            for (row, values) in got.input().data().chunks_exact(config.input_size()).enumerate() {
                assert_eq!(values.iter().all(|&v| v == 0.0), is_padding(row), "{} row {row}", problem.layer);
            }
            for (got, given) in K::arrays(got.initial_state()).iter().zip(K::arrays(&problem.of_state)) {
                let last = |tensor: &Tensor<f64>| crate::support::slice(tensor, 1, 2..3);
                assert_eq!(bits(&last(got)), bits(&last(given)), "{}", problem.layer);
            }
        }
    }
    for_every_cell(Padding);
}

/// The two biases of a gate are added wherever they are read, except in the new gate of a GRU.
#[test]
fn both_biases_have_the_same_gradient() {
    for weights in
        Problem::new(LstmConfig::new(3, 4).with_num_layers(2), &[5, 3]).gradients().weights().layers().unwrap()
    {
        assert_eq!(bits(weights.bias_ih().unwrap()), bits(weights.bias_hh().unwrap()));
    }
    for weights in
        Problem::new(RnnConfig::new(3, 4).with_num_layers(2), &[5, 3]).gradients().weights().layers().unwrap()
    {
        assert_eq!(bits(weights.bias_ih().unwrap()), bits(weights.bias_hh().unwrap()));
    }
    for weights in
        Problem::new(GruConfig::new(3, 4).with_num_layers(2), &[5, 3]).gradients().weights().layers().unwrap()
    {
        let (ih, hh) = (weights.bias_ih().unwrap(), weights.bias_hh().unwrap());
        assert_eq!(bits(ih)[..8], bits(hh)[..8]);
        assert_ne!(bits(ih)[8..], bits(hh)[8..]);
    }
}

/// Everything is dropped at p = 1: the layers above the first see zeros, and no gradient reaches what is below.
#[test]
fn a_dropout_of_everything_has_finite_gradients() {
    let config = LstmConfig::new(3, 4).with_num_layers(2).with_dropout(1.0);
    let problem = Problem { seed: Some(1), ..Problem::new(config, &[5, 5]) };
    let gradients = problem.gradients_of(Some(&problem.of_output), None);
    assert!(flat(&gradients).iter().all(|v| v.is_finite()));
    assert!(gradients.input().data().iter().all(|&v| v == 0.0));
    assert!(gradients.weights().layers().unwrap()[1].weight_ih().data().iter().all(|&v| v == 0.0));
    assert!(gradients.weights().layers().unwrap()[1].weight_hh().data().iter().any(|&v| v != 0.0));
}

/// A pass of no steps returns the gradient of its state, and one of no rows has no gradient to return.
#[test]
fn empty_passes_have_gradients() {
    let config = LstmConfig::new(3, 4).with_num_layers(2);
    let placed = Layer::random(config.clone(), 1).unwrap().to(&Device::cpu()).unwrap();
    let state = crate::support::state(&config, 2, 2);
    let pass = placed.forward_train(&Tensor::zeros([0, 2, 3]).unwrap(), &state).unwrap();
    assert_eq!(pass.state(), &state);
    let given = crate::support::state(&config, 2, 3);
    let gradients = pass.backward(None, &given).unwrap();
    assert_eq!((gradients.initial_state(), gradients.input().shape()), (&given, &[0, 2, 3][..]));
    assert!(gradients.weights().named().unwrap().all(|(_, tensor)| tensor.data().iter().all(|&v| v == 0.0)));

    let pass = placed.forward_train(&Tensor::zeros([5, 0, 3]).unwrap(), None).unwrap();
    let gradients = pass.backward(&Tensor::zeros([5, 0, 4]).unwrap(), None).unwrap();
    assert_eq!(gradients.input().shape(), [5, 0, 3]);
}
