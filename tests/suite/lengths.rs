//! Rows of different lengths: each gives the same results as alone.

use wgpu_rnn::{Config, Device, GruKind, Kind, Layer, LstmConfig, LstmKind, Nonlinearity, RnnKind, Tensor};

use crate::compare::{Tolerance, compare};
use crate::support::{bits, gpu, reduction_length, slice, state, uniform};

const LENGTHS: [usize; 11] = [3, 7, 0, 1, 7, 2, 6, 0, 5, 4, 1];
const T: usize = 7;

fn every_kind(check: impl Fn(&Device, bool)) {
    for device in [Some(Device::cpu()), gpu()].iter().flatten() {
        for bidirectional in [false, true] {
            check(device, bidirectional);
        }
    }
}

fn check_rows_alone<K: Kind>(config: Config<K>, device: &Device) {
    let b = LENGTHS.len();
    let placed = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
    let (x, initial) = (uniform(&[T, b, 5], 2), state(&config, b, 3));
    let (output, last) = placed.request(&x).state(&initial).lengths(&LENGTHS).padding_value(9.5).run().unwrap();
    let tolerance = Tolerance::of_f32_sum(reduction_length(&config));
    for (row, &length) in LENGTHS.iter().enumerate() {
        let name = format!("{config} on {device}, row {row} of length {length}");
        let of_row = |array: &Tensor| slice(array, 1, row..row + 1);
        let alone = K::state(K::arrays(&initial).into_iter().map(of_row).collect()).unwrap();
        let (expected, expected_last) = placed.forward(&slice(&of_row(&x), 0, 0..length), Some(&alone)).unwrap();
        let (within, behind) = (slice(&of_row(&output), 0, 0..length), slice(&of_row(&output), 0, length..T));
        compare(&name, within.data(), expected.data(), tolerance).unwrap();
        assert!(behind.data().iter().all(|&v| v == 9.5), "{name}: {:?}", behind.data());
        for (got, expected) in K::arrays(&last).into_iter().zip(K::arrays(&expected_last)) {
            compare(&name, of_row(got).data(), expected.data(), tolerance).unwrap();
            if length == 0 {
                assert_eq!(bits(&of_row(got)), bits(expected), "{name}: the state passes through");
            }
        }
    }
}

#[test]
fn a_row_gives_the_same_results_as_alone() {
    every_kind(|device, bidirectional| {
        check_rows_alone(Config::<LstmKind>::new(5, 9).with_num_layers(2).with_bidirectional(bidirectional), device);
        let projected = Config::<LstmKind>::new(5, 9).with_proj_size(4).with_num_layers(2);
        check_rows_alone(projected.with_bidirectional(bidirectional), device);
        let gru = Config::<GruKind>::new(5, 9).with_num_layers(2).with_bidirectional(bidirectional);
        check_rows_alone(gru.clone().with_reset_after(false), device);
        check_rows_alone(gru, device);
        let rnn = Config::<RnnKind>::new(5, 9).with_num_layers(2).with_bidirectional(bidirectional);
        check_rows_alone(rnn.clone(), device);
        check_rows_alone(rnn.with_nonlinearity(Nonlinearity::Relu), device);
    });
}

fn nothing_is_read_behind_a_row<K: Kind>(config: Config<K>, device: &Device) {
    let placed = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
    let x = uniform(&[T, LENGTHS.len(), 5], 2);
    let mut spoilt = x.clone();
    for (at, value) in spoilt.data_mut().iter_mut().enumerate() {
        let (t, row) = (at / 5 / LENGTHS.len(), at / 5 % LENGTHS.len());
        if t >= LENGTHS[row] {
            *value = f32::NAN;
        }
    }
    // NaN as padding between the layers would show in the states.
    let (output, last) = placed.request(&x).lengths(&LENGTHS).run().unwrap();
    let (again, again_last) = placed.request(&spoilt).lengths(&LENGTHS).padding_value(f64::NAN).run().unwrap();
    for (last, again) in K::arrays(&last).into_iter().zip(K::arrays(&again_last)) {
        assert_eq!(bits(last), bits(again), "{config} on {device}");
    }
    for (row, &length) in LENGTHS.iter().enumerate() {
        let within = |y: &Tensor| bits(&slice(&slice(y, 1, row..row + 1), 0, 0..length));
        assert_eq!(within(&output), within(&again), "row {row} of {config} on {device}");
    }
}

#[test]
fn values_past_a_rows_end_are_never_read() {
    every_kind(|device, bidirectional| {
        let lstm = LstmConfig::new(5, 9).with_num_layers(2).with_bidirectional(bidirectional);
        nothing_is_read_behind_a_row(lstm, device);
        let gru = Config::<GruKind>::new(5, 9).with_num_layers(2).with_bidirectional(bidirectional);
        nothing_is_read_behind_a_row(gru.with_reset_after(false), device);
    });
}

#[test]
fn full_lengths_are_the_same_as_none() {
    every_kind(|device, bidirectional| {
        let placed =
            Layer::random(LstmConfig::new(5, 9).with_bidirectional(bidirectional), 1).unwrap().to(device).unwrap();
        let x = uniform(&[T, 3, 5], 2);
        // The lengths of one call do not affect the next.
        placed.request(&x).lengths(&[1, 2, 3]).run().unwrap();
        let (expected, _) = placed.forward(&x, None).unwrap();
        let (output, _) = placed.request(&x).lengths(&[T; 3]).run().unwrap();
        assert_eq!(bits(&output), bits(&expected), "{device}");
    });
}

#[test]
fn lengths_that_do_not_fit() {
    let placed = Layer::random(LstmConfig::new(5, 9), 1).unwrap().to(&Device::cpu()).unwrap();
    let rejected = |shape: &[usize], lengths: &[usize]| {
        placed.request(&Tensor::zeros(shape).unwrap()).lengths(lengths).run().unwrap_err().to_string()
    };
    assert_eq!(rejected(&[T, 3, 5], &[1, 2]), "lengths: expected shape [3] (a length for each batch row), got [2]");
    // A length for each of T "rows": the input lies in the other layout.
    assert_eq!(
        rejected(&[2, T, 5], &[1, 2]),
        "lengths: expected shape [7] (a length for each batch row; 2 is T: for an input [B, T, I], \
         set with_batch_first(true)), got [2]"
    );
    let batch_first = placed.to_layer().unwrap().with_batch_first(true).to(&Device::cpu()).unwrap();
    let x = Tensor::zeros([T, 2, 5]).unwrap();
    assert_eq!(
        batch_first.request(&x).lengths(&[1, 2]).run().unwrap_err().to_string(),
        "lengths: expected shape [7] (a length for each batch row; 2 is T: for an input [T, B, I], \
         set with_batch_first(false)), got [2]"
    );
    assert_eq!(rejected(&[T, 5], &[1; T]), "lengths: expected shape [1] (a length for each batch row), got [7]");
    assert_eq!(
        rejected(&[T, 3, 5], &[1, 8, 2]),
        "lengths: expected lengths of at most T, the time steps of the input, got 8 for row 1, with T = 7"
    );
    assert_eq!(
        rejected(&[0, 3, 5], &[0, 1, 0]),
        "lengths: expected lengths of at most T, the time steps of the input, got 1 for row 1, with T = 0"
    );
    assert!(placed.request(&Tensor::zeros([T, 5]).unwrap()).lengths(&[4]).run().is_ok());
}
