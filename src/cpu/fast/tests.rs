use pulp::Arch;

use super::FastModel;
use crate::call::Call;
use crate::config::RecurrentConfig;
use crate::cpu::reference::ReferenceModel;
use crate::extents::Extents;
use crate::layer::kind::Kind;
use crate::layer::{GruConfig, Layer, LstmConfig, RnnConfig};
use crate::options::Options;

/// Every instruction set that this machine has, the best first.
pub(super) fn archs() -> Vec<Arch> {
    let best = std::iter::once(Arch::new());
    #[cfg(target_arch = "x86_64")]
    let lesser = pulp::x86::V3::try_new().map(Arch::V3).filter(|_| matches!(Arch::new(), Arch::V4(_)));
    #[cfg(not(target_arch = "x86_64"))]
    let lesser = None;
    best.chain(lesser).collect()
}

/// The largest difference from the reference path in f64 over output and states, of a forward of five steps.
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

/// Whatever vectors a machine has, results are those of the reference path: every number of rows and tiles that go together, and
/// units that do not fill a vector. The longest sum has 71 + 19 + 2 terms, of weights below 1/√H and values of at most one; five
/// steps carry its rounding on.
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
