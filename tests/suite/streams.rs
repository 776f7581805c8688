//! Streams: however they are cut and pushed together, each gives its whole sequence bit for bit.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use wgpu_rnn::{
    Config, Device, Error, Gru, GruCell, GruCellConfig, GruConfig, Kind, Layer, Lstm, LstmCell, LstmCellConfig,
    LstmConfig, LstmState, RnnConfig, Slot, Streams, Tensor,
};

use crate::support::{bits, gpu, on_both, own_device, permute, slice, uniform};

/// Gathers rows of dimension 1 of `x`, each from its own time on: `[chunk, rows, ·]`, with zeros past the end of x.
fn gather(x: &Tensor, rows: &[usize], from: &[usize], chunk: usize) -> Tensor {
    let [t, _, features] = x.shape().try_into().unwrap();
    let at = |step: usize, row: usize, k: usize| {
        let time = from[row] + step;
        if time < t { x.get(&[time, row, k]).unwrap() } else { 0.0 }
    };
    let data = (0..chunk).flat_map(|s| rows.iter().flat_map(move |&row| (0..features).map(move |k| at(s, row, k))));
    Tensor::new([chunk, rows.len(), features], data.collect::<Vec<_>>()).unwrap()
}

/// Pushes chunks of random lengths to random slots until every stream has ended, and compares with one forward of all.
fn check_ragged<K: Kind>(device: &Device, config: Config<K>, slots: usize, t: usize) {
    let name = format!("{config} on {device}");
    let model = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
    let x = uniform(&[t, slots, config.input_size()], 2);
    let (expected, last) = model.forward(&x, None).unwrap();
    let mut streams = model.streams(slots).run().unwrap();
    let names = streams.slots().to_vec();

    let mut rng = Pcg64::seed_from_u64(3);
    let mut done = vec![0; slots];
    let mut pushes = 0;
    while done.iter().any(|&done| done < t) {
        let mut rows: Vec<usize> = (0..slots).filter(|&row| done[row] < t && rng.random_range(0..3) > 0).collect();
        if pushes % 2 == 1 {
            rows.reverse();
        }
        let lengths: Vec<usize> = rows.iter().map(|&row| rng.random_range(0..=4.min(t - done[row]))).collect();
        let chunk = lengths.iter().copied().max().unwrap_or(0) + usize::from(pushes % 3 == 0);
        let pushed: Vec<Slot> = rows.iter().map(|&row| names[row]).collect();
        let output = streams
            .request(&gather(&x, &rows, &done, chunk))
            .slots(&pushed)
            .lengths(&lengths)
            .padding_value(7.25)
            .run()
            .unwrap();
        assert_eq!(output.shape(), [chunk, rows.len(), config.recurrent_size()], "{name}");
        for (b, (&row, &length)) in rows.iter().zip(&lengths).enumerate() {
            let got = slice(&output, 1, b..b + 1);
            let whole = slice(&slice(&expected, 1, row..row + 1), 0, done[row]..done[row] + length);
            assert_eq!(bits(&slice(&got, 0, 0..length)), bits(&whole), "{name}, row {row}, push {pushes}");
            assert!(slice(&got, 0, length..chunk).data().iter().all(|&v| v == 7.25), "{name}: padding");
            done[row] += length;
        }
        pushes += 1;
    }
    assert!(pushes > 3);
    for row in (0..slots).step_by(slots.div_ceil(40)) {
        let snapshot = streams.snapshot(&names[row]).run().unwrap();
        for (got, last) in K::arrays(&snapshot).into_iter().zip(K::arrays(&last)) {
            assert_eq!(bits(got), bits(&slice(last, 1, row..row + 1)), "{name}: state of row {row}");
        }
    }
}

#[test]
fn a_thousand_streams_in_ragged_chunks_equal_one_forward() {
    on_both(|device| check_ragged(device, LstmConfig::new(3, 10).with_num_layers(2), 1000, 9));
}

#[test]
fn streams_of_every_kind_and_number_equal_one_forward() {
    on_both(|device| {
        for slots in [1, 5, 21] {
            check_ragged(device, LstmConfig::new(5, 18), slots, 11);
            check_ragged(
                device,
                LstmConfig::new(5, 18).with_num_layers(3).with_proj_size(4).with_bias(false),
                slots,
                11,
            );
            check_ragged(device, GruConfig::new(5, 18).with_num_layers(2), slots, 11);
            check_ragged(device, GruConfig::new(5, 18).with_num_layers(2).with_reset_after(false), slots, 11);
            check_ragged(device, RnnConfig::new(5, 70).with_num_layers(2), slots, 11);
        }
    });
}

/// One push of all slots, with one step or several, in both layouts.
#[test]
fn a_push_of_all_slots_takes_them_in_order() {
    on_both(|device| {
        let config = GruConfig::new(3, 7).with_num_layers(2);
        let gru = Gru::random(config, 1).unwrap();
        let x = uniform(&[6, 4, 3], 2);
        let (expected, _) = gru.to(device).unwrap().forward(&x, None).unwrap();
        let mut streams = gru.to(device).unwrap().streams(4).run().unwrap();
        let mut batch_first = gru.clone().with_batch_first(true).to(device).unwrap().streams(4).run().unwrap();
        for t in 0..6 {
            let step = slice(&x, 0, t..t + 1);
            let output = streams.push(&step).unwrap();
            assert_eq!(bits(&output), bits(&slice(&expected, 0, t..t + 1)), "{device}");
            let rows = Tensor::new([4, 1, 3], step.into_data()).unwrap();
            let output = pollster::block_on(batch_first.request(&rows)).unwrap();
            assert_eq!((output.shape(), bits(&output)), (&[4, 1, 7][..], bits(&slice(&expected, 0, t..t + 1))));
        }
        // An empty push changes nothing.
        let before = streams.snapshot(&streams.slots()[1]).run().unwrap();
        assert_eq!(streams.push(&Tensor::zeros([0, 4, 3]).unwrap()).unwrap().shape(), [0, 4, 7]);
        let none = streams.request(&Tensor::zeros([2, 0, 3]).unwrap()).slots(&[]).run().unwrap();
        assert_eq!(none.shape(), [2, 0, 7]);
        assert_eq!(streams.snapshot(&streams.slots()[1]).run().unwrap(), before);
    });
}

/// Returns the whole output of one stream, whatever happens to its neighbors.
fn expect_alone(model: &Layer<wgpu_rnn::LstmKind>, device: &Device, x: &Tensor, streams: usize) -> Tensor {
    // The tile is the one for as many rows as the streams started with.
    let copies = permute(x, 1, &vec![0; streams]);
    slice(&model.to(device).unwrap().forward(&copies, None).unwrap().0, 1, 0..1)
}

#[test]
fn slots_come_and_go() {
    on_both(|device| {
        let lstm = Lstm::random(LstmConfig::new(3, 9).with_num_layers(2), 1).unwrap();
        let mut streams = lstm.to(device).unwrap().streams(2).run().unwrap();
        let [first, second] = streams.slots().try_into().unwrap();
        let x = uniform(&[8, 1, 3], 4);
        let expected = expect_alone(&lstm, device, &x, 2);
        let part = |from: usize, to: usize| slice(&x, 0, from..to);
        let push = |streams: &mut Streams<_>, slot: Slot, from: usize, to: usize| {
            let output = streams.request(&part(from, to)).slots(&[slot]).run().unwrap();
            assert_eq!(bits(&output), bits(&slice(&expected, 0, from..to)), "{device}: {slot:?} {from}..{to}");
        };
        push(&mut streams, first, 0, 3);
        push(&mut streams, second, 0, 1);
        let early = streams.snapshot(&first).run().unwrap();

        // More than there is room for: existing streams continue where they were.
        let late: Vec<Slot> = (0..5).map(|_| streams.add().run().unwrap()).collect();
        push(&mut streams, late[4], 0, 2);
        push(&mut streams, first, 3, 5);

        // A slot that reuses a freed row starts from zeros.
        streams.remove(second).unwrap();
        let reused = streams.add().run().unwrap();
        assert_ne!(reused, second);
        assert_eq!(streams.slots(), [&[first][..], &late, &[reused]].concat());
        push(&mut streams, reused, 0, 4);

        // Restores an earlier state, also in another slot, and resets to the start.
        streams.restore(&first, &early).run().unwrap();
        push(&mut streams, first, 3, 8);
        pollster::block_on(streams.restore(&late[0], &early)).unwrap();
        push(&mut streams, late[0], 3, 4);
        streams.reset(&reused).run().unwrap();
        push(&mut streams, reused, 0, 8);
        push(&mut streams, late[4], 2, 8);
        let zero = streams.snapshot(&late[1]).run().unwrap();
        assert!(zero.h.data().iter().chain(zero.c.data()).all(|&v| v == 0.0));
    });
}

#[test]
fn streams_may_start_with_none_and_outlive_their_model() {
    on_both(|device| {
        let mut streams = Lstm::random(LstmConfig::new(3, 9), 1).unwrap().to(device).unwrap().streams(0).run().unwrap();
        assert_eq!(streams.push(&Tensor::zeros([2, 0, 3]).unwrap()).unwrap().shape(), [2, 0, 9]);
        let slots: Vec<Slot> = (0..3).map(|_| pollster::block_on(streams.add()).unwrap()).collect();
        let alone = streams.request(&Tensor::zeros([4, 3]).unwrap()).slots(&slots[1..2]).run().unwrap();
        assert_eq!(alone.shape(), [4, 9]);
        slots.into_iter().for_each(|slot| streams.remove(slot).unwrap());
        assert!(streams.slots().is_empty());
    });
}

/// Pushes from several threads, each with its own streams of one model.
#[test]
fn several_threads_push_to_streams_of_one_model() {
    on_both(|device| {
        let model = Gru::random(GruConfig::new(3, 9), 1).unwrap().to(device).unwrap();
        let x = uniform(&[6, 3, 3], 2);
        let expected = model.forward(&x, None).unwrap().0;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut streams = model.streams(3).run().unwrap();
                    for t in 0..6 {
                        let output = streams.push(&slice(&x, 0, t..t + 1)).unwrap();
                        assert_eq!(bits(&output), bits(&slice(&expected, 0, t..t + 1)));
                    }
                });
            }
        });
    });
}

#[test]
fn invalid_calls_of_streams_are_rejected() {
    on_both(|device| {
        let both = Lstm::random(LstmConfig::new(3, 9).with_bidirectional(true), 1).unwrap().to(device).unwrap();
        assert_eq!(
            both.streams(2).run().unwrap_err().to_string(),
            "a bidirectional layer over streams is not supported: the reverse direction starts at the end of \
             a sequence, and a stream has none"
        );
        let model = Lstm::random(LstmConfig::new(3, 9).with_proj_size(4), 1).unwrap().to(device).unwrap();
        let mut streams = model.streams(2).run().unwrap();
        let [slot, other] = streams.slots().try_into().unwrap();
        let zeros = |shape: &[usize]| Tensor::<f32>::zeros(shape).unwrap();
        let message = |result: wgpu_rnn::Result<Tensor>| result.unwrap_err().to_string();
        assert_eq!(
            message(streams.push(&zeros(&[5, 3, 3]))),
            "input: expected shape [T, 2, I], a row for each slot, got [5, 3, 3]"
        );
        assert_eq!(
            message(streams.push(&zeros(&[2, 5, 3]))),
            "input: expected shape [T, 2, I], a row for each slot; 2 is T: for an input [B, T, I], \
             set with_batch_first(true), got [2, 5, 3]"
        );
        let batch_first = model.to_layer().unwrap().with_batch_first(true).to(device).unwrap();
        let mut batch_first = batch_first.streams(3).run().unwrap();
        assert_eq!(
            message(batch_first.push(&zeros(&[2, 5, 3]))),
            "input: expected shape [3, T, I], a row for each slot, got [2, 5, 3]"
        );
        assert_eq!(
            message(batch_first.push(&zeros(&[5, 3, 3]))),
            "input: expected shape [3, T, I], a row for each slot; 3 is T: for an input [T, B, I], \
             set with_batch_first(false), got [5, 3, 3]"
        );
        // One step of as many rows is no other layout: the rows are missing.
        assert_eq!(
            message(streams.push(&zeros(&[2, 3]))),
            "input: expected shape [T, 2, I], a row for each slot, got [2, 3]"
        );
        assert_eq!(
            message(streams.push(&zeros(&[5, 2, 4]))),
            "input: expected shape [T, B, I] or unbatched [T, I] with I = 3, got [5, 2, 4]"
        );
        assert_eq!(
            message(streams.request(&zeros(&[5, 2, 3])).slots(&[slot, slot]).run()),
            format!("slot: expected each slot once, got {slot} twice")
        );
        assert_eq!(
            message(streams.request(&zeros(&[5, 2, 3])).slots(&[slot, other]).lengths(&[1, 6]).run()),
            "lengths: expected lengths of at most T, the time steps of the input, got 6 for row 1, with T = 5"
        );
        let state = |h: &[usize], c: &[usize]| LstmState { h: zeros(h), c: zeros(c) };
        assert_eq!(
            streams.restore(&slot, &state(&[1, 2, 4], &[1, 1, 9])).run().unwrap_err().to_string(),
            "h_0: expected shape [1, 1, 4] ([L, B, P], a row for each slot), got [1, 2, 4]"
        );
        assert_eq!(
            streams.restore(&slot, &state(&[1, 4], &[1, 4])).run().unwrap_err().to_string(),
            "c_0: expected shape [1, 1, 9] ([L, B, H], a row for each slot), got [1, 4]"
        );
        // Neither a removed slot nor one of other streams is mistaken for another.
        let foreign = model.streams(2).run().unwrap().slots()[0];
        streams.remove(other).unwrap();
        streams.add().run().unwrap();
        for gone in [other, foreign] {
            let expected = format!("slot: expected a slot of these streams that was not removed, got {gone}");
            let one = zeros(&[5, 1, 3]);
            assert_eq!(message(streams.request(&one).slots(&[gone]).run()), expected);
            assert_eq!(streams.reset(&gone).run().unwrap_err().to_string(), expected);
            assert_eq!(streams.remove(gone).unwrap_err().to_string(), expected);
            assert_eq!(streams.snapshot(&gone).run().unwrap_err().to_string(), expected);
            assert_eq!(streams.restore(&gone, &state(&[1, 4], &[1, 9])).run().unwrap_err().to_string(), expected);
        }
        // None of that has changed the streams.
        assert!(streams.snapshot(&slot).run().unwrap().c.data().iter().all(|&v| v == 0.0));
    });
}

/// On a device with buffers of 1 MiB, neither spare capacity, nor states that nobody reads, nor room for twice as many
/// slots is a reason to reject a call that fits.
#[test]
fn calls_that_fit_a_device_run() {
    if gpu().is_none() {
        return;
    }
    let (device, queue) = own_device(|limits| {
        limits.max_buffer_size = 1 << 20;
        limits.max_storage_buffer_binding_size = 1 << 20;
    });
    let device = Device::from_wgpu(device, queue);
    let lstm = Lstm::random(LstmConfig::new(1, 64), 1).unwrap().to(&device).unwrap();
    let x = uniform(&[600, 4, 1], 2);
    let whole = lstm.forward(&x, None).unwrap().0;
    assert_eq!(bits(&lstm.streams(4).run().unwrap().push(&x).unwrap()), bits(&whole));

    // c of 8,000 streams is 512 kB, h before and after a step twice that.
    let lstm = Lstm::random(LstmConfig::new(1, 16), 1).unwrap().to(&device).unwrap();
    let mut streams = lstm.streams(8_000).run().unwrap();
    let slot = streams.slots()[77];
    streams.request(&Tensor::zeros([1, 1]).unwrap()).slots(&[slot]).run().unwrap();
    let before = streams.snapshot(&slot).run().unwrap();
    let late = streams.add().run().unwrap();
    assert_eq!(streams.snapshot(&slot).run().unwrap(), before);
    streams.request(&Tensor::zeros([1, 1]).unwrap()).slots(&[late]).run().unwrap();
    assert_eq!(streams.snapshot(&late).run().unwrap(), before);
    assert!(matches!(lstm.streams(20_000).run(), Err(Error::Limit { what, need: 1_280_000, .. }) if what == "a state"));

    // A batch for which no step could run is rejected before the first step.
    let expected = "gx of one time step needs 1228800 of max_storage_buffer_binding_size, the device has 1048576";
    let cell = LstmCell::random(LstmCellConfig::new(1, 64), 1).unwrap().to(&device).unwrap();
    assert_eq!(cell.zero_state(1200).run().unwrap_err().to_string(), expected);

    // A GRU has no c of every step.
    let gru = Gru::random(GruConfig::new(1, 16).with_num_layers(3), 1).unwrap().to(&device).unwrap();
    let all = gru.request(&uniform(&[200, 20, 1], 2)).all_states().run().unwrap();
    assert_eq!(all.all.shape(), [3, 200, 20, 16]);
}

/// A call that is dropped midway leaves a state that has to be reset, after which the stream works again.
#[test]
fn a_dropped_push_affects_only_its_slots() {
    fn poll_once(request: impl IntoFuture) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = std::pin::pin!(request.into_future()).poll(&mut context);
    }
    on_both(|device| {
        let gru = Gru::random(GruConfig::new(3, 9), 1).unwrap().to(device).unwrap();
        let x = uniform(&[8, 2, 3], 2);
        let expected = gru.forward(&x, None).unwrap().0;
        let mut streams = gru.streams(2).run().unwrap();
        let [one, other] = streams.slots().try_into().unwrap();
        let push = |streams: &mut Streams<_>, slot: Slot, row: usize, from: usize, to: usize| {
            let chunk = slice(&slice(&x, 1, row..row + 1), 0, from..to);
            let output = streams.request(&chunk).slots(&[slot]).run().unwrap();
            assert_eq!(bits(&output), bits(&slice(&slice(&expected, 1, row..row + 1), 0, from..to)), "{device}");
        };
        push(&mut streams, other, 1, 0, 3);
        poll_once(streams.request(&Tensor::zeros([400, 3]).unwrap()).slots(&[one]));
        push(&mut streams, other, 1, 3, 6);
        streams.reset(&one).run().unwrap();
        push(&mut streams, one, 0, 0, 8);
        push(&mut streams, other, 1, 6, 8);

        // Steps of a cell also continue past dropped ones.
        let cell = GruCell::random(GruCellConfig::new(3, 9), 1).unwrap().to(device).unwrap();
        let mut state = cell.zero_state(2).run().unwrap();
        let x_t = uniform(&[2, 3], 5);
        for step in 0..200 {
            if step % 3 == 0 {
                poll_once(cell.request_step(&x_t, &mut state));
            } else {
                cell.step(&x_t, &mut state).unwrap();
            }
        }
        state.read().run().unwrap();
    });
}

#[test]
fn a_lost_device_is_reported_as_lost() {
    if gpu().is_none() {
        return;
    }
    for borrowed in [true, false] {
        let device = if borrowed {
            let (device, queue) = own_device(|_| {});
            Device::from_wgpu(device, queue)
        } else {
            Device::gpu(&wgpu_rnn::GpuOptions::new()).unwrap()
        };
        let gru = Gru::random(GruConfig::new(3, 9), 1).unwrap().to(&device).unwrap();
        let mut streams = gru.streams(2).run().unwrap();
        let slot = streams.slots()[0];
        streams.push(&Tensor::zeros([2, 2, 3]).unwrap()).unwrap();
        device.wgpu().unwrap().0.destroy();
        let lost = |name: &str, error: Option<Error>| {
            assert!(matches!(error, Some(Error::DeviceLost { .. })), "{name}, borrowed {borrowed}: {error:?}");
        };
        lost("snapshot", streams.snapshot(&slot).run().err());
        lost("push", streams.push(&Tensor::zeros([2, 2, 3]).unwrap()).err());
        lost("a larger push", streams.push(&Tensor::zeros([50, 2, 3]).unwrap()).err());
        lost("reset", streams.reset(&slot).run().err());
        lost("forward", gru.forward(&Tensor::zeros([50, 2, 3]).unwrap(), None).err());
    }
}
