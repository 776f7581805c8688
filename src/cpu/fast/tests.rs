use pulp::Arch;

use super::FastModel;
use crate::call::Call;
use crate::config::RecurrentConfig;
use crate::cpu::reference::ReferenceModel;
use crate::extents::Extents;
use crate::gradients::Given;
use crate::layer::kind::Kind;
use crate::layer::{GruConfig, Layer, LstmConfig, RnnConfig};
use crate::options::Options;
use crate::weights::names::ParameterKind;

/// Returns every instruction set of this machine, the best first.
pub(super) fn archs() -> Vec<Arch> {
    let best = std::iter::once(Arch::new());
    #[cfg(target_arch = "x86_64")]
    let lesser = pulp::x86::V3::try_new().map(Arch::V3).filter(|_| matches!(Arch::new(), Arch::V4(_)));
    #[cfg(not(target_arch = "x86_64"))]
    let lesser = None;
    best.chain(lesser).collect()
}

/// Returns the largest difference between a forward of five steps and the reference path in f64, over output and
/// states.
fn error<K: Kind>(arch: Arch, layer: &Layer<K>, config: &RecurrentConfig, batch: usize) -> f64 {
    let extents = Extents::batched(config, 5, batch);
    let x: Vec<f32> = (0..extents.rows() * config.input_size).map(|i| (i as f32 * 0.37).sin()).collect();
    let exact: Vec<f64> = x.iter().copied().map(f64::from).collect();
    let call = Call::new(extents, &Options::new()).unwrap();
    let states = config.cell.states().iter().enumerate();
    let zeros = states.map(|(s, _)| vec![0.0; config.layers_and_directions() * batch * config.state_size(s)]);
    let mut expected_states: Vec<Vec<f64>> = zeros.collect();
    let mut got_states: Vec<Vec<f32>> = expected_states.iter().map(|state| vec![0.0; state.len()]).collect();

    let exact_layer = layer.cast::<f64>().unwrap();
    let reference = ReferenceModel::new(config, exact_layer.layers()).unwrap();
    let (expected, _) = reference.forward(&call, &exact, &mut expected_states).unwrap();
    let fast = FastModel::on(arch, config, layer.layers(), 2).unwrap();
    let (got, _) = fast.forward(&call, &x, &mut got_states).unwrap();
    let pairs = got.iter().zip(&expected).chain(got_states.iter().flatten().zip(expected_states.iter().flatten()));
    pairs.map(|(&got, &expected)| (f64::from(got) - expected).abs()).fold(0.0, f64::max)
}

/// Whatever vectors a machine has, results agree with the reference path, for every number of rows and tiles processed
/// together and for units that do not fill a vector. The longest sum has 71 + 19 + 2 terms, of weights below 1/√H and
/// values of at most one; five steps accumulate its rounding errors.
#[test]
fn every_instruction_set_gives_the_numbers_of_the_reference() {
    for arch in archs() {
        for batch in 1..=13 {
            for hidden in [1, 7, 33, 71] {
                let tolerance = 5.0 * 92.0 * f64::from(f32::EPSILON);
                let lstm = Layer::random(LstmConfig::new(19, hidden).with_bidirectional(true), 1).unwrap();
                let gru = Layer::random(GruConfig::new(19, hidden), 2).unwrap();
                let rnn = Layer::random(RnnConfig::new(19, hidden), 3).unwrap();
                let reset_before = GruConfig::new(19, hidden).with_bidirectional(true).with_reset_after(false);
                let reset_before = Layer::random(reset_before, 4).unwrap();
                let errors = [
                    error(arch, &lstm, &lstm.config().0, batch),
                    error(arch, &gru, &gru.config().0, batch),
                    error(arch, &rnn, &rnn.config().0, batch),
                    error(arch, &reset_before, &reset_before.config().0, batch),
                ];
                assert!(errors.iter().all(|&e| e <= tolerance), "{arch:?}, B = {batch}, H = {hidden}: {errors:?}");
            }
        }
    }
}

/// Returns the largest difference between the gradients of five steps and those of the reference path in f64, as a
/// share of the largest value of each array.
fn gradient_error<K: Kind>(arch: Arch, layer: &Layer<K>, config: &RecurrentConfig, batch: usize) -> f64 {
    let extents = Extents::batched(config, 5, batch);
    let lengths: Vec<usize> = (0..batch).map(|b| [5, 3, 0, 4][b % 4]).collect();
    let options = Options { lengths: Some(&lengths), ..Options::new() };
    let call = Call::new(extents, &options).unwrap();
    let wave = |count: usize, step: f32| (0..count).map(|i| (i as f32 * step).sin()).collect::<Vec<f32>>();
    let exactly = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<f64>>();
    let x = wave(extents.rows() * config.input_size, 0.37);
    let of_output = wave(extents.rows() * config.output_size(), 0.73);
    let sizes = (0..config.cell.states().len()).map(|s| config.layers_and_directions() * batch * config.state_size(s));
    let states: Vec<Vec<f32>> = sizes.map(|size| wave(size, 0.51)).collect();
    let exact_states: Vec<Vec<f64>> = states.iter().map(|state| exactly(state)).collect();

    let exact_layer = layer.cast::<f64>().unwrap();
    let reference = ReferenceModel::new(config, exact_layer.layers()).unwrap();
    let (output, tape) = reference.forward_train(&call, &exactly(&x), &mut exact_states.clone()).unwrap();
    let given_states: Vec<&[f64]> = exact_states.iter().map(Vec::as_slice).collect();
    let exact_of_output = exactly(&of_output);
    let given = Given { output: Some(&exact_of_output), states: Some(&given_states) };
    let expected = ReferenceModel::backward(config, exact_layer.layers(), &tape, &output, &given).unwrap();

    let fast = FastModel::on(arch, config, layer.layers(), 2).unwrap();
    let (output, tape) = fast.forward_train(&call, &x, &mut states.clone()).unwrap();
    let given_states: Vec<&[f32]> = states.iter().map(Vec::as_slice).collect();
    let given = Given { output: Some(&of_output), states: Some(&given_states) };
    let got = fast.backward(layer.layers(), tape, &output, &given).unwrap();

    let mut pairs: Vec<(Vec<f32>, Vec<f64>)> = vec![(got.input, expected.input)];
    pairs.extend(got.states.into_iter().zip(expected.states));
    for (got, expected) in got.weights.iter().zip(&expected.weights) {
        for kind in ParameterKind::ALL {
            let (Some(got), Some(expected)) = (got.get(kind), expected.get(kind)) else { continue };
            pairs.push((got.data().to_vec(), expected.data().to_vec()));
        }
    }
    let error = |(got, expected): &(Vec<f32>, Vec<f64>)| {
        let largest = expected.iter().fold(f64::MIN_POSITIVE, |largest, v| largest.max(v.abs()));
        let errors = got.iter().zip(expected).map(|(&got, &expected)| (f64::from(got) - expected).abs());
        errors.fold(0.0, f64::max) / largest
    };
    pairs.iter().map(error).fold(0.0, f64::max)
}

/// The same for gradients, with rows of several lengths. Two layers pass on each other's errors, and the sums of the
/// weights' gradients have a term for each step and row.
#[test]
fn every_instruction_set_gives_the_gradients_of_the_reference() {
    for arch in archs() {
        for (batch, hidden) in
            [1, 2, 5, 7, 13].into_iter().flat_map(|batch| [2, 7, 16, 33].map(|hidden| (batch, hidden)))
        {
            let tolerance = 2.0 * (5 * batch + 2 * hidden + 2 + 19) as f64 * f64::from(f32::EPSILON);
            let lstm = LstmConfig::new(19, hidden).with_num_layers(2).with_bidirectional(true);
            let projected = Layer::random(lstm.clone().with_proj_size(hidden / 2), 1).unwrap();
            let lstm = Layer::random(lstm, 1).unwrap();
            let gru = GruConfig::new(19, hidden).with_num_layers(2).with_bidirectional(true);
            let reset_before = Layer::random(gru.clone().with_reset_after(false), 2).unwrap();
            let gru = Layer::random(gru, 2).unwrap();
            let rnn = RnnConfig::new(19, hidden).with_num_layers(2).with_bidirectional(true);
            let rnn = Layer::random(rnn, 3).unwrap();
            let errors = [
                gradient_error(arch, &lstm, &lstm.config().0, batch),
                gradient_error(arch, &projected, &projected.config().0, batch),
                gradient_error(arch, &gru, &gru.config().0, batch),
                gradient_error(arch, &reset_before, &reset_before.config().0, batch),
                gradient_error(arch, &rnn, &rnn.config().0, batch),
            ];
            assert!(errors.iter().all(|&e| e <= tolerance), "{arch:?}, B = {batch}, H = {hidden}: {errors:?}");
        }
    }
}
