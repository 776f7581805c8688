//! Memory on the device: forwards and streams keep to its limit, and warm calls allocate nothing.

use wgpu_rnn::{
    AdamW, Config, Device, Error, GpuOptions, Gru, GruConfig, Kind, Layer, Lstm, LstmConfig, Mode, Optimizer,
    RnnConfig, Strategy, Tensor, wgpu,
};

use crate::support::{bits, gpu, under_test, uniform};

/// Returns the bytes of this crate's buffers on a device, as counted by wgpu; `None` if it does not count them.
fn bytes_on(device: &Device) -> Option<u64> {
    let (device, _) = device.wgpu().unwrap();
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let report = device.generate_allocator_report()?;
    let own = report.allocations.iter().filter(|allocation| allocation.name.starts_with("wgpu-rnn"));
    Some(own.map(|allocation| allocation.size).sum())
}

/// Buffers that a push leaves for the next one are no reason to exceed the memory limit of a forward.
#[test]
fn streams_stay_within_the_memory_limit_of_a_forward() {
    if gpu().is_none() {
        return;
    }
    let device = under_test(Device::gpu(&GpuOptions::new()).unwrap());
    let model = Gru::random(GruConfig::new(1, 8), 1).unwrap().to(&device).unwrap();
    model.set_strategy(Strategy::Step).unwrap();
    let mut streams = model.streams(4096).run().unwrap();
    let slots = streams.slots().to_vec();
    let Some(before) = bytes_on(&device) else { return };
    let limit = model.plan(1, 4096).unwrap().device_bytes() + 50_000;
    model.set_memory_limit(limit);
    let mut push = |rows: usize, steps: usize| {
        let chunk = Tensor::zeros([steps, rows, 1]).unwrap();
        streams.request(&chunk).slots(&slots[..rows]).run().unwrap();
        bytes_on(&device).unwrap() - before
    };
    // A long push, then a wide one; together they would exceed the limit.
    for (rows, steps) in [(1, 8000), (4096, 1), (1, 8000)] {
        let taken = push(rows, steps);
        assert!(taken <= limit, "{taken} bytes of {limit}, {rows} rows of {steps} steps");
    }
    let lower = limit / 2;
    model.set_memory_limit(lower);
    let taken = push(1, 1);
    assert!(taken <= lower, "{taken} bytes of {lower}");
}

/// After `warm_up`, a forward creates no buffers, in training mode either.
#[test]
fn a_forward_after_warm_up_creates_nothing() {
    if gpu().is_none() {
        return;
    }
    for training in [false, true] {
        let device = under_test(Device::gpu(&GpuOptions::new()).unwrap());
        let config = GruConfig::new(5, 40).with_num_layers(2).with_dropout(0.5);
        let model = Gru::random(config, 1).unwrap().to(&device).unwrap();
        if training {
            model.set_mode(Mode::Training { seed: 1 });
        }
        model.warm_up(&[60, 9, 5]).run().unwrap();
        let before = bytes_on(&device);
        model.forward(&uniform(&[60, 9, 5], 2), None).unwrap();
        assert_eq!(bytes_on(&device), before, "training: {training}");
    }
}

/// A training pass takes the bytes that its plan tells, and the next ones of the shape take nothing more.
#[test]
fn a_training_pass_takes_the_bytes_of_its_plan() {
    fn check<K: Kind>(config: Config<K>, t: usize, b: usize) {
        // Counts of a device include those of other tests, so that each shape has its own.
        let device = under_test(Device::gpu(&GpuOptions::new()).unwrap());
        let model = Layer::<K>::random(config, 1).unwrap().to(&device).unwrap();
        let Some(before) = bytes_on(&device) else { return };
        let plan = model.plan_training(t, b).unwrap();
        let x = uniform(&[t, b, model.config().input_size()], 2);
        for pass in 0..3 {
            let dy = uniform(&[t, b, model.config().directions() * model.config().recurrent_size()], 3);
            model.forward_train(&x, None).unwrap().backward(&dy, None).unwrap();
            let taken = bytes_on(&device).unwrap() - before;
            // A driver rounds each of some thirty buffers up, mostly to 16 or 64 bytes.
            let expected = plan.device_bytes()..=plan.device_bytes() + 30 * 64;
            let name = format!("pass {pass} of {} over T = {t}, B = {b}: {plan}", model.config());
            assert!(expected.contains(&taken), "{name}: {taken} bytes instead of {}", plan.device_bytes());
        }
    }
    if gpu().is_none() {
        return;
    }
    for (t, b) in [(1, 1), (7, 3), (50, 16)] {
        check(LstmConfig::new(5, 24), t, b);
        check(GruConfig::new(5, 24).with_num_layers(3).with_bidirectional(true), t, b);
        check(RnnConfig::new(5, 24).with_num_layers(2), t, b);
        check(LstmConfig::new(5, 24).with_num_layers(4).with_proj_size(7).with_bidirectional(true), t, b);
    }
    check(GruConfig::new(3, 40).with_reset_after(false), 20, 9);
}

/// A limit that is lowered while a pass is alive holds for the next one, whatever that pass leaves behind.
#[test]
fn a_limit_holds_for_the_pass_after_the_one_it_was_set_in() {
    if gpu().is_none() {
        return;
    }
    let device = under_test(Device::gpu(&GpuOptions::new()).unwrap());
    let model = Lstm::random(LstmConfig::new(5, 24), 1).unwrap().to(&device).unwrap();
    let (t, b) = (100, 8);
    let (x, dy) = (uniform(&[t, b, 5], 2), uniform(&[t, b, 24], 3));
    let Some(before) = bytes_on(&device) else { return };
    let pass = model.forward_train(&x, None).unwrap();
    let limit = model.plan_training(t, b).unwrap().device_bytes() * 3 / 4;
    model.set_memory_limit(limit);
    // Gradients of weights that a program keeps are its own, so none are kept.
    let expected = bits(pass.backward(&dy, None).unwrap().input());
    let got = model.forward_train(&x, None).unwrap().backward(&dy, None).unwrap();
    let taken = bytes_on(&device).unwrap() - before;
    // A driver rounds each of some thirty buffers up.
    assert!(taken <= limit + 30 * 64, "{taken} bytes of {limit}");
    assert_eq!(bits(got.input()), expected);
}

/// Steps of an optimiser take their moments once, and nothing more however many follow, recorded or not.
#[test]
fn steps_take_no_more_memory_than_the_first() {
    if gpu().is_none() {
        return;
    }
    let device = under_test(Device::gpu(&GpuOptions::new()).unwrap());
    let mut model = Lstm::random(LstmConfig::new(64, 64), 1).unwrap().to(&device).unwrap();
    let Some(before) = bytes_on(&device) else { return };
    let (x, dy) = (uniform(&[4, 2, 64], 2), uniform(&[4, 2, 64], 3));
    let mut optimizer = Optimizer::new(AdamW::new()).unwrap();
    let mut taken = Vec::new();
    for _ in 0..5 {
        let gradients = model.forward_train(&x, None).unwrap().backward(&dy, None).unwrap();
        let mut step = optimizer.step(0.1).clip_norm(1.0);
        step.layer("", &mut model, gradients.weights());
        step.run().unwrap();
        taken.push(bytes_on(&device).unwrap() - before);
    }
    assert!(taken[1..].iter().all(|&bytes| bytes == taken[0]), "{taken:?}");
    let pass = model.plan_training(4, 2).unwrap().device_bytes();
    let weights: usize = model.to_layer().unwrap().named().map(|(_, tensor)| tensor.data().len() * 4).sum();
    let moments = 2 * weights as u64;
    assert!((moments..=moments + 4096).contains(&(taken[0] - pass)), "{} instead of {moments}", taken[0] - pass);
}

/// What fits one limit fits every limit down to the bytes that it takes.
#[test]
fn a_training_pass_that_fits_a_limit_is_accepted() {
    fn check<K: Kind>(gpu: &Device, config: Config<K>) {
        let model = Layer::<K>::random(config, 1).unwrap().to(gpu).unwrap();
        let plan = |limit| {
            model.set_memory_limit(limit);
            model.plan_training(40, 64)
        };
        let mut limit = u64::MAX;
        let last = loop {
            let roomy = plan(limit).unwrap();
            let exact = plan(roomy.device_bytes()).unwrap();
            assert_eq!(exact, roomy, "{}", model.config());
            limit = roomy.device_bytes() - 1;
            if plan(limit).is_err() {
                break exact;
            }
        };
        assert_eq!(last.backward_chunk_steps(), 1, "{}: {last}", model.config());
    }
    let Some(gpu) = gpu() else { return };
    check(&gpu, LstmConfig::new(5, 64));
    check(&gpu, LstmConfig::new(5, 64).with_proj_size(16).with_num_layers(2));
    check(&gpu, GruConfig::new(5, 64).with_bidirectional(true));
    check(&gpu, RnnConfig::new(5, 64));
}

#[test]
fn less_memory_gives_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let model = Lstm::random(LstmConfig::new(5, 40).with_num_layers(2), 1).unwrap().to(&gpu).unwrap();
    let x = uniform(&[60, 9, 5], 2);
    model.warm_up(&[60, 9, 5]).run().unwrap();
    let (free, (expected, _)) = (model.plan(60, 9).unwrap(), model.forward(&x, None).unwrap());
    model.set_memory_limit(free.device_bytes() - 200_000);
    let bounded = model.plan(60, 9).unwrap();
    assert!(
        bounded.device_bytes() <= free.device_bytes() - 200_000
            && bounded.as_gpu().unwrap().dispatch_count() > free.as_gpu().unwrap().dispatch_count()
    );
    assert_eq!(bits(&model.forward(&x, None).unwrap().0), bits(&expected));
    model.set_memory_limit(1000);
    assert!(matches!(
        model.forward(&x, None),
        Err(Error::Limit { limit: "the bytes that set_memory_limit allows", .. })
    ));
    // Selecting a strategy takes no memory, so it succeeds.
    model.set_strategy(Strategy::Step).unwrap();
    model.set_strategy(Strategy::Auto).unwrap();
    // The same holds for streams, for which buffers already exist.
    model.set_memory_limit(u64::MAX);
    let mut streams = model.streams(9).run().unwrap();
    streams.push(&x).unwrap();
    model.set_memory_limit(1000);
    assert!(matches!(streams.push(&x), Err(Error::Limit { .. })));
    model.set_memory_limit(u64::MAX);
    streams.push(&x).unwrap();

    let cpu = Lstm::random(LstmConfig::new(5, 4), 1).unwrap().to(&Device::cpu()).unwrap();
    cpu.warm_up(&[6, 2, 5]).run().unwrap();
    assert!(matches!(cpu.warm_up(&[6, 2, 4]).run(), Err(Error::Shape { .. })));
}
