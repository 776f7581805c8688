//! The public types: their formatting, traits and accessors.

use wgpu_rnn::{
    AllStates, Cell, CellState, ConcatGates, Config, CpuPlan, Device, Error, GateLinear, GpuOptions, GpuPlan, Gru,
    GruCell, GruCellConfig, GruConfig, Layer, LayerWeights, Lstm, LstmBuffers, LstmCellBuffers, LstmConfig, LstmKind,
    LstmState, Mode, Nonlinearity, PackedSequence, Placed, PlacedCell, Plan, Precision, Request, Rnn, RnnConfig, Slot,
    Strategy, Streams, Tensor, TensorFile, TensorView, questions,
};

use crate::support::{bits, on_both, uniform};

/// Every type that a program may keep can be kept anywhere. Requests run on any thread.
#[test]
fn public_types_are_send_and_sync() {
    fn both<T: Send + Sync>() {}
    fn send<T: Send>() {}
    both::<AllStates<LstmKind>>();
    both::<Cell<LstmKind>>();
    both::<CellState<LstmKind>>();
    both::<ConcatGates>();
    both::<Config<LstmKind>>();
    both::<CpuPlan>();
    both::<Device>();
    both::<Error>();
    both::<GateLinear>();
    both::<GpuOptions>();
    both::<GpuPlan>();
    both::<Layer<LstmKind>>();
    both::<LayerWeights>();
    both::<LstmBuffers<'static>>();
    both::<LstmCellBuffers<'static>>();
    both::<LstmState>();
    both::<Mode>();
    both::<Nonlinearity>();
    both::<PackedSequence>();
    both::<Placed<LstmKind>>();
    both::<PlacedCell<LstmKind>>();
    both::<Plan>();
    both::<Precision>();
    both::<Slot>();
    both::<Strategy>();
    both::<Streams<LstmKind>>();
    both::<Tensor>();
    both::<TensorFile>();
    both::<TensorView<'static>>();
    both::<wgpu_rnn::LayerKind>();
    send::<Request<'static, ()>>();
    send::<Request<'static, LstmState, questions::Forward<'static, LstmKind, f32>>>();
    send::<Request<'static, (), questions::Push<'static, LstmKind, f32>>>();
    send::<Request<'static, (), questions::Encode<'static, LstmKind, f32>>>();
    send::<Request<'static, LstmState, questions::OneStep<'static, LstmKind, f32>>>();
    send::<Request<'static, (), questions::Place<'static, Lstm>>>();
    send::<Request<'static, (), questions::NewStreams<'static, LstmKind, f32>>>();
}

/// Weights are never printed; the output is a single line.
#[test]
fn debug_is_a_line() {
    fn line(value: &dyn std::fmt::Debug, expected: &str) {
        assert_eq!(format!("{value:?}"), expected);
        assert_eq!(format!("{value:#?}"), expected);
    }
    let device = Device::cpu();
    let lstm = Lstm::random(LstmConfig::new(100, 200).with_num_layers(2), 0).unwrap();
    line(&lstm, "Layer(LSTM(100, 200, num_layers=2))");
    line(&lstm.layers()[0], "LayerWeights(weight_ih [800, 100], weight_hh [800, 200], bias_ih [800], bias_hh [800])");
    let placed = lstm.to(&device).unwrap();
    line(&placed, "Placed(LSTM(100, 200, num_layers=2) on CPU)");
    line(&placed.streams(3).run().unwrap(), "Streams(3 streams through LSTM(100, 200, num_layers=2) on CPU)");
    let cell = GruCell::random(GruCellConfig::new(10, 20), 0).unwrap();
    line(&cell, "Cell(GRUCell(10, 20))");
    let placed = cell.to(&device).unwrap();
    line(&placed, "PlacedCell(GRUCell(10, 20) on CPU)");
    line(&placed.zero_state(3).run().unwrap(), "CellState(GRUCell(10, 20), B = 3)");
    line(&placed.zero_state(None).run().unwrap(), "CellState(GRUCell(10, 20), unbatched)");
}

#[test]
fn display_is_readable() {
    on_both(|device| {
        let lstm = Lstm::random(LstmConfig::new(10, 20), 0).unwrap();
        assert_eq!(lstm.to_string(), "LSTM(10, 20)");
        let placed = lstm.to(device).unwrap();
        assert_eq!(placed.to_string(), format!("LSTM(10, 20) on {device}"));
        let mut streams = placed.streams(1).run().unwrap();
        assert_eq!(streams.to_string(), format!("1 stream through LSTM(10, 20) on {device}"));
        let slot = streams.add().run().unwrap();
        assert!(slot.to_string().starts_with("slot "), "{slot}");
        let cell = GruCell::random(GruCellConfig::new(10, 20), 0).unwrap().to(device).unwrap();
        assert_eq!(cell.to_string(), format!("GRUCell(10, 20) on {device}"));
    });
    assert_eq!(Mode::Evaluation.to_string(), "evaluation");
    assert_eq!(Mode::Training { seed: 7 }.to_string(), "training, seed 7");
    assert_eq!([Precision::F32, Precision::F16].map(|precision| precision.to_string()), ["f32", "f16"]);
    assert_eq!([Nonlinearity::Tanh, Nonlinearity::Relu].map(|name| name.to_string()), ["tanh", "relu"]);
}

/// Getters have PyTorch's names, and return what `with_…` has set.
#[test]
fn getters_read_what_setters_set() {
    let config = LstmConfig::new(3, 9);
    assert_eq!((config.input_size(), config.hidden_size(), config.num_layers(), config.proj_size()), (3, 9, 1, 0));
    assert!(config.bias() && !config.batch_first() && !config.bidirectional() && config.dropout() == 0.0);
    let config = config.with_num_layers(4).with_bias(false).with_batch_first(true).with_dropout(0.25);
    let config = config.with_bidirectional(true).with_proj_size(5);
    assert_eq!((config.num_layers(), config.proj_size(), config.dropout()), (4, 5, 0.25));
    assert!(!config.bias() && config.batch_first() && config.bidirectional());
    assert_eq!((config.directions(), config.recurrent_size(), config.output_size()), (2, 5, 10));
    assert_eq!(RnnConfig::new(3, 9).nonlinearity(), Nonlinearity::Tanh);
    assert_eq!(RnnConfig::new(3, 9).with_nonlinearity(Nonlinearity::Relu).nonlinearity(), Nonlinearity::Relu);
    let rnn = Rnn::random(RnnConfig::new(3, 9), 0).unwrap().with_nonlinearity(Nonlinearity::Relu);
    assert_eq!(rnn.config().nonlinearity(), Nonlinearity::Relu);
    let rnn = rnn.with_batch_first(true).with_dropout(0.5).unwrap();
    assert!(rnn.config().batch_first() && rnn.config().dropout() == 0.5);
}

/// An unchecked configuration may have any sizes; none of its methods overflows.
#[test]
fn sizes_of_any_configuration_do_not_overflow() {
    let config = LstmConfig::new(3, usize::MAX).with_num_layers(usize::MAX).with_bidirectional(true);
    assert_eq!((config.output_size(), config.recurrent_size()), (usize::MAX, usize::MAX));
    let output = Tensor::<f32>::zeros([1, 2, 6]).unwrap();
    assert!(matches!(config.split_output(&output), Err(Error::Shape { .. })));
    assert!(matches!(config.split_state(&output), Err(Error::Shape { .. })));
    assert!(matches!(Lstm::random(config.clone(), 0), Err(Error::TooLarge { .. })));
    assert!(matches!(Lstm::new(config, Vec::<LayerWeights>::new()), Err(Error::TooLarge { .. })));
    let none = GruConfig::new(3, 4).with_num_layers(0).with_dropout(0.5);
    assert!(matches!(Gru::random(none, 0), Err(Error::Config { argument: "num_layers", .. })));
}

/// Clones are the same model: weights, mode and strategy are shared, and the layer is returned as it was.
#[test]
fn a_placed_model_is_shared_by_its_clones() {
    on_both(|device| {
        let layer = Lstm::random(LstmConfig::new(3, 8).with_num_layers(2).with_dropout(0.5), 1).unwrap();
        let one = layer.to(device).unwrap();
        let other = one.clone();
        assert_eq!(one.to_layer().unwrap(), layer);
        let x = uniform(&[4, 2, 3], 2);
        let expected = bits(&one.forward(&x, None).unwrap().0);
        other.set_mode(Mode::Training { seed: 3 });
        assert_eq!(one.mode(), Mode::Training { seed: 3 });
        assert_ne!(bits(&one.forward(&x, None).unwrap().0), expected, "{device}");
        std::thread::scope(|scope| scope.spawn(|| one.set_mode(Mode::Evaluation)).join().unwrap());
        drop(one);
        assert_eq!(bits(&other.forward(&x, None).unwrap().0), expected, "{device}");
        // Places the layer on another device.
        let again = other.to_layer().unwrap().to(&Device::cpu()).unwrap();
        assert_eq!(again.forward(&x, None).unwrap().0.shape(), [4, 2, 8]);
    });
}

/// Nothing that a program for GPUs calls is an error on the CPU.
#[test]
fn the_cpu_accepts_every_call_of_a_portable_program() {
    let lstm = Lstm::random(LstmConfig::new(3, 8).with_num_layers(2), 1).unwrap().to(&Device::cpu()).unwrap();
    let x = uniform(&[4, 2, 3], 2);
    let expected = lstm.forward(&x, None).unwrap();
    lstm.set_memory_limit(1);
    for strategy in Strategy::ALL {
        lstm.set_strategy(strategy).unwrap();
        assert_eq!(lstm.strategy(), strategy);
        assert_eq!(lstm.tune(&[4, 2, 3]).unwrap(), strategy);
        assert_eq!(lstm.forward(&x, None).unwrap(), expected);
    }
    lstm.warm_up(&[4, 2, 3]).run().unwrap();
}

/// The plan of the CPU reports the threads of this machine and the lanes of its vectors.
#[test]
fn the_plan_of_the_cpu_describes_this_machine() {
    let available = std::thread::available_parallelism().unwrap().get();
    let plan = |config: LstmConfig, t, b| {
        let placed = Lstm::random(config, 1).unwrap().to(&Device::cpu()).unwrap();
        match placed.plan(t, b).unwrap() {
            Plan::Cpu(plan) => plan,
            other => panic!("{other}"),
        }
    };
    let small = plan(LstmConfig::new(3, 8), 4, 2);
    assert_eq!(small.threads(), 1);
    // 2·(I·G·H + H·G·H)·T·B multiplications and additions.
    assert_eq!(small.flops(), 2 * (3 * 32 + 8 * 32) * 4 * 2);
    let large = plan(LstmConfig::new(128, 256).with_bidirectional(true), 100, 32);
    assert_eq!(large.flops(), 2 * 2 * (128 * 1024 + 256 * 1024) * 100 * 32);
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        assert_eq!(
            (large.available_threads(), large.threads()),
            (available, (available / 2 * 2).clamp(1, 32)),
            "{large}"
        );
        let lanes = match large.instruction_set() {
            "AVX-512" => 16,
            "AVX2" => 8,
            "NEON" => 4,
            other => panic!("{other}"),
        };
        assert_eq!(large.tile_units() % lanes, 0);
    }
    assert!((1..=32).contains(&large.tile_rows()) && (1..=100).contains(&large.chunk_steps()));
    assert!(large.to_string().starts_with(large.instruction_set()), "{large}");
    assert!(format!("{large:#}").contains("LSTM(128, 256, bidirectional=true) over T = 100, B = 32"), "{large:#}");
    // Any shape has a plan, without a division by zero or an overflow.
    for (t, b) in [(0, 3), (3, 0), (usize::MAX, 2), (2, usize::MAX), (usize::MAX, usize::MAX)] {
        plan(LstmConfig::new(3, 8).with_bidirectional(true), t, b);
    }
    let exact = Lstm::random(LstmConfig::new(3, 8), 1).unwrap().cast::<f64>().unwrap().to(&Device::cpu()).unwrap();
    let exact = exact.plan(4, 2).unwrap();
    assert_eq!((exact.strategy(), exact.device_bytes()), (None, 0));
    assert!(exact.to_string().contains("reference path"), "{exact}");
}
