//! GPU f32 against CPU f64 over shapes at, next to and between the tiles of the step kernels and the input product (8,
//! 16 and 32 units, 1, 4, 8, 16, 32 and 64 rows, 16 and 64 values of k). The adapter decides which tiles run; the
//! library's gpu/tests.rs runs all of them.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use wgpu_rnn::{Config, Device, GruKind, Kind, Layer, LstmConfig, Nonlinearity, RnnKind, Strategy};

use crate::compare::{Tolerance, compare};
use crate::support::{gpu, oracle, reduction_length, state, uniform};

/// A model of any kind; the same sizes are run as each of them.
struct Case {
    config: LstmConfig,
    time_steps: usize,
    batch: usize,
    with_state: bool,
}

fn case(i: usize, h: usize, t: usize, b: usize) -> Case {
    Case { config: LstmConfig::new(i, h), time_steps: t, batch: b, with_state: true }
}

fn check(device: &Device, case: &Case) {
    check_kind(device, case, case.config.clone());
    // Projected to one value, and to all but one.
    for proj_size in [1, case.config.hidden_size() - 1] {
        if (1..case.config.hidden_size()).contains(&proj_size) {
            check_kind(device, case, case.config.clone().with_proj_size(proj_size));
        }
    }
    check_kind(device, case, same_sizes::<GruKind>(&case.config));
    check_kind(device, case, same_sizes::<GruKind>(&case.config).with_reset_after(false));
    check_kind(device, case, same_sizes::<RnnKind>(&case.config));
    check_kind(device, case, same_sizes::<RnnKind>(&case.config).with_nonlinearity(Nonlinearity::Relu));
}

fn same_sizes<K: Kind>(config: &LstmConfig) -> Config<K> {
    Config::new(config.input_size(), config.hidden_size())
        .with_num_layers(config.num_layers())
        .with_bias(config.bias())
        .with_batch_first(config.batch_first())
        .with_bidirectional(config.directions() == 2)
}

fn check_kind<K: Kind>(device: &Device, case: &Case, config: Config<K>) {
    let Case { time_steps, batch, with_state, .. } = case;
    let seed = (config.hidden_size() * 31 + batch) as u64;
    let layer = Layer::random(config.clone(), seed).unwrap();
    let rows = if config.batch_first() { [*batch, *time_steps] } else { [*time_steps, *batch] };
    let input = uniform(&[rows[0], rows[1], config.input_size()], seed + 1);
    let initial = with_state.then(|| state(&config, *batch, seed + 2));

    // A dispatch a step, whose tiles these sizes sit on; strategies.rs holds the other strategies against it.
    let placed = layer.to(device).unwrap();
    placed.set_strategy(Strategy::Step).unwrap();
    let (output, last) = placed.forward(&input, initial.as_ref()).unwrap();
    let (expected, expected_last) = oracle(&layer, &input, initial.as_ref());
    let tolerance = Tolerance::of_f32_sum(reduction_length(&config));
    let name = format!("{config}, T={time_steps}, B={batch}, state={with_state}");
    compare(&format!("{name}: output"), output.data(), expected.data(), tolerance).unwrap();
    for (key, (got, expected)) in ["h", "c"].iter().zip(K::arrays(&last).iter().zip(K::arrays(&expected_last))) {
        compare(&format!("{name}: {key}"), got.data(), expected.data(), tolerance).unwrap();
    }
}

fn check_all(cases: impl IntoIterator<Item = Case>) {
    let Some(gpu) = gpu() else { return };
    cases.into_iter().for_each(|case| check(&gpu, &case));
}

#[test]
fn hidden_sizes_around_the_tiles() {
    let sizes = [1, 2, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 127, 128, 129, 257];
    check_all(sizes.into_iter().flat_map(|h| [case(5, h, 3, 1), case(5, h, 2, 3), case(5, h, 2, 10)]));
}

#[test]
fn batches_around_the_tiles() {
    let sizes = (1..=9).chain([15, 16, 17, 31, 33, 64, 65]);
    check_all(sizes.map(|b| case(4, 19, 3, b)));
}

#[test]
fn input_sizes_around_the_tiles() {
    check_all([1, 2, 15, 16, 17, 31, 32, 33, 64, 97, 131].into_iter().map(|i| case(i, 11, 2, 3)));
}

#[test]
fn rows_of_the_input_product_around_the_tiles() {
    check_all(
        [(1, 63), (1, 64), (1, 65), (9, 7), (8, 8), (5, 13), (129, 1), (43, 3)]
            .into_iter()
            .map(|(t, b)| case(3, 6, t, b)),
    );
}

#[test]
fn large_hidden_sizes() {
    check_all([case(3, 1031, 2, 1), case(2, 515, 2, 9)]);
}

/// Sums that go over several dispatches (16,384 features each), and past the 65,535 loop turns that llvmpipe allows.
#[test]
fn large_input_sizes() {
    check_all([16_383, 16_384, 16_385, 70_000].into_iter().map(|i| case(i, 3, 2, 2)));
}

#[test]
fn all_kinds_of_models() {
    let mut rng = Pcg64::seed_from_u64(42);
    let cases = (0..48).map(|n| Case {
        config: LstmConfig::new(rng.random_range(1..40), rng.random_range(1..40))
            .with_num_layers(1 + n % 4)
            .with_bidirectional(n % 2 == 1)
            .with_bias(n % 3 != 0)
            .with_batch_first(n / 2 % 2 == 1),
        time_steps: rng.random_range(1..12),
        batch: rng.random_range(1..40),
        with_state: n % 5 != 0,
    });
    check_all(cases.collect::<Vec<_>>());
}
