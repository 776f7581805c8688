//! Ways to run a recurrence: all of them give the numbers of the reference, and one that cannot run says why.

use wgpu_rnn::wgpu::{self, BufferUsages as Use};
use wgpu_rnn::{
    AllStates, Config, Device, Error, GruConfig, Kind, Layer, Lstm, LstmBuffers, LstmConfig, Mode, Nonlinearity,
    Placed, Precision, RnnConfig, Strategy, Tensor,
};

use crate::compare::{Tolerance, compare};
use crate::support::{bits, gpu, oracle, own_device, reduction_length, slice, state, under_test, uniform};

fn forced<K: Kind>(config: &Config<K>, gpu: &Device, strategy: Strategy) -> Placed<K> {
    let placed = Layer::random(config.clone(), 1).unwrap().to(gpu).unwrap();
    placed.set_strategy(strategy).unwrap();
    placed
}

/// The strategies that can run a model, besides the automatic choice.
fn possible<K: Kind>(config: &Config<K>) -> Vec<Strategy> {
    let stack = config.num_layers() > 1 && config.directions() == 1;
    // Neither a projection nor a second product, which are a dispatch of their own after each step.
    let one_product = !config.to_string().contains("reset_after=false");
    let plain = config.recurrent_size() == config.hidden_size() && one_product;
    let runs = |strategy: &Strategy| match strategy {
        Strategy::Step => true,
        Strategy::Sequence => plain,
        Strategy::Wavefront => plain && stack,
        _ => false,
    };
    Strategy::ALL.into_iter().filter(runs).collect()
}

fn shape<K: Kind>(config: &Config<K>, t: usize, b: usize) -> [usize; 3] {
    let [first, second] = if config.batch_first() { [b, t] } else { [t, b] };
    [first, second, config.input_size()]
}

fn check<K: Kind>(gpu: &Device, config: &Config<K>, t: usize, b: usize) {
    let layer = Layer::random(config.clone(), 1).unwrap();
    let (x, initial) = (uniform(&shape(config, t, b), 2), state(config, b, 3));
    let (expected, expected_last) = oracle(&layer, &x, Some(&initial));
    let tolerance = Tolerance::of_f32_sum(reduction_length(config));
    let of_steps = forced(config, gpu, Strategy::Step).forward(&x, Some(&initial)).unwrap();
    for strategy in possible(config) {
        let name = format!("{config}, T={t}, B={b}, {strategy}");
        let placed = forced(config, gpu, strategy);
        assert_eq!(placed.plan(t, b).unwrap().strategy(), Some(strategy), "{name}");
        let (output, last) = placed.forward(&x, Some(&initial)).unwrap();
        compare(&name, output.data(), expected.data(), tolerance).unwrap();
        for (got, expected) in K::arrays(&last).into_iter().zip(K::arrays(&expected_last)) {
            compare(&name, got.data(), expected.data(), tolerance).unwrap();
        }
        // Overlapping layers changes when a step is done, and nothing else.
        if strategy == Strategy::Wavefront {
            assert_eq!(bits(&output), bits(&of_steps.0), "{name}");
            for (got, expected) in K::arrays(&last).into_iter().zip(K::arrays(&of_steps.1)) {
                assert_eq!(bits(got), bits(expected), "{name}");
            }
        }
    }
}

#[test]
fn every_strategy_gives_the_numbers_of_the_reference() {
    let Some(gpu) = gpu() else { return };
    // Around the registers of the sequence kernel (16, 32, 64 units), its blocks of four k, and its workgroups.
    for hidden in [1, 3, 4, 5, 15, 16, 17, 31, 33, 63, 64, 65, 100, 129] {
        check(&gpu, &LstmConfig::new(3, hidden), 5, 3);
        check(&gpu, &GruConfig::new(3, hidden).with_bidirectional(true), 4, 2);
        check(&gpu, &GruConfig::new(3, hidden).with_bidirectional(true).with_reset_after(false), 4, 2);
        check(&gpu, &RnnConfig::new(3, hidden).with_bias(false), 4, 1);
    }
    // Chunks of a wave that divide T, that do not, and waves whose middle never comes.
    for (layers, t) in [(2, 1), (2, 2), (2, 9), (3, 7), (5, 2), (5, 30), (32, 3)] {
        for batch in [1, 3, 9, 40] {
            check(&gpu, &LstmConfig::new(5, 12).with_num_layers(layers).with_batch_first(batch == 3), t, batch);
        }
        check(&gpu, &GruConfig::new(5, 12).with_num_layers(layers), t, 2);
        check(&gpu, &RnnConfig::new(5, 12).with_num_layers(layers).with_nonlinearity(Nonlinearity::Relu), t, 17);
    }
    // More than one line of the sequence kernel's grid.
    check(&gpu, &RnnConfig::new(1, 2), 2, 32_769);
}

/// Lengths, masks, the states after every step, weights as f16: what is asked of a forward is heard by every strategy.
#[test]
fn every_strategy_hears_every_option() {
    fn check<K: Kind>(gpu: &Device, config: &Config<K>) {
        let (t, lengths) = (11, [11, 0, 3, 11, 1, 8]);
        let (x, initial) = (uniform(&shape(config, t, lengths.len()), 2), state(config, lengths.len(), 3));
        let run = |strategy: Strategy, precision: Precision| -> AllStates<K> {
            let layer = Layer::random(config.clone(), 1).unwrap();
            let placed = layer.place(gpu).precision(precision).run().unwrap();
            placed.set_mode(Mode::Training { seed: 5 });
            placed.set_strategy(strategy).unwrap();
            placed.request(&x).state(&initial).lengths(&lengths).padding_value(-7.5).all_states().run().unwrap()
        };
        // Results of f32 on both sides, and dropout scales what a layer reads by two.
        let tolerance = Tolerance::of_f32_sum(4 * reduction_length(config));
        for precision in [Precision::F32, Precision::F16] {
            let expected = run(Strategy::Step, precision);
            for strategy in possible(config) {
                let name = format!("{config}, {strategy}, {precision:?}");
                let got = run(strategy, precision);
                compare(&name, got.output.data(), expected.output.data(), tolerance).unwrap();
                let states = [(&got.last, &expected.last), (&got.all, &expected.all)];
                for (got, expected) in states.map(|(got, expected)| (K::arrays(got), K::arrays(expected))) {
                    for (got, expected) in got.into_iter().zip(expected) {
                        compare(&name, got.data(), expected.data(), tolerance).unwrap();
                    }
                }
            }
        }
    }
    let Some(gpu) = gpu() else { return };
    for batch_first in [false, true] {
        check(&gpu, &LstmConfig::new(4, 20).with_num_layers(3).with_dropout(0.5).with_batch_first(batch_first));
        let gru = GruConfig::new(4, 20).with_num_layers(2).with_dropout(0.5).with_bidirectional(batch_first);
        check(&gpu, &gru.clone().with_reset_after(false));
        check(&gpu, &gru);
        check(&gpu, &RnnConfig::new(4, 20).with_num_layers(4).with_dropout(0.5).with_batch_first(batch_first));
    }
}

/// However a sequence is cut, in time chunks, in pushes or in forwards from state to state.
#[test]
fn a_sequence_in_pieces_is_the_whole_bit_for_bit_with_every_strategy() {
    let Some(gpu) = gpu() else { return };
    check_pieces(&gpu, &LstmConfig::new(3, 18).with_num_layers(3));
    check_pieces(&gpu, &GruConfig::new(3, 18).with_num_layers(3).with_reset_after(false));
}

fn check_pieces<K: Kind>(gpu: &Device, config: &Config<K>) {
    let x = uniform(&[23, 5, 3], 2);
    for strategy in possible(config) {
        let placed = forced(config, gpu, strategy);
        let (whole, last) = placed.forward(&x, None).unwrap();
        let mut streams = placed.streams(5).run().unwrap();
        let (mut at, mut carried) = (0, None);
        for steps in [1, 2, 9, 1, 10] {
            let piece = slice(&x, 0, at..at + steps);
            let expected = bits(&slice(&whole, 0, at..at + steps));
            assert_eq!(bits(&streams.push(&piece).unwrap()), expected, "{strategy} at {at}");
            let (output, state) = placed.forward(&piece, carried.as_ref()).unwrap();
            assert_eq!(bits(&output), expected, "{strategy} at {at}");
            (at, carried) = (at + steps, Some(state));
        }
        let ends = [&last, carried.as_ref().unwrap()].map(|state| K::arrays(state).into_iter().map(bits).collect());
        let [whole_end, end]: [Vec<_>; 2] = ends;
        assert_eq!(whole_end, end, "{strategy}");
        // Less memory, and so more chunks.
        let free = placed.plan(23, 5).unwrap();
        placed.set_memory_limit(free.device_bytes() - 2000);
        assert!(
            placed.plan(23, 5).unwrap().as_gpu().unwrap().dispatch_count() > free.as_gpu().unwrap().dispatch_count(),
            "{strategy}"
        );
        assert_eq!(bits(&placed.forward(&x, None).unwrap().0), bits(&whole), "{strategy}");
    }
}

#[test]
fn fewer_dispatches_wait_for_each_other() {
    let Some(gpu) = gpu() else { return };
    let config = LstmConfig::new(8, 16).with_num_layers(4);
    let dispatches =
        |strategy: Strategy| forced(&config, &gpu, strategy).plan(100, 2).unwrap().as_gpu().unwrap().dispatch_count();
    assert_eq!(dispatches(Strategy::Step), 4 * (100 + 1));
    assert_eq!(dispatches(Strategy::Sequence), 4 * 2);
    // Chunks of 11 steps: nine whole ones and a single step. Three waves more than chunks, each as long as its topmost
    // layer's.
    assert_eq!(dispatches(Strategy::Wavefront), 4 * 10 + 100 + 3 * 11);
    // The second product reads what the first has left of all units.
    let gru = forced(&GruConfig::new(8, 16).with_num_layers(4).with_reset_after(false), &gpu, Strategy::Auto);
    let plan = gru.plan(100, 2).unwrap();
    assert_eq!((plan.strategy(), plan.as_gpu().unwrap().dispatch_count()), (Some(Strategy::Step), 4 * (1 + 2 * 100)));
}

#[test]
fn a_strategy_that_cannot_run_says_why_and_changes_nothing() {
    fn rejected<K: Kind>(config: &Config<K>, device: &Device, strategy: Strategy) -> Error {
        let placed = Layer::random(config.clone(), 1).unwrap().to(device).unwrap();
        let before = placed.plan(3, 2).unwrap().strategy();
        let error = placed.set_strategy(strategy).unwrap_err();
        assert_eq!(placed.plan(3, 2).unwrap().strategy(), before);
        placed.forward(&Tensor::zeros([3, 2, config.input_size()]).unwrap(), None).unwrap();
        error
    }
    let Some(gpu) = gpu() else { return };
    let message = |config: LstmConfig, strategy| rejected(&config, &gpu, strategy).to_string();
    assert_eq!(
        message(LstmConfig::new(2, 8).with_proj_size(3), Strategy::Sequence),
        "the sequence strategy for LSTM(2, 8, proj_size=3) is not supported: the projection of h needs a separate \
         dispatch after each step"
    );
    let gru = GruConfig::new(2, 8).with_num_layers(2).with_reset_after(false);
    for strategy in [Strategy::Sequence, Strategy::Wavefront] {
        assert_eq!(
            rejected(&gru, &gpu, strategy).to_string(),
            format!(
                "the {strategy} strategy for GRU(2, 8, num_layers=2, reset_after=false) is not supported: the second \
                 product of a step needs a separate dispatch"
            )
        );
    }
    // Some adapters have no more in a row than in all.
    let (device, queue) = own_device(|limits| limits.max_compute_workgroup_size_x = 256);
    let small = under_test(Device::from_wgpu(device, queue));
    assert_eq!(
        rejected(&GruConfig::new(2, 257), &small, Strategy::Sequence).to_string(),
        "the sequence kernel needs 512 of max_compute_workgroup_size_x, the device has 256"
    );
    for (config, why) in [
        (LstmConfig::new(2, 8), "one layer has nothing to overlap with"),
        (
            LstmConfig::new(2, 8).with_num_layers(2).with_bidirectional(true),
            "the reverse direction of a layer starts where the layer below ends",
        ),
        (
            LstmConfig::new(2, 8).with_num_layers(2).with_proj_size(3),
            "the projection of h needs a separate dispatch after each step",
        ),
        (LstmConfig::new(2, 8).with_num_layers(33), "it runs at most 32 layers"),
    ] {
        let expected = format!("the wavefront strategy for {config} is not supported: {why}");
        assert_eq!(message(config, Strategy::Wavefront), expected);
    }
    // One layer's weights fit, those of four do not.
    let (device, queue) = own_device(|limits| limits.max_storage_buffer_binding_size = 20_000);
    let small = under_test(Device::from_wgpu(device, queue));
    let config = LstmConfig::new(2, 32).with_num_layers(4);
    assert_eq!(
        rejected(&config, &small, Strategy::Wavefront).to_string(),
        format!(
            "the wavefront strategy for {config} is not supported: the recurrent weights of all layers exceed the \
             largest buffer of this device"
        )
    );
}

/// The output of a wave is copied to the caller's buffer, which must allow that.
#[test]
fn a_wave_is_recorded_over_the_callers_buffers() {
    let Some(gpu) = gpu() else { return };
    let (device, queue) = gpu.wgpu().unwrap();
    let config = LstmConfig::new(3, 10).with_num_layers(3).with_batch_first(true);
    let placed: Placed<_> = Lstm::random(config, 1).unwrap().to(&gpu).unwrap();
    let x = uniform(&[2, 7, 3], 2);
    let (expected, _) = placed.forward(&x, None).unwrap();
    placed.set_strategy(Strategy::Wavefront).unwrap();
    let make = |elements: usize, usage: Use| {
        let size = (elements * 4) as u64;
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let all = Use::STORAGE | Use::COPY_SRC | Use::COPY_DST;
    let (input, output) = (make(2 * 7 * 3, all), make(2 * 7 * 10, all));
    let (h_n, c_n) = (make(3 * 2 * 10, all), make(3 * 2 * 10, all));
    queue.write_buffer(&input, 0, bytemuck::cast_slice(x.data()));
    let mut encoder = device.create_command_encoder(&Default::default());
    placed.encode(&mut encoder, 7, 2, &LstmBuffers::new(&input, &output, &h_n, &c_n)).unwrap();
    let staging = make(2 * 7 * 10, Use::MAP_READ | Use::COPY_DST);
    encoder.copy_buffer_to_buffer(&output, 0, &staging, 0, staging.size());
    queue.submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |result| result.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let got: Vec<f32> = bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).unwrap());
    compare("recorded", &got, expected.data(), Tolerance::of_f32_sum(3 + 10 + 2 + 10)).unwrap();

    let fixed = make(2 * 7 * 10, Use::STORAGE);
    let mut encoder = device.create_command_encoder(&Default::default());
    let error = placed.encode(&mut encoder, 7, 2, &LstmBuffers::new(&input, &fixed, &h_n, &c_n)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "buffer output: expected usage COPY_DST, as the wavefront strategy copies the output, got BufferUsages(STORAGE)"
    );
    placed.set_strategy(Strategy::Auto).unwrap();
    placed.encode(&mut encoder, 7, 2, &LstmBuffers::new(&input, &fixed, &h_n, &c_n)).unwrap();
}

#[test]
fn the_fastest_strategy_is_found_and_remembered() {
    let cpu = Lstm::random(LstmConfig::new(3, 8), 1).unwrap().to(&Device::cpu()).unwrap();
    // The CPU has one way to run.
    assert_eq!(cpu.tune(&[4, 2, 3]).unwrap(), Strategy::Auto);
    assert!(matches!(cpu.tune(&[4, 2, 4]), Err(Error::Shape { .. })));
    if gpu().is_none() {
        return;
    }
    // A device of its own, as what is found is the device's.
    let (device, queue) = own_device(|_| {});
    let gpu = under_test(Device::from_wgpu(device, queue));
    let config = LstmConfig::new(3, 20).with_num_layers(2);
    let model = forced(&config, &gpu, Strategy::Auto);
    let best = model.tune(&[20, 3, 3]).unwrap();
    assert!(possible(&config).contains(&best), "{best}");
    // For any length, and for other models of the sizes; not for another batch.
    let other = Lstm::random(config.clone().with_batch_first(true), 9).unwrap().to(&gpu).unwrap();
    for model in [&model, &other] {
        assert_eq!(model.plan(7, 3).unwrap().strategy(), Some(best));
        assert_eq!(model.plan(1000, 3).unwrap().strategy(), Some(best));
    }
    // A request takes precedence over the timed choice.
    for strategy in possible(&config) {
        model.set_strategy(strategy).unwrap();
        assert_eq!(model.plan(7, 3).unwrap().strategy(), Some(strategy));
    }
    let x = uniform(&[7, 3, 3], 2);
    model.set_strategy(Strategy::Auto).unwrap();
    let by_choice = model.forward(&x, None).unwrap();
    model.set_strategy(best).unwrap();
    assert_eq!(model.forward(&x, None).unwrap(), by_choice);
    assert!(matches!(model.tune(&[7, 3, 4]), Err(Error::Shape { .. })));
    model.tune(&[0, 3, 3]).unwrap();

    // One way to run is the fastest. It is not taken for that of the other GRU of the same sizes.
    let gru = GruConfig::new(3, 20).with_num_layers(2);
    let before = forced(&gru.clone().with_reset_after(false), &gpu, Strategy::Auto);
    assert_eq!(before.tune(&[7, 3, 3]).unwrap(), Strategy::Step);
    let after = forced(&gru, &gpu, Strategy::Auto);
    let chosen = format!("{:#}", after.plan(7, 3).unwrap());
    assert!(!chosen.contains("timed"), "{chosen}");
    let chosen = format!("{:#}", before.plan(7, 3).unwrap());
    assert!(chosen.contains("timed"), "{chosen}");
}

/// llvmpipe ends the loops of an invocation after 65,535 turns, all of them together, and says nothing.
#[test]
fn long_sequences_and_wide_projections_are_summed_to_the_end() {
    let Some(gpu) = gpu() else { return };
    let config = RnnConfig::new(2, 128);
    let (layer, x) = (Layer::random(config.clone(), 1).unwrap(), uniform(&[2300, 1, 2], 2));
    let (output, _) = forced(&config, &gpu, Strategy::Sequence).forward(&x, None).unwrap();
    let tolerance = Tolerance::of_f32_sum(reduction_length(&config));
    compare("sequence", output.data(), oracle(&layer, &x, None).0.data(), tolerance).unwrap();

    let config = LstmConfig::new(1, 70_000).with_proj_size(1);
    let (layer, x) = (Layer::random(config.clone(), 1).unwrap(), uniform(&[2, 1, 1], 2));
    let (output, _) = layer.to(&gpu).unwrap().forward(&x, None).unwrap();
    // 70,000 terms of at most 1/sqrt(H) each, rounded one after the other: far above what was lost when the sum was
    // cut.
    let tolerance = Tolerance { absolute: 70_000.0 / 70_000_f64.sqrt() * f64::from(f32::EPSILON), relative: 0.0 };
    compare("projection", output.data(), oracle(&layer, &x, None).0.data(), tolerance).unwrap();
}

/// A stream is one sequence from beginning to end, whatever is set in between.
#[test]
fn streams_keep_the_strategy_that_they_started_with() {
    let Some(gpu) = gpu() else { return };
    let config = LstmConfig::new(3, 50);
    let x = uniform(&[9, 2, 3], 2);
    for (first, then) in [(Strategy::Step, Strategy::Sequence), (Strategy::Sequence, Strategy::Step)] {
        let placed = forced(&config, &gpu, first);
        let whole = bits(&placed.forward(&x, None).unwrap().0);
        let mut streams = placed.streams(2).run().unwrap();
        placed.set_strategy(then).unwrap();
        // Were these the same bits, nothing would be shown.
        assert_ne!(bits(&placed.forward(&x, None).unwrap().0), whole, "{first}");
        let pushed = [0..4, 4..9].map(|piece| bits(&streams.push(&slice(&x, 0, piece)).unwrap())).concat();
        assert_eq!(pushed, whole, "{first}");
    }
}

#[test]
fn a_long_sequence_runs_in_several_chunks() {
    let Some(gpu) = gpu() else { return };
    // More steps than a chunk can have (4096), in the smallest model.
    let lstm = Lstm::random(LstmConfig::new(1, 1), 5).unwrap();
    let x = uniform(&[9000, 1], 6);
    let model = lstm.to(&gpu).unwrap();
    let (expected, _) = oracle(&lstm, &x, None);
    for (strategy, dispatches) in [(Strategy::Step, 9003), (Strategy::Sequence, 6)] {
        model.set_strategy(strategy).unwrap();
        // Submissions on OpenGL's software adapters are short, and a dispatch is not longer than a submission.
        if gpu.adapter_info().unwrap().backend != wgpu::Backend::Gl {
            assert_eq!(model.plan(9000, 1).unwrap().as_gpu().unwrap().dispatch_count(), dispatches);
        }
        let (output, _): (Tensor, _) = model.forward(&x, None).unwrap();
        let tolerance = Tolerance::of_f32_sum(4);
        compare(strategy.name(), output.data(), expected.data(), tolerance).unwrap();
    }
}
