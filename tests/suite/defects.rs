//! Defects that other libraries were seen to have: each must be absent here, in every kind of layer, on the CPU and on the GPU.
//! One more, a dropout mask that all layers share, is in dropout.rs.

use wgpu_rnn::{
    Config, Device, GruConfig, Kind, Layer, LayerWeights, LstmConfig, Mode, Nonlinearity, RnnConfig, Tensor,
};

use crate::compare::{Tolerance, compare};
use crate::support::{bits, gpu, oracle, permute, reduction_length, slice, state, uniform};

/// Something that must hold for a layer of any kind on any device.
trait Claim {
    fn check<K: Kind>(&self, device: &Device, config: Config<K>);
}

/// Two layers deep.
fn for_every_kind(bidirectional: bool, claim: impl Claim) {
    for device in [Some(Device::cpu()), gpu()].iter().flatten() {
        let lstm = LstmConfig::new(5, 18).with_num_layers(2).with_bidirectional(bidirectional);
        claim.check(device, lstm.clone());
        claim.check(device, lstm.with_proj_size(7));
        claim.check(device, GruConfig::new(5, 18).with_num_layers(2).with_bidirectional(bidirectional));
        let rnn = RnnConfig::new(5, 18).with_num_layers(2).with_bidirectional(bidirectional);
        claim.check(device, rnn.clone());
        claim.check(device, rnn.with_nonlinearity(Nonlinearity::Relu));
    }
}

fn each_state<K: Kind>(state: &K::State<f32>, change: impl Fn(&Tensor) -> Tensor) -> K::State<f32> {
    K::state(K::arrays(state).into_iter().map(change).collect()).unwrap()
}

/// `reverse` read by nobody, and run forward.
#[test]
fn the_reverse_direction_runs_backwards() {
    struct Runs;
    impl Claim for Runs {
        fn check<K: Kind>(&self, device: &Device, config: Config<K>) {
            let (t, b, backwards) = (7, 4, [6, 5, 4, 3, 2, 1, 0]);
            let config = config.with_num_layers(1);
            let both = Layer::random(config.clone(), 1).unwrap();
            let halves: Vec<LayerWeights> = both.layers().to_vec();
            let x = uniform(&[t, b, 5], 2);
            let output = both.to(device).unwrap().forward(&x, None).unwrap().0;
            let single = config.with_bidirectional(false);
            let run = |half: usize, x: &Tensor| {
                let layer = Layer::new(single.clone(), halves[half..half + 1].to_vec()).unwrap();
                layer.to(device).unwrap().forward(x, None).unwrap().0
            };
            let reverse = permute(&run(1, &permute(&x, 0, &backwards)), 0, &backwards);
            let width = single.recurrent_size();
            assert_eq!(bits(&slice(&output, 2, 0..width)), bits(&run(0, &x)), "{single} on {device}");
            assert_eq!(bits(&slice(&output, 2, width..2 * width)), bits(&reverse), "{single} on {device}");
        }
    }
    for_every_kind(true, Runs);
}

/// Activations and lengths read, and dropped.
#[test]
fn no_option_is_without_effect() {
    struct Differs;
    impl Claim for Differs {
        fn check<K: Kind>(&self, device: &Device, config: Config<K>) {
            let x = uniform(&[6, 3, 5], 2);
            let output = |config: Config<K>, lengths: [usize; 3]| {
                let placed = Layer::random(config, 1).unwrap().to(device).unwrap();
                placed.set_mode(Mode::Training { seed: 3 });
                bits(&placed.request(&x).lengths(&lengths).run().unwrap().0)
            };
            let plain = output(config.clone(), [6, 6, 6]);
            for (option, changed) in [
                ("bias", output(config.clone().with_bias(false), [6, 6, 6])),
                ("dropout", output(config.clone().with_dropout(0.5), [6, 6, 6])),
                ("bidirectional", output(config.clone().with_bidirectional(true), [6, 6, 6])),
                ("num_layers", output(config.clone().with_num_layers(1), [6, 6, 6])),
                ("lengths", output(config.clone(), [6, 2, 6])),
            ] {
                assert_ne!(changed, plain, "{option} of {config} on {device}");
            }
            // A square batch has the same shape either way.
            let square = uniform(&[6, 6, 5], 4);
            let run = |config: Config<K>| {
                Layer::random(config, 1).unwrap().to(device).unwrap().forward(&square, None).unwrap().0
            };
            let (time_first, batch_first) = (run(config.clone()), run(config.clone().with_batch_first(true)));
            assert_ne!(bits(&time_first), bits(&batch_first), "batch_first of {config} on {device}");
        }
    }
    for_every_kind(false, Differs);
    for device in [Some(Device::cpu()), gpu()].iter().flatten() {
        let run = |config| Layer::random(config, 1).unwrap().to(device).unwrap().forward(&uniform(&[4, 5], 2), None);
        let rnn = RnnConfig::new(5, 9);
        let (tanh, relu) = (run(rnn.clone()).unwrap(), run(rnn.with_nonlinearity(Nonlinearity::Relu)).unwrap());
        assert_ne!(bits(&tanh.0), bits(&relu.0), "nonlinearity on {device}");
    }
}

/// A batch above 1 stacked along the wrong axis; results that depend on the size of the batch.
#[test]
fn a_row_of_a_batch_is_the_row_alone() {
    struct Alone;
    impl Claim for Alone {
        fn check<K: Kind>(&self, device: &Device, config: Config<K>) {
            let (t, b) = (5, 19);
            let model = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
            let (x, initial) = (uniform(&[t, b, 5], 2), state(&config, b, 3));
            let (output, last) = model.forward(&x, Some(&initial)).unwrap();
            let tolerance = Tolerance::of_f32_sum(reduction_length(&config));
            for rows in [0..1, 7..8, 3..9, 0..18] {
                let name = format!("rows {rows:?} of {config} on {device}");
                let initial = each_state::<K>(&initial, |array| slice(array, 1, rows.clone()));
                let (part, part_last) = model.forward(&slice(&x, 1, rows.clone()), Some(&initial)).unwrap();
                compare(&name, part.data(), slice(&output, 1, rows.clone()).data(), tolerance).unwrap();
                for (part, whole) in K::arrays(&part_last).into_iter().zip(K::arrays(&last)) {
                    compare(&name, part.data(), slice(whole, 1, rows.clone()).data(), tolerance).unwrap();
                }
            }
        }
    }
    for_every_kind(true, Alone);
}

/// A state that is ignored between the steps, or at the start.
#[test]
fn every_state_is_carried() {
    struct Carried;
    impl Claim for Carried {
        fn check<K: Kind>(&self, device: &Device, config: Config<K>) {
            let model = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
            let (x, b) = (uniform(&[4, 3, 5], 2), 3);
            let initial = state(&config, b, 3);
            let zero = each_state::<K>(&initial, |array| Tensor::zeros(array.shape()).unwrap());
            let output = |x: &Tensor, state: Option<&K::State<f32>>| bits(&model.forward(x, state).unwrap().0);
            assert_eq!(output(&x, Some(&zero)), output(&x, None), "{config} on {device}");
            for changed in 0..K::STATES {
                let arrays = K::arrays(&zero).into_iter().zip(K::arrays(&initial)).enumerate();
                let one = arrays.map(|(s, (zero, other))| if s == changed { other.clone() } else { zero.clone() });
                let one = K::state(one.collect()).unwrap();
                assert_ne!(output(&x, Some(&one)), output(&x, None), "state {changed} of {config} on {device}");
            }
            // The same input at every step, and yet no step gives what the one before gave.
            let same = permute(&slice(&x, 0, 0..1), 0, &[0, 0, 0]);
            let steps = model.forward(&same, None).unwrap().0;
            assert_ne!(bits(&slice(&steps, 0, 0..1)), bits(&slice(&steps, 0, 1..2)), "{config} on {device}");
            assert_ne!(bits(&slice(&steps, 0, 1..2)), bits(&slice(&steps, 0, 2..3)), "{config} on {device}");
        }
    }
    for_every_kind(false, Carried);
}

/// tanh that is NaN for large arguments on some drivers.
#[test]
fn large_inputs_saturate() {
    struct Saturates;
    impl Claim for Saturates {
        fn check<K: Kind>(&self, device: &Device, config: Config<K>) {
            let model = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
            let mut x = uniform(&[4, 3, 5], 2);
            x.data_mut().iter_mut().for_each(|v| *v *= 1e6);
            let output = model.forward(&x, None).unwrap().0;
            assert!(output.data().iter().all(|v| v.is_finite()), "{config} on {device}");
        }
    }
    for_every_kind(false, Saturates);
}

/// A NaN that a clamp or a maximum swallows, or that leaves its row.
#[test]
fn a_nan_stays_and_stays_in_its_row() {
    struct Stays;
    impl Claim for Stays {
        fn check<K: Kind>(&self, device: &Device, config: Config<K>) {
            let model = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
            let x = uniform(&[4, 3, 5], 2);
            let mut spoilt = x.clone();
            spoilt.data_mut()[5 + 2] = f32::NAN; // t = 0, b = 1
            let (clean, output) = (model.forward(&x, None).unwrap().0, model.forward(&spoilt, None).unwrap().0);
            let row = slice(&output, 1, 1..2);
            assert!(row.data().iter().all(|v| v.is_nan()), "{config} on {device}: {:?}", row.data());
            for row in [0, 2] {
                let of_row = |y: &Tensor| bits(&slice(y, 1, row..row + 1));
                assert_eq!(of_row(&output), of_row(&clean), "{config} on {device}");
            }
        }
    }
    for_every_kind(false, Stays);
}

/// A batch of one that fails on the GPU.
#[test]
fn a_batch_of_one_runs() {
    struct Runs;
    impl Claim for Runs {
        fn check<K: Kind>(&self, device: &Device, config: Config<K>) {
            let layer = Layer::random(config.clone(), 1).unwrap();
            let x = uniform(&[5, 1, 5], 2);
            let output = layer.to(device).unwrap().forward(&x, None).unwrap().0;
            let expected = oracle(&layer, &x, None).0;
            let tolerance = Tolerance::of_f32_sum(reduction_length(&config));
            compare(&format!("{config} on {device}"), output.data(), expected.data(), tolerance).unwrap();
            let unbatched = Tensor::new([5, 5], x.into_data()).unwrap();
            assert_eq!(bits(&layer.to(device).unwrap().forward(&unbatched, None).unwrap().0), bits(&output));
        }
    }
    for_every_kind(true, Runs);
}

/// A row of length 0: neither an error nor a spoilt neighbour.
#[test]
fn a_row_of_no_steps_keeps_its_state() {
    struct Keeps;
    impl Claim for Keeps {
        fn check<K: Kind>(&self, device: &Device, config: Config<K>) {
            let model = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
            let (x, initial) = (uniform(&[4, 3, 5], 2), state(&config, 3, 3));
            let (output, last) =
                model.request(&x).state(&initial).lengths(&[4, 0, 4]).padding_value(1.5).run().unwrap();
            let (full, full_last) = model.forward(&x, Some(&initial)).unwrap();
            assert!(slice(&output, 1, 1..2).data().iter().all(|&v| v == 1.5), "{config} on {device}");
            for row in [0, 2] {
                let of_row = |array: &Tensor| bits(&slice(array, 1, row..row + 1));
                assert_eq!(of_row(&output), of_row(&full), "{config} on {device}");
                for (last, full) in K::arrays(&last).into_iter().zip(K::arrays(&full_last)) {
                    assert_eq!(of_row(last), of_row(full), "{config} on {device}");
                }
            }
            for (last, initial) in K::arrays(&last).into_iter().zip(K::arrays(&initial)) {
                assert_eq!(bits(&slice(last, 1, 1..2)), bits(&slice(initial, 1, 1..2)), "{config} on {device}");
            }
        }
    }
    for_every_kind(true, Keeps);
}
