//! Requests: whether run or awaited, and with any options, they give the numbers of the plain call.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use wgpu_rnn::{
    Config, Device, Error, Gru, GruCell, GruCellConfig, GruConfig, Kind, Layer, Lstm, LstmConfig, PlacedLstm,
    Precision, RnnConfig, Tensor, TensorView,
};

use crate::support::{bits, gpu, on_both, permute, slice, small_lstm, state, uniform};

/// Runs a future on another thread, which only compiles if the future is `Send`.
fn elsewhere<T: Send>(request: impl IntoFuture<Output = T, IntoFuture: Send>) -> T {
    let future = request.into_future();
    std::thread::scope(|scope| scope.spawn(|| pollster::block_on(future)).join().unwrap())
}

#[test]
fn every_awaited_request_runs_on_another_thread_with_the_results_of_the_blocking_one() {
    on_both(|device| {
        let layer = Lstm::random(LstmConfig::new(3, 8).with_num_layers(2), 1).unwrap();
        let lstm = elsewhere(layer.place(device).precision(Precision::F32)).unwrap();
        let x = uniform(&[6, 2, 3], 2);
        elsewhere(lstm.warm_up(&[6, 2, 3])).unwrap();
        let (output, last) = lstm.forward(&x, None).unwrap();
        assert_eq!(elsewhere(lstm.request(&x)).unwrap(), (output.clone(), last.clone()), "{device}");
        assert_eq!(elsewhere(lstm.request(&x).last_state()).unwrap(), last, "{device}");
        assert_eq!(elsewhere(lstm.request(&x).all_states()).unwrap().last, last, "{device}");
        let mut memory = vec![0.0; output.data().len()];
        assert_eq!(elsewhere(lstm.request(&x).output_into(&mut memory)).unwrap(), last, "{device}");
        assert_eq!(memory, output.data(), "{device}");

        let mut streams = elsewhere(lstm.streams(1).capacity(2)).unwrap();
        let (first, second) = (streams.slots()[0], elsewhere(streams.add()).unwrap());
        assert_eq!(streams.capacity(), 2);
        assert_eq!(elsewhere(streams.request(&x).slots(&[first, second])).unwrap(), output, "{device}");
        let snapshot = elsewhere(streams.snapshot(&[first, second])).unwrap();
        assert_eq!(snapshot, last, "{device}");
        elsewhere(streams.reset(&first)).unwrap();
        elsewhere(streams.restore(&[first, second], &snapshot)).unwrap();
        assert_eq!(elsewhere(streams.snapshot(&[first, second])).unwrap(), last, "{device}");

        let cell = Lstm::random(LstmConfig::new(3, 8), 1).unwrap();
        let cell = wgpu_rnn::LstmCell::new(wgpu_rnn::CellConfig::new(3, 8), cell.layers()[0].clone()).unwrap();
        let cell = elsewhere(cell.place(device)).unwrap();
        let x_t = uniform(&[2, 3], 3);
        let one = cell.forward(&x_t, None).unwrap();
        assert_eq!(elsewhere(cell.request(&x_t)).unwrap(), one, "{device}");
        let two = cell.forward(&x_t, &one).unwrap();
        assert_eq!(elsewhere(cell.request(&x_t).state(&one)).unwrap(), two, "{device}");
        let mut resident = elsewhere(cell.zero_state(2)).unwrap();
        elsewhere(cell.request_step(&x_t, &mut resident)).unwrap();
        assert_eq!(elsewhere(resident.read()).unwrap(), one, "{device}");
        assert_eq!(elsewhere(elsewhere(cell.state_from(&two)).unwrap().read()).unwrap(), two, "{device}");
    });
}

/// A computation on the CPU holds the executor's thread, so that others run before it, and it can be dropped until
/// then: a request that is polled once has asked to be polled again and has changed nothing.
#[test]
fn an_awaited_request_on_the_cpu_lets_others_run_before_it_computes() {
    #[derive(Default)]
    struct Woken(AtomicUsize);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    /// Polls once, and to the end if asked to.
    fn polled<T>(request: impl IntoFuture<Output = Result<T, Error>>, to_the_end: bool) -> Option<T> {
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut context = Context::from_waker(&waker);
        let mut future = std::pin::pin!(request.into_future());
        assert!(future.as_mut().poll(&mut context).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "an executor would not poll again");
        if !to_the_end {
            return None;
        }
        let Poll::Ready(result) = future.poll(&mut context) else { panic!("the second poll is to compute") };
        Some(result.unwrap())
    }
    let device = Device::cpu();
    let gru = Gru::random(GruConfig::new(3, 8), 1).unwrap().to(&device).unwrap();
    let x = uniform(&[6, 2, 3], 2);
    let (output, h) = gru.forward(&x, None).unwrap();
    assert_eq!(polled(gru.request(&x), true).unwrap(), (output.clone(), h));

    let mut streams = gru.streams(2).run().unwrap();
    assert!(polled(streams.request(&x), false).is_none());
    assert_eq!(polled(streams.request(&x), true).unwrap(), output, "the dropped push has moved the streams");

    let cell = GruCell::random(GruCellConfig::new(3, 8), 1).unwrap().to(&device).unwrap();
    let above = GruCell::random(GruCellConfig::new(8, 8), 2).unwrap().to(&device).unwrap();
    let x_t = uniform(&[2, 3], 3);
    let one = cell.forward(&x_t, None).unwrap();
    assert_eq!(polled(cell.request(&x_t), true).unwrap(), one);
    let mut state = cell.zero_state(2).run().unwrap();
    let mut state_above = above.zero_state(2).run().unwrap();
    polled(cell.request_step(&x_t, &mut state), false);
    polled(cell.request_step(&x_t, &mut state), true).unwrap();
    assert_eq!(state.read().run().unwrap(), one);
    polled(above.request_step(&state, &mut state_above), false);
    polled(above.request_step(&state, &mut state_above), true).unwrap();
    assert_eq!(state_above.read().run().unwrap(), above.forward(&one, None).unwrap());
}

#[test]
fn a_dropped_forward_leaves_the_model_usable() {
    let Some(gpu) = gpu() else { return };
    let model = small_lstm().to(&gpu).unwrap();
    let x = uniform(&[40, 2, 3], 4);
    let expected = model.forward(&x, None).unwrap().0;
    for _ in 0..3 {
        let mut future = model.request(&x).into_future();
        // Far enough to have submitted work.
        let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(future);
    }
    assert_eq!(bits(&model.forward(&x, None).unwrap().0), bits(&expected));
}

/// The last state alone is that of a whole forward, bit for bit, in every kind, with lengths and an initial state.
#[test]
fn the_last_state_alone_is_that_of_a_whole_forward() {
    fn check<K: Kind>(device: &Device, config: Config<K>) {
        let model = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
        let (x, initial) = (uniform(&[7, 3, 3], 2), state(&config, 3, 3));
        let asked = || model.request(&x).state(&initial).lengths(&[7, 2, 0]);
        let (_, expected) = asked().run().unwrap();
        // Both orders: the results that one call reads back must not affect the next.
        for _ in 0..2 {
            let last = asked().last_state().run().unwrap();
            assert_eq!(last, expected, "{config} on {device}");
            assert_eq!(asked().run().unwrap().1, expected, "{config} on {device}");
        }
        let empty = model.request(&Tensor::zeros([0, 3, 3]).unwrap()).state(&initial).last_state().run().unwrap();
        assert_eq!(empty, initial, "{config} on {device}");
    }
    on_both(|device| {
        check(device, LstmConfig::new(3, 9).with_num_layers(2).with_bidirectional(true));
        check(device, LstmConfig::new(3, 9).with_num_layers(2).with_proj_size(4));
        check(device, GruConfig::new(3, 9));
        check(device, RnnConfig::new(3, 9).with_num_layers(3));
    });
}

/// A device whose buffers are too small for reading back the output, or both output and states, still returns the last
/// state, which shows that the output is not read back.
#[test]
fn the_output_is_not_read_back_if_only_the_state_is_wanted() {
    if gpu().is_none() {
        return;
    }
    let (device, queue) = crate::support::own_device(|limits| {
        limits.max_buffer_size = 1 << 18;
        limits.max_storage_buffer_binding_size = 1 << 18;
    });
    let device = Device::from_wgpu(device, queue);
    let layer = Gru::random(GruConfig::new(1, 32), 1).unwrap();
    let gru = layer.to(&device).unwrap();
    // The output has 2^18 bytes, the most that a buffer can hold; a readback of both would add h to that.
    let x = uniform(&[1024, 2, 1], 2);
    let error = gru.forward(&x, None).unwrap_err();
    assert!(matches!(error, Error::Limit { ref what, .. } if what.contains("readback")), "{error}");
    let last = gru.request(&x).last_state().run().unwrap();
    let (_, expected) = layer.to(&gpu().unwrap()).unwrap().forward(&x, None).unwrap();
    assert_eq!(bits(&last), bits(&expected));
}

#[test]
fn an_output_goes_into_memory_of_exactly_its_size() {
    on_both(|device| {
        let gru = Gru::random(GruConfig::new(3, 5).with_bidirectional(true), 1).unwrap().to(device).unwrap();
        let x = uniform(&[4, 2, 3], 2);
        let (output, h) = gru.request(&x).lengths(&[4, 1]).padding_value(9.0).run().unwrap();
        let mut memory = vec![7.0; 80];
        let got = gru.request(&x).lengths(&[4, 1]).padding_value(9.0).output_into(&mut memory).run().unwrap();
        assert_eq!((got, &memory[..]), (h, output.data()), "{device}");
        for elements in [0, 79, 81] {
            let mut memory = vec![7.0; elements];
            let error = gru.request(&x).output_into(&mut memory).run().unwrap_err();
            assert_eq!(error.to_string(), format!("output: shape [4, 2, 10] holds 80 elements, got {elements}"));
            assert!(memory.iter().all(|&v| v == 7.0));
        }

        let gru = Gru::random(GruConfig::new(3, 5), 1).unwrap().to(device).unwrap();
        let mut streams = gru.streams(2).run().unwrap();
        let before = streams.snapshot(&streams.slots().to_vec()).run().unwrap();
        let error = streams.request(&x).output_into(&mut [0.0; 39]).run().unwrap_err();
        assert_eq!(error.to_string(), "output: shape [4, 2, 5] holds 40 elements, got 39");
        // No stream has advanced.
        assert_eq!(streams.snapshot(streams.slots()).run().unwrap(), before, "{device}");
        let mut memory = [0.0; 40];
        streams.request(&x).output_into(&mut memory).run().unwrap();
        assert_eq!(&memory[..], gru.forward(&x, None).unwrap().0.data(), "{device}");
    });
}

/// For any slots in any order, row b is the stream `slots[b]`; slots that are not named keep their states.
#[test]
fn many_slots_are_read_and_set_as_one_batch() {
    fn check<K: Kind>(device: &Device, config: Config<K>) {
        let model = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
        let n = 40;
        let mut streams = model.streams(n).run().unwrap();
        let (_, last) = model.forward(&uniform(&[3, n, 3], 2), None).unwrap();
        streams.push(&uniform(&[3, n, 3], 2)).unwrap();
        let slots = streams.slots().to_vec();
        // Neighbors, a run that goes backwards, and separate rows: more than a push would copy one by one.
        let order: Vec<usize> = (0..5).chain((20..30).rev()).chain([11, 17, 31, 33, 9, 7]).collect();
        let named: Vec<_> = order.iter().map(|&row| slots[row]).collect();
        let snapshot = streams.snapshot(&named).run().unwrap();
        for (got, last) in K::arrays(&snapshot).into_iter().zip(K::arrays(&last)) {
            let expected = permute(last, 1, &order);
            assert_eq!((got.shape(), bits(got)), (expected.shape(), bits(&expected)), "{config} on {device}");
        }
        // In the reverse order, into the rows of the first batch.
        let reversed: Vec<_> = named.iter().rev().copied().collect();
        streams.restore(&reversed, &snapshot).run().unwrap();
        streams.reset(&slots[38..]).run().unwrap();
        let all = streams.snapshot(&slots).run().unwrap();
        for (got, last) in K::arrays(&all).into_iter().zip(K::arrays(&last)) {
            for row in 0..n {
                let expected = match order.iter().rev().position(|&named| named == row) {
                    _ if row >= 38 => vec![0; last.data().len() / n],
                    Some(at) => bits(&slice(last, 1, order[at]..order[at] + 1)),
                    None => bits(&slice(last, 1, row..row + 1)),
                };
                assert_eq!(bits(&slice(got, 1, row..row + 1)), expected, "{config} on {device}, row {row}");
            }
        }
        // A state of one row, with and without the batch dimension.
        let one = streams.snapshot(&slots[3]).run().unwrap();
        let unbatched = |array: &Tensor| Tensor::new([array.shape()[0], array.shape()[2]], array.data()).unwrap();
        let flat = K::state(K::arrays(&one).into_iter().map(unbatched).collect()).unwrap();
        streams.restore(&slots[39], &flat).run().unwrap();
        assert_eq!(streams.snapshot(&slots[39]).run().unwrap(), one, "{config} on {device}");
        // No slots at all.
        let none: [wgpu_rnn::Slot; 0] = [];
        let empty = streams.snapshot(&none).run().unwrap();
        assert!(K::arrays(&empty).iter().all(|array| array.shape()[1] == 0));
        streams.restore(&none, &empty).run().unwrap();
        streams.reset(&none).run().unwrap();
        assert!(matches!(streams.snapshot(&[slots[1], slots[1]]).run(), Err(Error::Config { argument: "slot", .. })));
    }
    on_both(|device| {
        check(device, LstmConfig::new(3, 9).with_num_layers(2));
        check(device, LstmConfig::new(3, 9).with_proj_size(4));
        check(device, GruConfig::new(3, 9).with_num_layers(3));
    });
}

/// Slices, views and arrays of other crates are read in place.
#[test]
fn inputs_are_views() {
    on_both(|device| {
        let lstm: PlacedLstm = Lstm::random(LstmConfig::new(3, 8), 1).unwrap().to(device).unwrap();
        let x = uniform(&[4, 2, 3], 2);
        let expected = lstm.forward(&x, None).unwrap();
        let view = TensorView::new([4, 2, 3], x.data()).unwrap();
        assert_eq!(lstm.forward(&view, None).unwrap(), expected);
        assert_eq!(lstm.forward(&x.view([4, 2, 3]).unwrap(), None).unwrap(), expected);
        assert_eq!(lstm.streams(2).run().unwrap().push(&view).unwrap(), expected.0);
        let error = TensorView::new([4, 2, 3], &x.data()[1..]).unwrap_err();
        assert_eq!(error.to_string(), "view: shape [4, 2, 3] holds 24 elements, got 23");
        // If the type of an input is not given, it is inferred from the model.
        let zeros = Tensor::zeros([4, 2, 3]).unwrap();
        lstm.forward(&zeros, None).unwrap();
        lstm.forward(&zeros, &expected.1).unwrap();
        lstm.forward(&zeros, Some(&expected.1)).unwrap();
    });
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_arrays_in_standard_layout_are_inputs() {
    use ndarray::{Array3, ArrayView2, s};

    let lstm = Lstm::random(LstmConfig::new(3, 8), 1).unwrap().to(&Device::cpu()).unwrap();
    let x = uniform(&[4, 2, 3], 2);
    let expected = lstm.forward(&x, None).unwrap();
    let array = Array3::from_shape_vec((4, 2, 3), x.data().to_vec()).unwrap();
    assert_eq!(lstm.forward(&array, None).unwrap(), expected);
    assert_eq!(lstm.request(&array.view()).run().unwrap(), expected);
    assert_eq!(lstm.forward(&array.into_dyn(), None).unwrap(), expected);
    let row = ArrayView2::from_shape((8, 3), x.data()).unwrap();
    assert_eq!(lstm.forward(&row.slice(s![..4, ..]), None).unwrap().0.shape(), [4, 8]);
    // Every second row: the elements are not contiguous.
    let error = lstm.forward(&row.slice(s![..;2, ..]), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an ndarray array that is not in standard layout is not supported: its elements do not lie in the order of its \
         indices; `as_standard_layout` gives one that does"
    );
}
