//! Properties that hold for every LSTM, whatever its numbers; each is checked on the CPU and on the GPU.

use wgpu_rnn::{
    Config, Device, Gru, GruConfig, Kind, Layer, LayerWeights, Lstm, LstmConfig, LstmState, RnnConfig, Tensor,
};

use crate::compare::{Tolerance, compare};
use crate::support::{bits, on_both, permute, reduction_length, slice, state, uniform};

/// Returns models with T and B that use each kind of tile.
fn models() -> Vec<(LstmConfig, usize, usize)> {
    vec![
        (LstmConfig::new(5, 13), 7, 1),
        (LstmConfig::new(5, 13).with_num_layers(3), 9, 5),
        (LstmConfig::new(33, 70).with_num_layers(2).with_bias(false), 6, 18),
    ]
}

fn check_chunks<K: Kind>(device: &Device, config: Config<K>, t: usize, b: usize) {
    let model = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
    let (x, initial) = (uniform(&[t, b, config.input_size()], 2), state(&config, b, 3));
    let (whole, last) = model.forward(&x, Some(&initial)).unwrap();
    for cut in [1, t / 2, t - 1] {
        let (first, middle) = model.forward(&slice(&x, 0, 0..cut), Some(&initial)).unwrap();
        let (second, end) = model.forward(&slice(&x, 0, cut..t), Some(&middle)).unwrap();
        assert_eq!(bits(&whole), [bits(&first), bits(&second)].concat(), "{config} on {device} cut at {cut}");
        for (last, end) in K::arrays(&last).into_iter().zip(K::arrays(&end)) {
            assert_eq!(bits(last), bits(end), "{config} on {device} cut at {cut}");
        }
    }
}

#[test]
fn a_sequence_in_chunks_gives_the_bits_of_the_whole() {
    on_both(|device| {
        for (config, t, b) in models() {
            let (i, h, layers) = (config.input_size(), config.hidden_size(), config.num_layers());
            check_chunks(device, config.clone(), t, b);
            check_chunks(device, config.with_proj_size(h - 1), t, b);
            check_chunks(device, GruConfig::new(i, h).with_num_layers(layers), t, b);
            check_chunks(device, GruConfig::new(i, h).with_num_layers(layers).with_reset_after(false), t, b);
            check_chunks(device, RnnConfig::new(i, h).with_num_layers(layers), t, b);
        }
    });
}

#[test]
fn the_reverse_direction_is_a_forward_model_on_reversed_input() {
    on_both(|device| {
        let both = Lstm::random(LstmConfig::new(6, 21).with_bidirectional(true), 4).unwrap();
        let single = LstmConfig::new(6, 21);
        let halves: Vec<LayerWeights> = both.layers().to_vec();
        let (t, b) = (8, 5);
        let x = uniform(&[t, b, 6], 5);
        let backwards: Vec<usize> = (0..t).rev().collect();
        let (output, last) = both.to(device).unwrap().forward(&x, None).unwrap();
        let output = both.config().split_output(&output).unwrap();
        let h = both.config().split_state(&last.h).unwrap();

        let forward = Lstm::new(single.clone(), halves[..1].to_vec()).unwrap().to(device).unwrap();
        let reverse = Lstm::new(single, halves[1..].to_vec()).unwrap().to(device).unwrap();
        let (forward_output, forward_last) = forward.forward(&x, None).unwrap();
        let (reverse_output, reverse_last) = reverse.forward(&permute(&x, 0, &backwards), None).unwrap();
        let reverse_output = permute(&reverse_output, 0, &backwards);
        for (t, b, u) in (0..t).flat_map(|t| (0..b).flat_map(move |b| (0..21).map(move |u| (t, b, u)))) {
            assert_eq!(output.get(&[t, b, 0, u]), forward_output.get(&[t, b, u]), "forward {t} {b} {u} on {device}");
            assert_eq!(output.get(&[t, b, 1, u]), reverse_output.get(&[t, b, u]), "reverse {t} {b} {u} on {device}");
        }
        for (d, last) in [forward_last, reverse_last].iter().enumerate() {
            let of_direction: Vec<f32> = last.h.data().to_vec();
            let got: Vec<_> =
                (0..b).flat_map(|b| (0..21).map(move |u| (b, u))).filter_map(|(b, u)| h.get(&[0, d, b, u])).collect();
            assert_eq!(got, of_direction, "h of direction {d} on {device}");
        }
        // PyTorch's documentation: h_n is the output at the end that each direction reaches last.
        assert_eq!(output.get(&[t - 1, 0, 0, 3]), h.get(&[0, 0, 0, 3]));
        assert_eq!(output.get(&[0, 0, 1, 3]), h.get(&[0, 1, 0, 3]));
    });
}

#[test]
fn batch_rows_are_independent_of_their_neighbors() {
    on_both(|device| {
        let config = LstmConfig::new(7, 18).with_num_layers(2).with_bidirectional(true);
        let model = Lstm::random(config.clone(), 6).unwrap().to(device).unwrap();
        let (t, b) = (4, 11);
        let (x, initial) = (uniform(&[t, b, 7], 7), state(&config, b, 8));
        let (output, last) = model.forward(&x, Some(&initial)).unwrap();

        // In another order, the same rows give the same bits in that order.
        let order = [3, 0, 10, 7, 1, 9, 2, 8, 4, 6, 5];
        let of = |s: &LstmState| LstmState { h: permute(&s.h, 1, &order), c: permute(&s.c, 1, &order) };
        let (permuted, permuted_last) = model.forward(&permute(&x, 1, &order), Some(&of(&initial))).unwrap();
        assert_eq!(bits(&permuted), bits(&permute(&output, 1, &order)), "{device}");
        assert_eq!(bits(&permuted_last.c), bits(&of(&last).c), "{device}");

        // Alone, a row gives the same numbers; another tile may sum in another order.
        let row = 4..5;
        let alone = LstmState { h: slice(&initial.h, 1, row.clone()), c: slice(&initial.c, 1, row.clone()) };
        let (single, _) = model.forward(&slice(&x, 1, row.clone()), Some(&alone)).unwrap();
        let tolerance = Tolerance::of_f32_sum(reduction_length(&config));
        compare("a row alone", single.data(), slice(&output, 1, row).data(), tolerance).unwrap();
    });
}

#[test]
fn a_nan_stays_in_its_row() {
    fn check<K: Kind>(device: &Device, config: &Config<K>) {
        let model = Layer::random(config.clone(), 6).unwrap().to(device).unwrap();
        let x = uniform(&[3, 6, 5], 7);
        let (clean, _) = model.forward(&x, None).unwrap();
        for bad in [f32::NAN, f32::INFINITY] {
            let mut tainted = x.clone();
            tainted.data_mut()[2 * 5 + 1] = bad; // t = 0, b = 2
            let (output, _) = model.forward(&tainted, None).unwrap();
            for b in (0..6).filter(|&b| b != 2) {
                let [got, expected] = [&output, &clean].map(|output| bits(&slice(output, 1, b..b + 1)));
                assert_eq!(got, expected, "row {b} of {config} on {device}");
            }
            let row = slice(&output, 1, 2..3);
            let is_nan = row.data().iter().all(|v| v.is_nan());
            assert_eq!(is_nan, bad.is_nan(), "row 2 of {config} after {bad} on {device}: {:?}", row.data());
        }
    }
    on_both(|device| {
        check(device, &LstmConfig::new(5, 18).with_num_layers(2));
        check(device, &GruConfig::new(5, 18).with_num_layers(2));
        check(device, &GruConfig::new(5, 18).with_num_layers(2).with_reset_after(false));
        check(device, &RnnConfig::new(5, 18).with_num_layers(2));
    });
}

#[test]
fn the_same_call_gives_the_same_bits() {
    on_both(|device| {
        for (config, t, b) in models() {
            let model = Lstm::random(config.clone(), 9).unwrap().to(device).unwrap();
            let x = uniform(&[t, b, config.input_size()], 10);
            let (first, _) = model.forward(&x, None).unwrap();
            // A call with another shape and a state in between has no effect.
            model.forward(&uniform(&[2, b + 1, config.input_size()], 11), Some(&state(&config, b + 1, 12))).unwrap();
            model.forward(&x, Some(&state(&config, b, 13))).unwrap();
            let (second, _) = model.forward(&x, None).unwrap();
            assert_eq!(bits(&first), bits(&second), "{config} on {device}");
        }
    });
}

#[test]
fn batch_first_is_the_same_with_axes_swapped() {
    on_both(|device| {
        let config = LstmConfig::new(5, 9).with_num_layers(2).with_bidirectional(true);
        let lstm = Lstm::random(config.clone(), 14).unwrap();
        let (t, b) = (6, 4);
        let x = uniform(&[t, b, 5], 15);
        let swap = |x: &Tensor| {
            let [rows, columns, features] = x.shape().try_into().unwrap();
            let at = |c: usize, r: usize, k: usize| x.get(&[r, c, k]).unwrap();
            let data = (0..columns).flat_map(|c| (0..rows).flat_map(move |r| (0..features).map(move |k| at(c, r, k))));
            Tensor::new([columns, rows, features], data.collect::<Vec<_>>()).unwrap()
        };
        let (expected, expected_last) = lstm.to(device).unwrap().forward(&x, None).unwrap();
        let (output, last) = lstm.with_batch_first(true).to(device).unwrap().forward(&swap(&x), None).unwrap();
        assert_eq!(bits(&swap(&output)), bits(&expected), "{device}");
        assert_eq!(bits(&last.h), bits(&expected_last.h), "{device}");
    });
}

#[test]
fn empty_batches_and_sequences() {
    on_both(|device| {
        let config = LstmConfig::new(3, 4).with_num_layers(2);
        let model = Lstm::random(config.clone(), 16).unwrap().to(device).unwrap();
        let (output, last) = model.forward(&Tensor::zeros([5, 0, 3]).unwrap(), None).unwrap();
        assert_eq!((output.shape(), last.h.shape(), last.c.shape()), (&[5, 0, 4][..], &[2, 0, 4][..], &[2, 0, 4][..]));

        let initial = state(&config, 7, 17);
        let (output, last) = model.forward(&Tensor::zeros([0, 7, 3]).unwrap(), Some(&initial)).unwrap();
        assert_eq!((output.shape(), last), (&[0, 7, 4][..], initial));
        let (_, last) = model.forward(&Tensor::zeros([0, 3]).unwrap(), None).unwrap();
        assert_eq!((last.h.shape(), last.h.data()), (&[2, 4][..], &[0.0; 8][..]));
    });
}

#[test]
fn several_threads_share_a_model() {
    on_both(|device| {
        let model = Lstm::random(LstmConfig::new(4, 10), 18).unwrap().to(device).unwrap();
        let inputs: Vec<Tensor> = (0..8).map(|n| uniform(&[3 + n % 2, 2, 4], n as u64)).collect();
        let expected: Vec<_> = inputs.iter().map(|x| bits(&model.forward(x, None).unwrap().0)).collect();
        std::thread::scope(|scope| {
            for (x, expected) in inputs.iter().zip(&expected) {
                let model = &model;
                scope.spawn(move || {
                    for _ in 0..5 {
                        assert_eq!(&bits(&model.forward(x, None).unwrap().0), expected);
                    }
                });
            }
        });
    });
}

/// Submissions that keep the device busy for longer than any wait of one thread can be expected to be granted.
#[test]
fn several_threads_wait_for_long_submissions() {
    on_both(|device| {
        let model = Gru::random(GruConfig::new(70_000, 2), 21).unwrap().to(device).unwrap();
        let x = uniform(&[1, 24, 70_000], 22);
        let expected = bits(&model.forward(&x, None).unwrap().0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..12 {
                        assert_eq!(bits(&model.forward(&x, None).unwrap().0), expected);
                    }
                });
            }
        });
    });
}

#[test]
fn awaited_requests_give_the_same_results_and_are_send() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    on_both(|device| {
        let lstm = Lstm::random(LstmConfig::new(4, 10), 19).unwrap();
        let x = uniform(&[5, 2, 4], 20);
        let (blocking, _) = lstm.to(device).unwrap().forward(&x, None).unwrap();
        let placed = pollster::block_on(is_send(lstm.place(device))).unwrap();
        let (output, _) = pollster::block_on(is_send(placed.request(&x))).unwrap();
        assert_eq!(bits(&output), bits(&blocking), "{device}");
    });
}
