//! The states after every step.

use wgpu_rnn::{AllStates, Config, Device, GruConfig, Kind, Layer, Lstm, LstmConfig, PlacedLstm, RnnConfig, Tensor};

use crate::support::{bits, on_both, slice, state, uniform};

/// Element `[index, t, b, ..]` of all states, as the row of a last state.
fn at(all: &Tensor, index: usize, t: usize, b: usize) -> Vec<u64> {
    bits(&slice(&slice(&slice(all, 0, index..index + 1), 1, t..t + 1), 2, b..b + 1))
}

/// What a direction holds after time t is the last state of a forward over what it has read by then.
fn check_kind<K: Kind>(device: &Device, config: Config<K>) {
    let lengths = [6, 2, 0, 4, 6];
    let (t, b, padding) = (6, lengths.len(), -3.5);
    let name = format!("{config} on {device}");
    let model = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
    let time = usize::from(config.batch_first());
    let shape = if time == 1 { [b, t, config.input_size()] } else { [t, b, config.input_size()] };
    let (x, initial) = (uniform(&shape, 2), state(&config, b, 3));
    let (output, last) = model.request(&x).state(&initial).lengths(&lengths).padding_value(padding).run().unwrap();
    let got = model.request(&x).state(&initial).lengths(&lengths).padding_value(padding).all_states().run().unwrap();
    assert_eq!(bits(&got.output), bits(&output), "{name}");
    for (got, expected) in K::arrays(&got.last).into_iter().zip(K::arrays(&last)) {
        assert_eq!(bits(got), bits(expected), "{name}");
    }

    let layers = config.num_layers() * config.directions();
    for (s, all) in K::arrays(&got.all).into_iter().enumerate() {
        let size = K::arrays(&last)[s].shape()[2];
        assert_eq!(all.shape(), [layers, t, b, size], "{name}");
        for (b, &length) in lengths.iter().enumerate() {
            for behind in length..t {
                let padded = vec![f64::from(padding as f32).to_bits(); size];
                (0..layers).for_each(|index| assert_eq!(at(all, index, behind, b), padded, "{name}"));
            }
            for (index, end) in (0..layers).filter(|_| length > 0).map(|index| {
                let reverse = config.directions() == 2 && index % 2 == 1;
                (index, if reverse { 0 } else { length - 1 })
            }) {
                let last = bits(&slice(&slice(K::arrays(&last)[s], 0, index..index + 1), 1, b..b + 1));
                assert_eq!(at(all, index, end, b), last, "{name}: {index} {b}");
            }
        }
    }

    // The output is h of the last layer, both directions side by side.
    let h = K::arrays(&got.all)[0];
    for (t, b) in (0..t).flat_map(|t| (0..b).map(move |b| (t, b))) {
        let (row, column) = if time == 1 { (b, t) } else { (t, b) };
        let expected = bits(&slice(&slice(&got.output, 0, row..row + 1), 1, column..column + 1));
        let tops = layers - config.directions()..layers;
        assert_eq!(tops.flat_map(|index| at(h, index, t, b)).collect::<Vec<_>>(), expected, "{name}");
    }

    // The first layer's forward direction reads nothing but the past.
    for t in 0..t {
        let beginning = slice(&x, time, 0..t + 1);
        let lengths = lengths.map(|length| length.min(t + 1));
        let (_, last) = model.request(&beginning).state(&initial).lengths(&lengths).run().unwrap();
        for (s, all) in K::arrays(&got.all).into_iter().enumerate() {
            for b in (0..b).filter(|&b| lengths[b] == t + 1) {
                let expected = bits(&slice(&slice(K::arrays(&last)[s], 0, 0..1), 1, b..b + 1));
                assert_eq!(at(all, 0, t, b), expected, "{name}: state {s} of row {b} after {t}");
            }
        }
    }
}

#[test]
fn all_states_are_those_between_the_steps() {
    on_both(|device| {
        for layers in [1, 2, 4] {
            for bidirectional in [false, true] {
                let lstm = LstmConfig::new(3, 9).with_num_layers(layers).with_bidirectional(bidirectional);
                check_kind(device, lstm.clone());
                check_kind(device, lstm.clone().with_batch_first(true));
                check_kind(device, lstm.with_proj_size(4));
                let gru = GruConfig::new(3, 9).with_num_layers(layers).with_bidirectional(bidirectional);
                check_kind(device, gru.clone().with_reset_after(false));
                check_kind(device, gru);
                check_kind(device, RnnConfig::new(3, 9).with_num_layers(layers).with_bidirectional(bidirectional));
            }
        }
    });
}

#[test]
fn all_states_of_unbatched_and_empty_input() {
    fn run(model: &PlacedLstm, shape: &[usize]) -> AllStates<wgpu_rnn::LstmKind> {
        let x = Tensor::zeros(shape).unwrap();
        pollster::block_on(model.request(&x).all_states()).unwrap()
    }
    on_both(|device| {
        let model = Lstm::random(LstmConfig::new(3, 9).with_num_layers(2), 1).unwrap().to(device).unwrap();
        for (shape, expected) in [
            (&[5, 3][..], &[2, 5, 9][..]),
            (&[0, 3], &[2, 0, 9]),
            (&[5, 0, 3], &[2, 5, 0, 9]),
            (&[0, 4, 3], &[2, 0, 4, 9]),
        ] {
            let got = run(&model, shape);
            assert_eq!((got.all.h.shape(), got.all.c.shape()), (expected, expected), "{shape:?}");
        }
        // A forward of the same shape is none the wiser.
        let x = uniform(&[5, 3], 4);
        let (output, last) = model.forward(&x, None).unwrap();
        let all = model.request(&x).all_states().run().unwrap();
        let (again, last_again) = model.forward(&x, None).unwrap();
        assert_eq!((bits(&output), &last), (bits(&again), &last_again));
        assert_eq!((bits(&all.output), &all.last), (bits(&output), &last));
    });
}
